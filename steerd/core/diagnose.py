"""Diagnose: keeps each service's diagnosis over time, and labels the global one for the human (decisions.md, section 6).

`localize` says what explains this instant; this file adds memory: since when, and that a global diagnosis ends only when one
zone has been good for 60 s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from steerd.core.domains import Domains
from steerd.core.localize import Found, ZoneCount, localize
from steerd.core.quorum import EndpointBoard, EndpointState
from steerd.core.timers import Timers
from steerd.model.health import Diagnosis, DiagnosisKind, Health

__all__ = ["Diagnoser", "ServiceDiagnosis"]

_GLOBAL_ENDS_AFTER_S = 60.0
_VERSION_CHANGED_WITHIN_S = 600.0
_SEPARATES = 0.90


@dataclass(slots=True)
class ServiceDiagnosis:
    """What explains one service's bad endpoints now. `everywhere` while the global diagnosis stands."""

    current: tuple[Diagnosis, ...] = ()
    everywhere: bool = False
    good_since: dict[str, float] = field(default_factory=dict)


class Diagnoser:
    """All services' diagnoses. `update` costs one pass over the service's bad endpoints and its zones."""

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
        counts = _counts(service, board, domains)
        everywhere = self._still_everywhere(service, known, counts, now)
        found = localize(counts, drained, was_everywhere=everywhere)
        known.everywhere = found.everywhere
        if found.everywhere and not everywhere:
            known.good_since = {}
        before = {(d.kind, d.of): d for d in known.current}
        fresh = _name(service, found, board, domains, abstaining, now)
        current = []
        for d in fresh:
            old = before.get((d.kind, d.of))
            since = old.since if old is not None else d.since
            label = d.label if old is None or old.label in (None, "unexplained") else old.label
            current.append(Diagnosis(d.kind, d.of, d.service, d.health, since, d.dead, label))
        known.current = tuple(current)
        return tuple(d for d in current if (d.kind, d.of) not in before)

    def _still_everywhere(self, service: str, known: ServiceDiagnosis, counts: list[ZoneCount], now: float) -> bool:
        if not known.everywhere:
            return False
        good = {c.zone for c in counts if not c.is_bad}
        known.good_since = {z: known.good_since.get(z, now) for z in good}
        if not known.good_since:
            return True
        ends = min(known.good_since.values()) + _GLOBAL_ENDS_AFTER_S
        if now >= ends:
            return False
        self._timers.at(ends, "service", service)
        return True


def _counts(service: str, board: EndpointBoard, domains: Domains) -> list[ZoneCount]:
    counts = []
    for zone in domains.zones[service]:
        members = domains.members(service, zone)
        bad = tuple(sorted(e for e in members if board.states[e].health is Health.DOWN))
        counts.append(ZoneCount(zone, domains.region_of_zone(zone), len(members), bad))
    return counts


def _name(
    service: str, found: Found, board: EndpointBoard, domains: Domains, abstaining: float, now: float
) -> list[Diagnosis]:
    if found.everywhere:
        bad = [board.states[e] for e in found.endpoints]
        good = [s for e in domains.members_of_service(service) if (s := board.states[e]).health is not Health.DOWN]
        label = _label(bad, good, abstaining, now)
        return [Diagnosis(DiagnosisKind.GLOBAL, service, service, Health.DOWN, now, dead=False, label=label)]
    kinds = (
        (DiagnosisKind.REGION, found.regions),
        (DiagnosisKind.ZONE, found.zones),
        (DiagnosisKind.ENDPOINT, found.endpoints),
    )
    diagnoses = []
    for kind, names in kinds:
        for name in names:
            dead = all(board.confirmed_dead(e) for e in domains.members(service, name))
            diagnoses.append(Diagnosis(kind, name, service, Health.DOWN, now, dead=dead))
    return diagnoses


def _label(bad: Iterable[EndpointState], good: Iterable[EndpointState], abstaining: float, now: float) -> str:
    """deploy, dependency, monitoring or unexplained: a word for the human, never a reason to move traffic."""
    bad, good = list(bad), list(good)
    if abstaining >= 0.5:
        return "monitoring"
    if _separated(bad, good) or _changed(bad, now):
        return "deploy"
    layers = {v.layer for s in bad for v in s.voices if v.verdict.value in ("unhealthy", "degraded")}
    if layers == {"dependency"}:
        return "dependency"
    return "unexplained"


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
