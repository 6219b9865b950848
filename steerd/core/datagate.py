"""Data gate: may a region take over, as far as its data goes (decisions.md, section 8)?

A region takes over a `stateful` dependency's service only if its replication lag, as last seen while the primary was reachable, is
within `objectives.rpo`. Unknown lag blocks. Lag after the primary is gone says nothing (it grows with the clock although nothing
new is missing, or stands still), so readings measured later than that are not taken.

    readings (agent, dependency[@region], lag_s) -> taken while the primary is reachable -> median of the agents -> within RPO?
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median_high
from typing import TYPE_CHECKING

from steerd.model.fleet import Dependency
from steerd.model.sample import Reading

if TYPE_CHECKING:
    from steerd.core.world import World

__all__ = ["LagBoard", "blocked", "lag_of", "lags_to_store", "lost_since", "note_readings", "rpo_of", "stateful"]

LAG = "lag_s"
_TOGETHER_S = 60.0
"""Readings of agents further apart than this do not belong together; older ones than this are no knowledge."""


class LagBoard:
    """Lag per (service, subject) as each agent last measured it: steady time and seconds. `stored` came with the lead."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        self.stored: dict[str, float] = {}
        self.within: dict[str, bool] = {}

    def forget(self, service: str) -> None:
        """Another region is primary now: what was measured against the old one says nothing."""
        for key in [k for k in self.seen if k[0] == service]:
            del self.seen[key]
        for name in [n for n in self.stored if n.partition("/")[0] == service]:
            del self.stored[name]


def stateful(world: World, service: str) -> list[Dependency]:
    """The service's dependencies that the gate asks about."""
    spec = world.service(service)
    return [d for d in world.fleet.dependencies if d.stateful and d.name in spec.depends_on]


def rpo_of(world: World, service: str, dependency: Dependency) -> float | None:
    """Seconds of data that may be lost: the objective, else the dependency's own `max_lag`."""
    rpo = world.service(service).objectives.rpo_s
    return rpo if rpo is not None else dependency.max_lag_s


def note_readings(world: World, agent: str, readings: Iterable[Reading], now: float) -> None:
    """Takes an agent's lag readings, for every service whose primary was reachable when they were measured."""
    if agent not in world.votes.agents:
        return
    for reading in readings:
        if reading.name != LAG or not math.isfinite(reading.value):
            continue
        dependency = reading.subject.partition("@")[0]
        at = now - max(0.0, reading.age_s)
        for spec in world.fleet.services:
            if dependency in spec.depends_on and _counts(world, spec.name, reading.subject, at):
                board = world.lags.seen.setdefault((spec.name, reading.subject), {})
                if at >= board.get(agent, (-math.inf, 0.0))[0]:
                    board[agent] = (at, max(0.0, reading.value))
                _keep_verdict(world, spec.name, reading.subject)


def _counts(world: World, service: str, subject: str, at: float) -> bool:
    active = world.active.get(service)
    if active is not None and at < active.since:
        return False
    lost = _primary_lost(world, service, subject.partition("@")[2])
    return lost is None or at <= lost


def _primary_lost(world: World, service: str, replica: str) -> float | None:
    """Since when the primary cannot be reached. Active-passive: the active region's; else any other region that is lost."""
    active = world.active.get(service)
    regions = {world.domains.region_of_zone(z) for z in world.domains.zones[service]}
    primaries = {active.region} if active is not None else regions - {replica}
    found = [since for r in primaries if (since := lost_since(world, service, r)) is not None]
    return min(found) if found else None


def lost_since(world: World, service: str, region: str) -> float | None:
    """When more than half of the region's endpoints had come under suspicion, or None while fewer are."""
    members = world.domains.members(service, region)
    times = sorted(s.suspect_at for e in members if (s := world.board.states[e]).suspect_at is not None)
    return times[len(members) // 2] if len(times) > len(members) // 2 else None


def _keep_verdict(world: World, service: str, subject: str) -> None:
    """What a new leader must know is stored when it flips, not at every reading."""
    dependency = subject.partition("@")[0]
    found = next((d for d in world.fleet.dependencies if d.name == dependency), None)
    if found is None or not found.stateful:
        return
    rpo, lag = rpo_of(world, service, found), _median(world, service, subject)
    within = rpo is not None and lag is not None and lag <= rpo
    if world.lags.within.get(f"{service}/{subject}") != within:
        world.lags.within[f"{service}/{subject}"] = within
        world.state_changed = True


def _median(world: World, service: str, subject: str) -> float | None:
    seen = world.lags.seen.get((service, subject))
    if not seen:
        return None
    newest = max(at for at, _ in seen.values())
    return median_high(v for at, v in seen.values() if at >= newest - _TOGETHER_S)


def lag_of(world: World, service: str, dependency: str, region: str, now: float) -> float | None:
    """Seconds that `region`'s data was behind, as last seen while the primary was reachable; None when nobody knows."""
    for subject in (f"{dependency}@{region}", dependency):
        lost = _primary_lost(world, service, subject.partition("@")[2])
        lag = _median(world, service, subject)
        if lag is not None:
            newest = max(at for at, _ in world.lags.seen[service, subject].values())
            if newest >= (now if lost is None else lost) - _TOGETHER_S:
                return lag
        elif lost is not None and (stored := world.lags.stored.get(f"{service}/{subject}")) is not None:
            return stored
    return None


def blocked(world: World, service: str, region: str, now: float) -> str | None:
    """Why `region` may not take the service over, or None."""
    for dependency in stateful(world, service):
        rpo = rpo_of(world, service, dependency)
        if rpo is None:
            return f"{dependency.name} is stateful and {service} has no `objectives.rpo`: how much may be lost is not known"
        if dependency.instances and region not in dependency.instances:
            return f"{dependency.name} has no instance in {region}"
        lag = lag_of(world, service, dependency.name, region, now)
        if lag is None:
            return f"nobody knows how far {dependency.name} in {region} is behind (RPO {rpo:g} s)"
        if lag > rpo:
            return (
                f"{dependency.name} in {region} was {lag:.0f} s behind when last seen, more than the RPO of {rpo:g} s"
            )
    return None


def lags_to_store(world: World) -> dict[str, float]:
    """Seconds by "service/subject", for the hard state: what this leader knows, over what it was told."""
    known = {f"{s}/{subject}": lag for s, subject in world.lags.seen if (lag := _median(world, s, subject)) is not None}
    return {**world.lags.stored, **known}
