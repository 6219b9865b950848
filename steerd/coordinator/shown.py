"""What a coordinator shows to whoever asks: read off its parts, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from steerd.coordinator.alarms import Alarms
from steerd.coordinator.beacons import Beacons
from steerd.coordinator.clock import Clock
from steerd.coordinator.connections import Connections
from steerd.coordinator.feed import Feed
from steerd.coordinator.journal import Journal
from steerd.coordinator.leadership import Leadership
from steerd.coordinator.outbox import Outbox
from steerd.coordinator.ring import Ring
from steerd.core.engine import Engine
from steerd.core.events import LeadershipChanged
from steerd.model.fleet import Fleet

__all__ = ["Shown"]


class Shown:
    """The readers' side of a `Coordinator`, which has the parts named here."""

    name: str
    config_problem: str | None
    _fleet: Fleet
    _clock: Clock
    _engine: Engine
    _alarms: Alarms
    _outbox: Outbox
    _ring: Ring | None
    _connections: Connections
    _leadership: Leadership
    _journal: Journal
    _feed: Feed
    _beacons: Beacons
    _lead: LeadershipChanged
    _running: bool

    def status(self) -> dict[str, Any]:
        """The fleet at a glance (interfaces.md), with what only this process knows."""
        told = self._engine.status(self._clock.now())
        ready, why = self.ready()
        told["alerts"] = sorted([*told["alerts"], *self._alarms.rows()], key=lambda a: (a["kind"], a["of"]))
        told["coordinator"] = {
            "name": self.name,
            "leading": self._lead.leading,
            "lease_s": round(self._lease_remaining(), 1),
            "ready": ready,
            "why": why,
            "store": self._leadership.problem,
            "config_problem": self.config_problem,
            "history_waiting": self._outbox.waiting,
            "history_lost": self._outbox.lost,
            "recording": self._ring.problem if self._ring is not None else None,
        }
        told["providers"] = self._connections.status()
        return told

    def explain(self, name: str) -> dict[str, Any]:
        """Why `name` stands as it does. Raises KeyError for a name the fleet does not know."""
        return self._engine.explain(name, self._clock.now())

    def plan(self) -> dict[str, Any]:
        """What would be written now."""
        return self._engine.preview(self._clock.now())

    async def history(self, since: float | None, limit: int) -> list[dict[str, Any]]:
        """The newest `limit` lines no older than `since` (seconds of the Unix epoch), newest last. Raises `StoreError`."""
        return (await self._journal.history(since, limit))[::-1]

    def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """What happens from now on: {kind, of, text, at, data}. A reader that is too slow is told how many it lost."""
        return self._feed.subscribe()

    def ready(self) -> tuple[bool, str]:
        """Whether this coordinator does its work: it leads, or it knows who does. With the reason."""
        if not self._running:
            return False, "not running"
        return (True, f"{self.name} leads") if self._lead.leading else self._leadership.follows()

    def beacon(self, name: str) -> bool | None:
        """Whether `name` should carry traffic, by the last stored decision; None for a name that cannot."""
        return self._beacons.wanted(name)

    def _lease_remaining(self) -> float:
        return self._leadership.lease_remaining(self._clock.now())
