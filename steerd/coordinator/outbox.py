"""Receipts and history on their way to the store, behind the decisions and never in their way.

Both may wait while the store is away. Receipts are bounded by what is decided (one per decision and route, the newest
wins); history is bounded by count: the oldest lines are lost first, and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice

from steerd.coordinator.clock import Clock
from steerd.coordinator.journal import TXN_OPS, Journal, Note, Receipt, StaleEpochError
from steerd.stores.base import StoreUnavailable

__all__ = ["Outbox"]

log = logging.getLogger(__name__)

MOST_NOTES = 5_000
MOST_RECEIPTS = 20_000
TIDY_EVERY = 32
RETRY_S = 1.0


class Outbox:
    """`run` writes in the background; `flush` waits until everything that can be written is."""

    def __init__(self, journal: Journal, clock: Clock, in_flight: Callable[[], Collection[str]]) -> None:
        self.lost = 0
        """History lines dropped because the store was away for too long."""
        self._journal = journal
        self._clock = clock
        self._in_flight = in_flight
        self._notes: deque[Note] = deque()
        self._receipts: dict[tuple[str, str], Receipt] = {}
        self._more = asyncio.Event()
        self._since_tidy = TIDY_EVERY
        self._busy = asyncio.Lock()

    def note(self, note: Note) -> None:
        """Keep a line of history for the store."""
        if len(self._notes) >= MOST_NOTES:
            self._notes.popleft()
            self.lost += 1
        self._notes.append(note)
        self._more.set()

    def receipt(self, receipt: Receipt) -> None:
        """Keep a receipt for the store; a newer one for the same decision and route replaces it."""
        self._receipts.pop((receipt.decision, receipt.route), None)
        if len(self._receipts) >= MOST_RECEIPTS:  # a lost receipt costs a look at the provider after a restart
            del self._receipts[next(iter(self._receipts))]
        self._receipts[receipt.decision, receipt.route] = receipt
        self._more.set()

    def wake(self) -> None:
        """Try again now: the lead was won."""
        self._more.set()

    @property
    def waiting(self) -> int:
        """Lines and receipts not stored yet."""
        return len(self._notes) + len(self._receipts)

    async def run(self) -> None:
        """Write whatever comes, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                await self.flush()
            except StoreUnavailable as error:
                log.warning("history waits for the store (%d lines): %s", self.waiting, error)
                await self._clock.sleep(RETRY_S)
                self._more.set()
            except StaleEpochError:
                continue  # kept until this coordinator leads again: `wake`

    async def flush(self) -> None:
        """Write everything that waits. Raises `StoreError`; what was not written stays."""
        async with self._busy:
            while self.waiting and self._journal.leading:
                await self._batch()
            if self._since_tidy >= TIDY_EVERY and self._journal.leading:
                await self._journal.tidy(self._in_flight())
                self._since_tidy = 0

    async def _batch(self) -> None:
        receipts = list(islice(self._receipts.values(), TXN_OPS))
        notes = list(islice(self._notes, TXN_OPS - len(receipts)))
        await self._journal.note(receipts, notes)
        for receipt in receipts:
            key = (receipt.decision, receipt.route)
            if self._receipts.get(key) is receipt:
                del self._receipts[key]
        for note in notes:
            if self._notes and self._notes[0] is note:  # else dropped meanwhile to make room
                self._notes.popleft()
        self._since_tidy += len(receipts) + len(notes)
