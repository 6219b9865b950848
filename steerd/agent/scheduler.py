"""Starts looks at their intended times: one heap for all of them, not a task per check.

Intended times come from the cadence, on the wall clock, and are waited for on the loop's steady clock, so a clock
that is set shifts the next look and nothing else. A regular look is never queued behind itself: while one of the
same subject and check is in flight or waits for a place, its next slot is counted as missed. Confirms are made
whatever is in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from steerd.agent.watchlist import Watch
from steerd.core.verdict import Recheck

__all__ = ["Due", "Scheduler"]

IDLE_S = 3600.0
"""How long to sleep with nothing to do; a change of the watches wakes earlier."""


@dataclass(frozen=True, slots=True)
class Due:
    """One look that is due. `intended` is its steady time; `counts_as` how many looks it stands for in the verdict.

    `queued`: it had to wait for a place among the looks in flight, which targets that hang fill up: its lateness then says
    nothing of this host.
    """

    watch: Watch
    intended: float
    confirm: bool = False
    counts_as: int = 1
    queued: bool = False


@dataclass(slots=True)
class _Job:
    """A watch and where it stands. `slot` is the slot in the heap; `busy` while a regular look waits or is in
    flight.
    """

    watch: Watch
    slot: int | None = None
    busy: bool = False
    live: bool = True


@dataclass(frozen=True, slots=True)
class _Entry:
    """A heap entry's load: a regular slot (`recheck` None) or one look of a confirm."""

    job: _Job
    counts_as: int = 1
    confirm: bool = False


class Scheduler:
    """Runs `look` for every due look, as a task made by `spawn`, at most `limit` at a time.

    `missed` is called with the number of slots that were passed over. `wall` is the wall clock in seconds of the epoch.
    """

    def __init__(
        self,
        look: Callable[[Due], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        limit: int,
        missed: Callable[[int], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._look = look
        self._spawn = spawn
        self._limit = limit
        self._missed = missed
        self._wall = wall
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = 0
        self._ready: deque[tuple[_Job, Due]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """Looks that are due and wait for a place."""
        return len(self._ready)

    def set_watches(self, watches: Iterable[Watch]) -> None:
        """Takes the watches of a config. A watch that stayed the same keeps its place. Call on the running loop."""
        wanted = {watch.key: watch for watch in watches}
        for key, job in list(self._jobs.items()):
            if wanted.get(key) != job.watch:
                job.live = False
                del self._jobs[key]
        for key, watch in wanted.items():
            if key not in self._jobs:
                job = self._jobs[key] = _Job(watch)
                self._plan(job)
        self._stir()

    def confirm(self, key: tuple[str, str], recheck: Recheck, gap_s: float) -> None:
        """Looks again at once, `gap_s` apart, each on time whether or not the one before has ended."""
        job = self._jobs.get(key)
        if job is None:
            return
        now = asyncio.get_running_loop().time()
        for number in range(recheck.looks):
            self._push(now + number * gap_s, _Entry(job, recheck.counts_as, confirm=True))
        self._stir()

    async def run(self) -> None:
        """Starts looks until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._start_due(loop.time())
            at = self._heap[0][0] if self._heap else loop.time() + IDLE_S
            self._wake = loop.create_future()
            handle = loop.call_at(at, _wake_up, self._wake)
            try:
                await self._wake
            finally:
                handle.cancel()
                self._wake = None

    def _stir(self) -> None:
        if self._wake is not None:
            _wake_up(self._wake)

    def _push(self, at: float, entry: _Entry) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, entry))

    def _plan(self, job: _Job) -> None:
        """Puts the job's next slot into the heap."""
        wall, steady = self._wall(), asyncio.get_running_loop().time()
        job.slot = job.watch.cadence.after(wall, job.slot)
        self._push(steady + job.watch.cadence.time(job.slot) - wall, _Entry(job))

    def _start_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            intended, _, entry = heapq.heappop(self._heap)
            job = entry.job
            if not job.live:
                continue
            due = Due(job.watch, intended, entry.confirm, entry.counts_as, queued=self.in_flight >= self._limit)
            if entry.confirm:
                self._ready.appendleft((job, due))
                continue
            # Slots that went by while this process could not look: its own were not made and are not made up for.
            passed = int((now - intended) / job.watch.cadence.period_s) + job.busy
            if passed:
                self._missed(passed)
            if not job.busy:
                job.busy = True
                self._ready.append((job, due))
            self._plan(job)
        self._fill()

    def _fill(self) -> None:
        while self._ready and self.in_flight < self._limit:
            job, due = self._ready.popleft()
            if not job.live:
                continue
            self.in_flight += 1
            self._spawn(self._run(job, due))

    async def _run(self, job: _Job, due: Due) -> None:
        try:
            await self._look(due)
        finally:
            self.in_flight -= 1
            if not due.confirm:
                job.busy = False
            self._fill_later()

    def _fill_later(self) -> None:
        if self._ready:
            self._stir()


def _wake_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
