"""What `steerd probe` looks at: the checks of a configured endpoint or dependency, or those of a stack at a URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probes import stacks
from probes.outcome import Outcome
from probes.registry import KINDS
from probes.target import Target
from steerd.cli.errors import BadInput
from steerd.cli.probe_alone import of_dependency
from steerd.config import ConfigError, load
from steerd.model.fleet import Check, Endpoint, Fleet, Service
from steerd.model.sample import Layer

__all__ = ["Done", "Job", "bare", "configured"]

_DEPENDENCY = "dependency:"
_INTERVAL_S = {Layer.USER_PATH: 30.0, Layer.PROGRESS: 10.0}
_TIMEOUT_S = {Layer.USER_PATH: 30.0}


@dataclass(frozen=True, slots=True)
class Job:
    """One check of one target."""

    check: Check
    target: Target


@dataclass(frozen=True, slots=True)
class Done:
    """The last look of a check, how many there were, and how many of them did not pass."""

    check: Check
    outcome: Outcome
    looks: int
    bad: int


def configured(file: str, name: str) -> tuple[list[Job], list[str]]:
    """The looks at endpoint or dependency NAME of a config file, and a line for each check whose kind cannot be used here. Raises
    `BadInput`.
    """
    try:
        fleet = load(Path(file))
    except ConfigError as error:
        raise BadInput("\n".join(str(problem) for problem in error.problems)) from error
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from error
    for service in fleet.services:
        for endpoint in service.endpoints:
            if endpoint.name == name:
                return _of_endpoint(fleet, service, endpoint)
    alone = [Job(*one) for one in of_dependency(fleet, name)]
    if alone:
        built = [job for job in alone if KINDS[job.check.kind].built]
        return built, [_unusable(job.check.name, job.check.kind) for job in alone if job not in built]
    known = ", ".join(sorted(e.name for s in fleet.services for e in s.endpoints)[:20]) or "none"
    others = ", ".join(sorted(d.name for d in fleet.dependencies)[:20])
    more = f"; its dependencies are: {others}" if others else ""
    raise BadInput(f"{file} has no endpoint {name!r}; its endpoints are: {known}{more}")


def _of_endpoint(fleet: Fleet, service: Service, endpoint: Endpoint) -> tuple[list[Job], list[str]]:
    jobs, left_out = [], []
    region = fleet.zone_region.get(endpoint.zone, endpoint.zone)
    target = Target(endpoint.name, endpoint.url, model=service.model)
    for check in service.checks:
        if not KINDS[check.kind].built:
            left_out.append(_unusable(check.name, check.kind))
        elif not check.name.startswith(_DEPENDENCY):
            jobs.append(Job(check, target))
        else:
            jobs += _of_dependency(fleet, check, region)
    return jobs, left_out


def _of_dependency(fleet: Fleet, check: Check, region: str) -> Iterator[Job]:
    name = check.name.removeprefix(_DEPENDENCY)
    for dependency in fleet.dependencies:
        if dependency.name != name or (dependency.instances and region not in dependency.instances):
            continue
        settings = {**dependency.settings, **dependency.instances.get(region, {}), **check.settings}
        for key in ("interval", "timeout"):
            settings.pop(key, None)
        url = settings.get("url")
        yield Job(replace(check, settings=settings), Target(name, url if isinstance(url, str) else ""))


def bare(
    url: str, stack: str, model: str | None, own: Mapping[str, Any], named: Set[str]
) -> tuple[list[Job], list[str]]:
    """The looks of a stack at `url`, `own` being the config's stacks and `named` the checks that `--set` names, which
    switches optional ones on; and a line for each check whose kind cannot be used here. Raises `BadInput`.
    """
    if stack not in own and stack not in stacks.names():
        raise BadInput(f"No stack is called {stack!r}; known are {', '.join(sorted({*stacks.names(), *own}))}.")
    found = stacks.own(own, stack)
    target = Target(url, url, model=model)
    jobs, left_out = [], []
    for one in found.checks:
        if not KINDS[one.kind].built:
            left_out.append(_unusable(one.name, one.kind))
            continue
        if one.optional and one.name not in named:
            continue
        layer = Layer(one.layer)
        interval_s = one.interval_s or _INTERVAL_S.get(layer, 5.0)
        timeout_s = one.timeout_s or _TIMEOUT_S.get(layer, 2.0)
        jobs.append(Job(Check(one.name, layer, one.kind, interval_s, timeout_s, dict(one.settings)), target))
    return jobs, left_out


def _unusable(check: str, kind: str) -> str:
    return f"{check}: left out: kind {kind!r} cannot be used: {KINDS[kind].help}"
