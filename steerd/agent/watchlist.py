"""What one agent looks at, and when: worked out from the config alone. Pure, so that the simulator uses it too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.core.ballot_box import Subject
from steerd.core.cadence import Cadence, agree
from steerd.core.verdict import PAID, CheckRule
from steerd.model.fleet import Agent, Check, Endpoint, Fleet, Service
from steerd.model.sample import Layer

__all__ = ["DEPENDENCY_PREFIX", "Watch", "Watchlist", "watchlist"]

DEPENDENCY_PREFIX = "dependency:"
"""A dependency's check is called `dependency:NAME` in votes."""

DEPENDENCY_INTERVAL_S = 10.0
DEPENDENCY_TIMEOUT_S = 2.0
"""Where neither the service's checks nor the dependency's own settings (`interval`, `timeout`) say otherwise."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One thing to look at again and again: a subject (an endpoint, or an instance of a dependency) by one check.

    `agents` is how many look at it, this one included. `url` is where this agent looks. `probe` names the probe that serves it:
    watches of one service's check share it.
    """

    subject: str
    check: Check
    cadence: Cadence
    service: str
    zone: str
    url: str
    model: str | None
    probe: tuple[str, str]
    agents: int = 1

    @property
    def key(self) -> tuple[str, str]:
        """(subject, check): unique in a watchlist."""
        return self.subject, self.check.name

    @property
    def rule(self) -> CheckRule:
        """The check as the verdict sees it."""
        return CheckRule(self.check.name, self.check.layer, self.check.interval_s, self.cadence.period_s)


@dataclass(frozen=True, slots=True)
class Watchlist:
    """Everything one agent looks at. `subjects` and `shared` configure its ballot box."""

    watches: tuple[Watch, ...] = ()
    subjects: tuple[Subject, ...] = ()
    shared: Mapping[str, CheckRule] = field(default_factory=dict)


def watchlist(fleet: Fleet, name: str) -> Watchlist:
    """What agent `name` looks at. Raises ValueError for an agent that the config does not have."""
    agent = fleet.agent_by_name.get(name)
    if agent is None:
        known = ", ".join(sorted(fleet.agent_by_name)) or "none"
        raise ValueError(f"there is no agent {name!r} in the config; its agents are: {known}")
    watches: list[Watch] = []
    subjects: list[Subject] = []
    instances: dict[str, tuple[Check, str]] = {}
    for service, endpoint in _seen(fleet, agent):
        own = [_watch(fleet, agent, service, endpoint, check) for check in service.checks if not _shared(check)]
        behind = dict(_behind(fleet, service, endpoint, instances))
        watches += own
        subjects.append(Subject(endpoint.name, tuple(w.rule for w in own), behind))
    names = sorted(fleet.agent_by_name)
    shared = [_dependency_watch(names, name, subject, *instances[subject]) for subject in sorted(instances)]
    return Watchlist((*watches, *shared), tuple(subjects), {w.subject: w.rule for w in shared})


def _shared(check: Check) -> bool:
    return check.name.startswith(DEPENDENCY_PREFIX)


def _sees(agent: Agent, service: Service, endpoint: Endpoint) -> bool:
    return not agent.sees or service.name in agent.sees or endpoint.name in agent.sees


def _seen(fleet: Fleet, agent: Agent) -> Iterator[tuple[Service, Endpoint]]:
    for service in fleet.services:
        for endpoint in service.endpoints:
            if _sees(agent, service, endpoint):
                yield service, endpoint


def _watch(fleet: Fleet, agent: Agent, service: Service, endpoint: Endpoint, check: Check) -> Watch:
    names = [a.name for a in fleet.agents if _sees(a, service, endpoint)]
    turns = check.layer in PAID  # one look per interval between the agents
    inside = agent.zone in fleet.zone_region
    return Watch(
        subject=endpoint.name,
        check=check,
        cadence=agree(agent.name, names, endpoint.name, check.name, check.interval_s, turns=turns),
        service=service.name,
        zone=endpoint.zone,
        url=endpoint.url if inside or endpoint.public_url is None else endpoint.public_url,
        model=service.model,
        probe=(service.name, check.name),
        agents=len(names),
    )


def _behind(
    fleet: Fleet, service: Service, endpoint: Endpoint, instances: dict[str, tuple[Check, str]]
) -> Iterator[tuple[str, str]]:
    """The checks of the dependencies behind an endpoint, and the subject of each: the instance in its region, or
    the one that serves everybody. Adds what it finds to `instances`.
    """
    given = {check.name: check for check in service.checks if _shared(check)}
    region = fleet.zone_region.get(endpoint.zone, endpoint.zone)
    for dependency in fleet.dependencies:
        if dependency.name not in service.depends_on:
            continue
        if dependency.instances and region not in dependency.instances:
            continue
        subject = f"{dependency.name}@{region}" if dependency.instances else dependency.name
        check_name = DEPENDENCY_PREFIX + dependency.name
        if subject not in instances:
            settings = {**dependency.settings, **dependency.instances.get(region, {})}
            check = _dependency_check(check_name, dependency.kind, settings, given.get(check_name))
            instances[subject] = (check, region if dependency.instances else "")
        yield check_name, subject


def _dependency_check(name: str, kind: str, settings: dict[str, Any], given: Check | None) -> Check:
    """The check of one instance: a service's own check of that name sets interval, timeout and further settings."""
    interval_s = float(settings.pop("interval", DEPENDENCY_INTERVAL_S))
    timeout_s = float(settings.pop("timeout", DEPENDENCY_TIMEOUT_S))
    if given is not None:
        interval_s, timeout_s, settings = given.interval_s, given.timeout_s, {**settings, **given.settings}
    return Check(name, Layer.DEPENDENCY, kind, interval_s, timeout_s, settings)


def _dependency_watch(names: list[str], agent: str, subject: str, check: Check, region: str) -> Watch:
    url = check.settings.get("url")
    return Watch(
        subject=subject,
        check=check,
        cadence=agree(agent, names, subject, check.name, check.interval_s, turns=False),
        service="",
        zone=region,
        url=url if isinstance(url, str) else "",
        model=None,
        probe=(subject, check.name),
        agents=len(names),
    )
