"""A follower's view of what the leader decided: drains, pins, freezes and shares as they stand in the store.

The head of the hard state is looked at every few seconds and the rest read only when it changed, with linearizable reads: a
follower shows nothing that a lost quorum could have made untrue, and says nothing new while the store is away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from steerd.coordinator.clock import Clock
from steerd.coordinator.journal import Journal
from steerd.core.events import StateFollowed
from steerd.stores.base import StoreError

__all__ = ["Following"]

log = logging.getLogger(__name__)

EVERY_S = 2.0


class Following:
    """`follows()` tells whether somebody else leads; `tell` gets what is new."""

    def __init__(
        self, journal: Journal, clock: Clock, *, follows: Callable[[], bool], tell: Callable[[StateFollowed], None]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._follows = follows
        self._tell = tell
        self._seen: int | None = None
        self._failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            if not self._follows():
                self._seen = None
                continue
            try:
                await self._look()
                self._failing = False
            except (StoreError, msgspec.MsgspecError) as error:
                if not self._failing:
                    log.warning("what the leader decided cannot be read: %s", error)
                self._failing = True

    async def _look(self) -> None:
        mark = await self._journal.state_mark()
        if mark is None or mark == self._seen:
            return
        state = await self._journal.read_state()
        if state is not None and self._follows():
            self._seen = mark
            self._tell(StateFollowed(state))
