"""The leader's side of executors (deputy.py): turns reports of other coordinators into the events the engine waits for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, cast

import msgspec

from steerd.coordinator.clock import Clock
from steerd.coordinator.deputy import Report, executor_of
from steerd.coordinator.journal import Journal, Receipt
from steerd.core.effects import Apply, Verify
from steerd.core.events import ApplyFinished, Event, RouteObserved, VerifyFinished
from steerd.model.fleet import Fleet
from steerd.stores.base import StoreError

__all__ = ["Remote"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
PATIENCE_S = 20.0
"""How long a deputy may take for a write and its verification before the engine is told that it does not answer."""

_Result = Literal[
    "applied", "unchanged", "conflict", "refused", "throttled", "unreachable", "misconfigured", "no-lease"
]


class Remote:
    """Routes of this fleet that another coordinator carries out. `emit` gets the answers, `receipt` what providers took."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        clock: Clock,
        fleet: Callable[[], Fleet],
        leads: Callable[[], bool],
        emit: Callable[[Event], None],
        receipt: Callable[[Receipt], None],
    ) -> None:
        self._name = name
        self._journal = journal
        self._clock = clock
        self._fleet = fleet
        self._leads = leads
        self._emit = emit
        self._receipt = receipt
        self._waiting: dict[str, tuple[Apply | Verify, float]] = {}
        self._told: dict[str, float] = {}

    def elsewhere(self, route: str) -> str | None:
        """The coordinator that carries this route out, when it is not this one."""
        known = self._fleet().route_by_key.get(route)
        executor = executor_of(self._fleet(), known.provider) if known is not None else None
        return executor if executor not in (None, self._name) else None

    def submit(self, effect: Apply | Verify) -> None:
        """Wait for what the deputy reports of it. A newer effect of the route replaces an older one."""
        self._waiting[effect.route] = (effect, self._clock.now())

    def read(self, route: str) -> bool:
        """The deputy's next report counts as the read; what it reported last is told again."""
        self._told.pop(route, None)
        return True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            if not self._leads():
                self._waiting.clear()
                self._told.clear()
            elif any(self.elsewhere(key) for key in self._fleet().route_by_key):
                try:
                    await self.look()
                except (StoreError, msgspec.MsgspecError) as error:
                    log.warning("reports of other coordinators cannot be read: %s", error)

    async def look(self) -> None:
        """Read the reports and tell the engine what is new. Raises `StoreError` or `msgspec.MsgspecError`."""
        now = self._clock.now()
        for route, value in (await self._journal.reports()).items():
            if self.elsewhere(route) is not None and self._leads():
                self._heed(route, msgspec.json.decode(value, type=Report))
        for route, (effect, since) in list(self._waiting.items()):
            if now - since >= PATIENCE_S:
                del self._waiting[route]
                self._give_up(effect)

    def _heed(self, route: str, report: Report) -> None:
        waiting = self._waiting.get(route)
        if waiting is not None and report.decision == waiting[0].decision:
            self._answer(route, waiting[0], waiting[1], report)
        if report.observed_at > self._told.get(route, float("-inf")):
            self._told[route] = report.observed_at
            self._emit(RouteObserved(route, report.observed if report.error is None else None, report.error))

    def _answer(self, route: str, effect: Apply | Verify, since: float, report: Report) -> None:
        ok = report.result in ("applied", "unchanged")
        if isinstance(effect, Apply):
            if not ok and report.at < since:
                return  # of an earlier try: the deputy tries again by itself
            del self._waiting[route]
            if report.accepted_at is not None:
                self._receipt(Receipt(report.decision, route, report.accepted_at, report.authoritative_at, report.text))
            result = cast("_Result", report.result)
            self._emit(
                ApplyFinished(route, report.decision, result, report.text, report.accepted_at, None, report.observed)
            )
        elif ok and report.authoritative_at is not None:
            del self._waiting[route]
            self._emit(
                VerifyFinished(route, report.decision, True, report.text, report.authoritative_at, report.observed)
            )

    def _give_up(self, effect: Apply | Verify) -> None:
        text = f"coordinator {self.elsewhere(effect.route)} carries {effect.route} out and does not answer"
        if isinstance(effect, Apply):
            self._emit(ApplyFinished(effect.route, effect.decision, "unreachable", text))
        else:
            self._emit(VerifyFinished(effect.route, effect.decision, False, text))
