"""Diagnose: keeps each service's diagnosis over time, and labels the global one for the human (decisions.md, section 6).

`localize` says what explains this instant; this file adds memory: since when, and that a global diagnosis ends only when one
zone has been good for 60 s. It asks twice: what explains the endpoints that are down, then what explains those that are
degraded or worse, where the first answer does not cover them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from steerd.core.domains import Domains
from steerd.core.localize import Found, ZoneCount, localize
from steerd.core.quorum import EndpointBoard, EndpointState
from steerd.core.timers import Timers
from steerd.model.health import Diagnosis, DiagnosisKind, Health
from steerd.model.sample import Layer
from steerd.model.vote import Verdict

__all__ = ["Diagnoser", "ServiceDiagnosis"]

_GLOBAL_ENDS_AFTER_S = 60.0
_VERSION_CHANGED_WITHIN_S = 600.0
_SEPARATES = 0.90


@dataclass(slots=True)
class _Run:
    """One run of the rules: whether everything was bad at that level, and since when each zone has been good again."""

    everywhere: bool = False
    good_since: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class ServiceDiagnosis:
    """What explains one service's bad endpoints now: a global diagnosis first, then regions, zones, endpoints, what is down
    before what is degraded. `everywhere` while a global diagnosis stands."""

    current: tuple[Diagnosis, ...] = ()
    down: _Run = field(default_factory=_Run)
    degraded: _Run = field(default_factory=_Run)

    @property
    def everywhere(self) -> bool:
        return self.down.everywhere or self.degraded.everywhere


class Diagnoser:
    """All services' diagnoses. `update` costs one pass over the service's zones and what is bad in them."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.services: dict[str, ServiceDiagnosis] = {}

    def update(
        self, service: str, board: EndpointBoard, domains: Domains, drained: set[str], abstaining: float, now: float
    ) -> tuple[Diagnosis, ...]:
        """Diagnoses anew. `drained` names the zones out; `abstaining` is the fraction of agents that doubt themselves.

        Returns the diagnoses that are new since the last call.
        """
        known = self.services.setdefault(service, ServiceDiagnosis())
        down, degraded = _counts(service, board, domains)
        found = self._run(service, known.down, down, drained, now)
        fresh = _name(service, found, Health.DOWN, board, domains, abstaining, now)
        if degraded != down or known.degraded.everywhere:
            aside = drained | {z for z in domains.zones[service] if _names(found, z, domains)}
            worse = self._run(service, known.degraded, degraded, aside, now)
            if not found.everywhere:
                fresh += _uncovered(
                    _name(service, worse, Health.DEGRADED, board, domains, abstaining, now), fresh, domains
                )
        else:
            known.degraded = _Run()
        fresh.sort(key=lambda d: d.kind is not DiagnosisKind.GLOBAL)
        before = {(d.kind, d.of, d.health): d for d in known.current}
        current = []
        for d in fresh:
            old = before.get((d.kind, d.of, d.health))
            since = old.since if old is not None else d.since
            label = d.label if old is None or old.label in (None, "unexplained") else old.label
            current.append(Diagnosis(d.kind, d.of, d.service, d.health, since, d.dead, label))
        known.current = tuple(current)
        return tuple(d for d in current if (d.kind, d.of, d.health) not in before)

    def _run(self, service: str, run: _Run, counts: list[ZoneCount], drained: set[str], now: float) -> Found:
        was = self._still_everywhere(service, run, counts, now)
        found = localize(counts, drained, was_everywhere=was)
        run.everywhere = found.everywhere
        if found.everywhere and not was:
            run.good_since = {}
        return found

    def _still_everywhere(self, service: str, run: _Run, counts: list[ZoneCount], now: float) -> bool:
        if not run.everywhere:
            return False
        good = {c.zone for c in counts if not c.is_bad}
        run.good_since = {z: run.good_since.get(z, now) for z in good}
        if not run.good_since:
            return True
        ends = min(run.good_since.values()) + _GLOBAL_ENDS_AFTER_S
        if now >= ends:
            return False
        self._timers.at(ends, "service", service)
        return True


def _counts(service: str, board: EndpointBoard, domains: Domains) -> tuple[list[ZoneCount], list[ZoneCount]]:
    """Per zone: the endpoints that are down, and those that are degraded or worse."""
    down, degraded = [], []
    for zone in domains.zones[service]:
        roll = board.rolls.of_zone(service, zone)
        down.append(ZoneCount(zone, roll.region, roll.size, tuple(sorted(roll.down))))
        degraded.append(ZoneCount(zone, roll.region, roll.size, tuple(sorted(roll.worse))))
    return down, degraded


def _names(found: Found, zone: str, domains: Domains) -> bool:
    return zone in found.zones or domains.region_of_zone(zone) in found.regions


def _uncovered(worse: list[Diagnosis], down: list[Diagnosis], domains: Domains) -> list[Diagnosis]:
    """What the second run says of endpoints that the first has not explained with a domain at least as wide."""
    found = []
    for d in worse:
        members = domains.members(d.service, d.of)
        if d.kind is DiagnosisKind.GLOBAL or not any(members <= domains.members(d.service, o.of) for o in down):
            found.append(d)
    return found


def _name(
    service: str, found: Found, health: Health, board: EndpointBoard, domains: Domains, abstaining: float, now: float
) -> list[Diagnosis]:
    if found.everywhere:
        bad = [board.states[e] for e in found.endpoints]
        good = [s for e in sorted(domains.members_of_service(service)) if (s := board.states[e]).health < health]
        label = _label(bad, good, abstaining, now)
        return [Diagnosis(DiagnosisKind.GLOBAL, service, service, health, now, dead=False, label=label)]
    kinds = (
        (DiagnosisKind.REGION, found.regions),
        (DiagnosisKind.ZONE, found.zones),
        (DiagnosisKind.ENDPOINT, found.endpoints),
    )
    diagnoses = []
    for kind, names in kinds:
        for name in names:
            dead = health is Health.DOWN and all(board.confirmed_dead(e) for e in domains.members(service, name))
            diagnoses.append(Diagnosis(kind, name, service, health, now, dead=dead))
    return diagnoses


def _label(bad: Iterable[EndpointState], good: Iterable[EndpointState], abstaining: float, now: float) -> str:
    """deploy, dependency, monitoring or unexplained: a word for the human, never a reason to move traffic."""
    bad, good = list(bad), list(good)
    if abstaining >= 0.5:
        return "monitoring"
    if _separated(bad, good) or _changed(bad, now):
        return "deploy"
    return "dependency" if _same_dependency(bad) else "unexplained"


def _same_dependency(bad: list[EndpointState]) -> bool:
    """All bad endpoints suffer from nothing but dependencies, and one of these is the same for all of them."""
    shared: set[str] | None = None
    for state in bad:
        voices = [v for v in state.voices if v.verdict in (Verdict.UNHEALTHY, Verdict.DEGRADED)]
        if any(v.layer != Layer.DEPENDENCY for v in voices):
            return False
        checks = {v.check for v in voices if v.check is not None}
        shared = checks if shared is None else shared & checks
    return bool(shared)


def _separated(bad: list[EndpointState], good: list[EndpointState]) -> bool:
    """A version label tells bad from good in at least 90% of the endpoints."""
    if not bad or not good:
        return False
    labels = {s.version for s in bad if s.version is not None}
    right = sum(s.version in labels for s in bad) + sum(s.version is not None and s.version not in labels for s in good)
    return bool(labels) and right >= _SEPARATES * (len(bad) + len(good))


def _changed(bad: list[EndpointState], now: float) -> bool:
    """The bad ones run another version than 10 minutes ago."""
    recent = [s for s in bad if s.version_before is not None and now - s.version_since <= _VERSION_CHANGED_WITHIN_S]
    return bool(bad) and len(recent) >= _SEPARATES * len(bad)
