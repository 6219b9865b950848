"""From leadership to the engine: who leads, and for a new leader what the store holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steerd.coordinator.clock import Clock
from steerd.coordinator.journal import Journal
from steerd.coordinator.leadership import Leadership
from steerd.coordinator.pipeline import Pipeline
from steerd.core.events import LeadershipChanged
from steerd.stores.base import StoreUnavailable

__all__ = ["Takeover"]

RETRY_S = 1.0


class Takeover:
    """`tell` receives `LeadershipChanged`, after the journal can be written; `trouble` the store's problem, or None."""

    def __init__(
        self,
        leadership: Leadership,
        journal: Journal,
        pipeline: Pipeline,
        clock: Clock,
        *,
        tell: Callable[[LeadershipChanged], None],
        trouble: Callable[[str | None], None],
    ) -> None:
        self._leadership = leadership
        self._journal = journal
        self._pipeline = pipeline
        self._clock = clock
        self._tell = tell
        self._trouble = trouble
        self._moved = asyncio.Event()
        self._told = (False, 0, "")

    def moved(self) -> None:
        """The leadership changed its token or its holder."""
        if self._leadership.token is None:
            self._journal.follow()  # at once: nothing more is stored under a lead that is gone
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            token = self._leadership.token
            if token is None:
                self._follow(self._leadership.holder or "")
            elif self._told[:2] != (True, token) or not self._journal.leading:
                await self._lead(token)

    def _follow(self, holder: str) -> None:
        if self._told[0]:
            self._pipeline.reset()
        if self._told != (False, 0, holder):
            self._told = (False, 0, holder)
            self._tell(LeadershipChanged(False, 0, holder or None))

    async def _lead(self, token: int) -> None:
        self._pipeline.reset()
        try:
            loaded = await self._journal.lead(token)
        except StoreUnavailable as error:
            self._trouble(str(error))
            await self._clock.sleep(RETRY_S)
            self._moved.set()
            return
        self._trouble(None)
        if self._leadership.token != token:  # lost again while loading: `moved` has been called
            self._journal.follow()
            return
        self._told = (True, token, self._leadership.name)
        self._tell(LeadershipChanged(True, token, self._leadership.name, loaded.state, loaded.open))
