"""What one agent looks at, and when: worked out from the config alone. Pure, so that the simulator uses it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.core.ballot_box import Subject
from steerd.core.cadence import Cadence, agree, agree_on
from steerd.core.verdict import PAID, CheckRule
from steerd.model.fleet import Agent, Check, Endpoint, Fleet, Service
from steerd.model.sample import Layer

__all__ = ["DEPENDENCY_PREFIX", "Watch", "Watchlist", "watchlist", "watchlists"]

DEPENDENCY_PREFIX = "dependency:"
"""A dependency's check is called `dependency:NAME` in votes."""

DEPENDENCY_INTERVAL_S = 10.0
DEPENDENCY_TIMEOUT_S = 2.0
"""Where neither the service's checks nor the dependency's own settings (`interval`, `timeout`) say otherwise."""


_NOTHING: dict[str, str] = {}
"""Behind an endpoint without dependencies: nobody writes to it."""


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
        return _rule(self.check, self.cadence)


@dataclass(frozen=True, slots=True)
class Watchlist:
    """Everything one agent looks at. `subjects` and `shared` configure its ballot box."""

    watches: tuple[Watch, ...] = ()
    subjects: tuple[Subject, ...] = ()
    shared: Mapping[str, CheckRule] = field(default_factory=dict)


def watchlist(fleet: Fleet, name: str) -> Watchlist:
    """What agent `name` looks at. Raises ValueError for an agent that the config does not have."""
    if name not in fleet.agent_by_name:
        known = ", ".join(sorted(fleet.agent_by_name)) or "none"
        raise ValueError(f"there is no agent {name!r} in the config; its agents are: {known}")
    return watchlists(fleet, (name,))[name]


def watchlists(fleet: Fleet, wanted: Iterable[str]) -> dict[str, Watchlist]:
    """The watchlists of several agents, for the work of little more than one. Agents that the config does not have are left
    out.
    """
    drafts = {a.name: _Draft(a) for a in fleet.agents if a.name in set(wanted)}
    for service in fleet.services:
        own = [check for check in service.checks if not _shared(check)]
        for endpoint in service.endpoints:
            seers = [a.name for a in fleet.agents if _sees(a, service, endpoint)]
            for name in seers:
                if name in drafts:
                    drafts[name].begin(fleet, service, endpoint, len(seers))
            for check in own:
                turns = check.layer in PAID  # one look per interval between the agents
                agreed = agree_on(drafts, seers, endpoint.name, check.name, check.interval_s, turns=turns)
                for name, cadence in agreed:
                    drafts[name].look(fleet, service, endpoint, check, cadence)
            for name in seers:
                if name in drafts:
                    drafts[name].end(endpoint)
    return {name: draft.done(fleet) for name, draft in drafts.items()}


class _Draft:
    """One agent's watchlist while it is worked out."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._watches: list[Watch] = []
        self._subjects: list[Subject] = []
        self._instances: dict[str, tuple[Check, str]] = {}
        self._rules: list[CheckRule] = []
        self._seers = 1
        self._behind: dict[str, str] = {}
        self._known: dict[tuple[str, str, float], tuple[CheckRule, tuple[str, str]]] = {}

    def begin(self, fleet: Fleet, service: Service, endpoint: Endpoint, seers: int) -> None:
        """An endpoint this agent sees, one of `seers` that do."""
        self._seers = seers
        self._rules = []
        self._behind = dict(_behind(fleet, service, endpoint, self._instances)) if service.depends_on else _NOTHING

    def look(self, fleet: Fleet, service: Service, endpoint: Endpoint, check: Check, cadence: Cadence) -> None:
        """One of its checks."""
        key = (service.name, check.name, cadence.period_s)
        if key not in self._known:  # the same for all endpoints: a large fleet holds it once
            self._known[key] = (_rule(check, cadence), (service.name, check.name))
        rule, probe = self._known[key]
        inside = self._agent.zone in fleet.zone_region
        self._rules.append(rule)
        self._watches.append(
            Watch(
                subject=endpoint.name,
                check=check,
                cadence=cadence,
                service=service.name,
                zone=endpoint.zone,
                url=endpoint.url if inside or endpoint.public_url is None else endpoint.public_url,
                model=service.model,
                probe=probe,
                agents=self._seers,
            )
        )

    def end(self, endpoint: Endpoint) -> None:
        """All of its checks were told."""
        self._subjects.append(Subject(endpoint.name, tuple(self._rules), self._behind))

    def done(self, fleet: Fleet) -> Watchlist:
        """With the dependencies behind the endpoints."""
        names, me, instances = sorted(fleet.agent_by_name), self._agent.name, self._instances
        shared = [_dependency_watch(names, me, subject, *instances[subject]) for subject in sorted(instances)]
        return Watchlist((*self._watches, *shared), tuple(self._subjects), {w.subject: w.rule for w in shared})


def _rule(check: Check, cadence: Cadence) -> CheckRule:
    return CheckRule(check.name, check.layer, check.interval_s, cadence.period_s)


def _shared(check: Check) -> bool:
    return check.name.startswith(DEPENDENCY_PREFIX)


def _sees(agent: Agent, service: Service, endpoint: Endpoint) -> bool:
    return not agent.sees or service.name in agent.sees or endpoint.name in agent.sees


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
