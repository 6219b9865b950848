"""Folds the engine's events and effects into incidents: from the first bad look until routes serve what was decided.

Pure: time is the engine's `now`, seconds of the epoch. One incident per service is open at a time; what else breaks
meanwhile belongs to it. The stages are the ones of `steerd.failover.duration`; `observed` (traffic seen to have moved)
needs a demand metric and is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from steerd.core.effects import Effect, Persist, Record
from steerd.core.events import ApplyFinished, Event, VerifyFinished
from steerd.model.plan import Decision

__all__ = ["GIVE_UP_S", "Incident", "Incidents"]

GIVE_UP_S: Final = 900.0
"""Seconds. An incident that has not ended by then (frozen, vetoed, a provider down) is closed as it stands."""

_MOST_ENDPOINTS: Final = 50


@dataclass(slots=True)
class _Write:
    decision: str
    accepted_at: float | None = None
    authoritative_at: float | None = None


@dataclass(slots=True)
class Incident:
    """One incident of one service. Times are seconds of the epoch; None: not reached.

    `started` is the first bad look as this coordinator heard of it, `detected` when the quorum agreed, `decided` when the
    first move was decided, `accepted` and `authoritative` when the last route's write was accepted and verified.
    `endpoints` are those that went down in it, `down` those that still are. `ended`: in-sync; open (not all of it was
    written and verified in time); no-move (nothing was decided: vetoed, frozen, or over before).
    """

    service: str
    started: float
    detected: float
    endpoints: dict[str, None] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    decided: float | None = None
    decisions: list[str] = field(default_factory=list)
    writes: dict[str, _Write] = field(default_factory=dict)
    ended: Literal["in-sync", "open", "no-move"] = "open"

    @property
    def accepted(self) -> float | None:
        """When the last route's write was accepted."""
        return _last([w.accepted_at for w in self.writes.values()])

    @property
    def authoritative(self) -> float | None:
        """When the last route was seen to serve what was decided."""
        return _last([w.authoritative_at for w in self.writes.values()])

    def stages(self) -> Iterator[tuple[str, float]]:
        """(stage, seconds since `started`) of every stage reached."""
        for stage, at in (
            ("detected", self.detected),
            ("decided", self.decided),
            ("accepted", self.accepted),
            ("authoritative", self.authoritative),
        ):
            if at is not None:
                yield stage, max(0.0, at - self.started)


def _last(times: list[float | None]) -> float | None:
    known = [at for at in times if at is not None]
    return max(known) if known and len(known) == len(times) else None


class Incidents:
    """The open incidents. `service_of` tells an endpoint's service, None for a name it does not know."""

    def __init__(self, service_of: Callable[[str], str | None]) -> None:
        self._service_of = service_of
        self._open: dict[str, Incident] = {}

    def fold(self, event: Event, effects: tuple[Effect, ...], now: float) -> list[Incident]:
        """Takes one step of the engine; returns the incidents that ended with it."""
        if isinstance(event, ApplyFinished):
            self._applied(event, now)
        for effect in effects:
            if isinstance(effect, Record) and effect.kind == "health":
                self._health(effect)
            elif isinstance(effect, Persist) and effect.decision is not None:
                self._decided(effect.decision, now)
        if isinstance(event, VerifyFinished) and event.in_sync:
            self._verified(event, now)
        return self._close(now) if self._open else []

    def clear(self) -> None:
        """Forgets everything: another coordinator leads now, and tells."""
        self._open.clear()

    def _health(self, record: Record) -> None:
        service = self._service_of(record.of)
        if service is None:
            return
        incident = self._open.get(service)
        if record.data.get("health") != "down":
            if incident is not None:
                incident.down.discard(record.of)
            return
        suspected = record.data.get("suspect_at")
        started = min(suspected, record.at) if isinstance(suspected, int | float) else record.at
        if incident is None:
            incident = self._open[service] = Incident(service, started, record.at)
        incident.down.add(record.of)
        if len(incident.endpoints) < _MOST_ENDPOINTS:
            incident.endpoints[record.of] = None

    def _decided(self, decision: Decision, now: float) -> None:
        incident = self._open.get(decision.service)
        if incident is None or not decision.routes:
            return
        if incident.decided is None:
            incident.decided = now
        incident.decisions.append(decision.id)
        for route in decision.routes:
            incident.writes[route] = _Write(decision.id)

    def _applied(self, event: ApplyFinished, now: float) -> None:
        if event.result in {"applied", "unchanged"} and (write := self._write(event.route, event.decision)):
            write.accepted_at = event.accepted_at if event.accepted_at is not None else now

    def _verified(self, event: VerifyFinished, now: float) -> None:
        if write := self._write(event.route, event.decision):
            write.authoritative_at = event.authoritative_at if event.authoritative_at is not None else now

    def _write(self, route: str, decision: str) -> _Write | None:
        for incident in self._open.values():
            write = incident.writes.get(route)
            if write is not None and write.decision == decision:
                return write
        return None

    def _close(self, now: float) -> list[Incident]:
        ended = []
        for service, incident in list(self._open.items()):
            if incident.authoritative is not None:
                incident.ended = "in-sync"
            elif incident.decided is None and not incident.down:
                incident.ended = "no-move"
            elif now - incident.detected > GIVE_UP_S:
                incident.ended = "no-move" if incident.decided is None else "open"
            else:
                continue
            ended.append(self._open.pop(service))
        return ended
