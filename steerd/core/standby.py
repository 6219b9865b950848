"""Standby: is what would take over what a takeover needs (decisions.md, section 10)? Alerts only, moves nothing.

While idle, each standby region is compared with the active one: version labels, endpoints ready; and every replica's lag with the
dependency's `max_lag`. The model id needs no comparison here: an endpoint that serves another model than the service's is not
ready.
"""

from __future__ import annotations

from steerd.core import datagate, passive
from steerd.core.activate import ready_endpoints
from steerd.core.world import World

__all__ = ["compare"]

_EVERY_S = 10.0
_FOR_S = 60.0
"""A difference has to last: a rolling deploy reaches one region before the other."""


def compare(world: World, service: str, now: float) -> None:
    """Brings `standby-drift` and `dependency-lag` of the service up to date."""
    _lags(world, service, now)
    active = passive.active_region(world, service)
    if active is not None:
        world.timers.at(now + _EVERY_S, "service", service)
    state = world.services[service]
    for region in passive.regions_of(world, service):
        of = f"{service}/{region}"
        differs = (
            []
            if active is None or region == active or _out(world, service, region)
            else _differs(world, service, region, active)
        )
        if not differs:
            state.standby_since.pop(region, None)
            world.alerts.clear("standby-drift", of)
            continue
        since = state.standby_since.setdefault(region, now)
        if now - since < _FOR_S:
            world.timers.at(since + _FOR_S, "service", service)
            continue
        world.alerts.set("standby-drift", of, f"{region} stands by for {service}, but {'; '.join(differs)}", now)


def _out(world: World, service: str, region: str) -> bool:
    return not passive.in_service(world, service, region) or region in passive.held_out(world, service)


def _differs(world: World, service: str, region: str, active: str) -> list[str]:
    found = []
    mine, theirs = _versions(world, service, region), _versions(world, service, active)
    if mine and theirs and mine != theirs:
        found.append(f"it runs {', '.join(sorted(mine))}, {active} runs {', '.join(sorted(theirs))}")
    ready, total = ready_endpoints(world, service, region), len(world.domains.members(service, region))
    wanted = _wanted(world, service, region, total)
    if ready < wanted:
        found.append(f"{ready} of its {total} endpoints are ready, {wanted} should be")
    return found


def _versions(world: World, service: str, region: str) -> set[str]:
    states = (world.board.states[e] for e in world.domains.members(service, region))
    return {s.version for s in states if s.version is not None}


def _wanted(world: World, service: str, region: str, total: int) -> int:
    """Endpoints that should be ready while idle: none where a hook starts them, `wait_ready` where that is asked for, else all."""
    steps = world.service(service).activate.get(region, ())
    if any("scale" in step for step in steps):
        return 0
    return max((int(step["wait_ready"]) for step in steps if "wait_ready" in step), default=total)


def _lags(world: World, service: str, now: float) -> None:
    for dependency in datagate.stateful(world, service):
        if dependency.max_lag_s is None:
            continue
        for region in dependency.instances or passive.regions_of(world, service):
            of = f"{dependency.name}@{region}"
            lag = datagate.lag_of(world, service, dependency.name, region, now)
            if lag is not None and lag > dependency.max_lag_s:
                text = (
                    f"{dependency.name} in {region} is {lag:.0f} s behind, more than max_lag {dependency.max_lag_s:g} s"
                )
                world.alerts.set("dependency-lag", of, text, now)
            elif lag is not None:
                world.alerts.clear("dependency-lag", of)
