"""Starts looks at their intended times: rows of them, not a task per check.

Intended times come from the cadence, on the wall clock, and are waited for on the loop's steady clock, so a clock
that is set shifts the next look and nothing else. A regular look is never queued behind itself: while one of the
same subject and check is in flight or waits for a place, its next slot is counted as missed. Confirms are made
whatever is in flight.

Regular looks go through a `Beat` where there is one for their watch: a call at the start and a call at the end. All others are
tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from steerd.agent.rows import Rows
from steerd.agent.watchlist import Watch
from steerd.core.verdict import Recheck

__all__ = ["TICK_S", "Beat", "Beats", "Due", "Scheduler", "row_s"]

IDLE_S = 3600.0
"""How long to sleep with nothing to do; a change of the watches wakes earlier."""

TICK_S = 0.02
"""Looks are started in rows this far apart: thousands a second then share timers and wake-ups, which on a quiet host cost more
than the looks themselves. It is the start delay of a busy agent; an idle one starts each look on its time."""

_ROW_LOOKS: Final = 40
"""Rows of more looks than this come closer together, as far as the rate takes them: the last look of a row waits for all others,
so a long row is late by itself, and it has paid for its wake-up many times over."""

_LEAST_TICK_S: Final = 0.002
"""Event loops count milliseconds, and rows this short are long for another reason: this process is behind."""


class Beat(Protocol):
    """Makes the regular looks of one watch, one at a time, and calls back when each has ended."""

    def start(self, intended: float, now: float, *, queued: bool) -> None:
        """Looks. The end may be told before this returns."""

    def close(self) -> None:
        """No more looks; the one under way ends without a word."""


Beats = Callable[[Watch, Callable[[], None]], Beat | None]
"""Makes the beat of a watch, which calls the second argument at the end of each look; None where looks are tasks."""


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


class _Job:
    """A watch and where it stands. `slot` is its next slot, `at` that slot's wall time and `due` its steady one; `busy` while a
    regular look waits or is in flight.
    """

    __slots__ = ("at", "beat", "busy", "cadence", "due", "live", "owner", "period_s", "slot", "watch")

    def __init__(self, owner: Scheduler, watch: Watch) -> None:
        self.owner = owner
        self.watch = watch
        self.cadence = watch.cadence
        self.period_s = watch.cadence.period_s
        self.slot: int | None = None
        self.at = self.due = 0.0
        self.busy = False
        self.live = True
        self.beat: Beat | None = None

    def ended(self) -> None:
        """A regular look ended."""
        owner = self.owner
        owner.in_flight -= 1
        self.busy = False
        if not self.live:
            self.close()
        if owner.queue:
            owner.stir()

    def close(self) -> None:
        """No more looks."""
        if self.beat is not None:
            self.beat.close()
            self.beat = None


@dataclass(slots=True)
class _Confirm:
    """One look of a confirm."""

    due: float
    job: _Job
    counts_as: int


class Scheduler:
    """Starts every due look, at most `limit` at a time: by its watch's beat, or by `look` in a task made by `spawn`.

    `missed` is called with the number of slots that were passed over. `wall` is the wall clock in seconds of the epoch, `clock`
    the steady one (the loop's own unless given; that of uvloop stands still within a turn of the loop).
    """

    def __init__(
        self,
        look: Callable[[Due], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        limit: int,
        missed: Callable[[int], None],
        beats: Beats | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._look = look
        self.spawn = spawn
        self._limit = limit
        self._missed = missed
        self._beats = beats
        self._wall = wall
        self._clock = clock if clock is not None else asyncio.get_running_loop().time
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._rows: Rows[_Job] = Rows()
        self._confirms: Rows[_Confirm] = Rows()
        self.queue: deque[tuple[_Job, Due]] = deque()
        """Looks that are due and wait for a place."""
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """Looks that are due and wait for a place."""
        return len(self.queue)

    def set_watches(self, watches: Iterable[Watch], *, made: Callable[[], None] = lambda: None) -> None:
        """Takes the watches of a config. A watch that stayed the same keeps its place. Call on the running loop. `made` is called
        when all is made and no slot is worked out yet.
        """
        wanted = {watch.key: watch for watch in watches}
        for key, job in list(self._jobs.items()):
            if wanted.get(key) != job.watch:
                job.live = False
                if not job.busy:  # a look in flight may end, and be told
                    job.close()
                del self._jobs[key]
        new = [_Job(self, watch) for key, watch in wanted.items() if key not in self._jobs]
        for job in new:  # all that takes time before any slot is worked out: nobody is late because of it
            self._jobs[job.watch.key] = job
            self._make_beat(job)
        made()
        now, wall = self._clock(), self._wall()
        for job in new:
            self._put(job, now, wall)
        self.stir()

    def _make_beat(self, job: _Job) -> None:
        if self._beats is not None:
            job.beat = self._beats(job.watch, job.ended)

    def confirm(self, key: tuple[str, str], recheck: Recheck, gap_s: float) -> None:
        """Looks again at once, `gap_s` apart, each on time whether or not the one before has ended."""
        job = self._jobs.get(key)
        if job is None:
            return
        now = self._clock()
        for number in range(recheck.looks):
            self._confirms.put(_Confirm(now + number * gap_s, job, recheck.counts_as))
        self.stir()

    async def run(self) -> None:
        """Starts looks until cancelled. Raises what starting one raised."""
        self._running = asyncio.get_running_loop().create_future()
        self._tick()
        try:
            await self._running
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._running = self._timer = None
            for job in self._jobs.values():
                job.close()

    def fail(self, error: Exception) -> None:
        """Ends `run` with an error of a call that nobody waits for."""
        if self._running is not None and not self._running.done():
            self._running.set_exception(error)

    # -- time ---------------------------------------------------------------------------------------------------------

    def stir(self) -> None:
        """Something is due now, or there is a place for what waits."""
        if self._running is not None:
            self._arm(0.0)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        running = self._running
        if running is None or running.done():
            return
        try:
            now = self._clock()
            soonest = now + row_s(self._start_due(now))
            times = [at for at in (self._rows.next_at(soonest), self._confirms.next_at(soonest)) if at is not None]
            self._arm(min(times, default=now + IDLE_S))
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self.fail(error)

    def _put(self, job: _Job, now: float, wall: float) -> None:
        """The job is due at its next slot."""
        cadence, slot = job.cadence, job.slot
        if slot is not None and job.at - wall < job.period_s / 2 and wall < (at := cadence.time(slot + 1)):
            slot += 1  # as nearly always: what `after` would find, for a third of the work
        else:
            slot = cadence.after(wall, slot)
            at = cadence.time(slot)
        job.slot, job.at, job.due = slot, at, now + at - wall
        self._rows.put(job)

    # -- looks --------------------------------------------------------------------------------------------------------

    def _start_due(self, now: float) -> int:
        """Starts what is due. How many regular looks that was."""
        for confirm in self._confirms.take(now):
            if confirm.job.live:
                queued = self.in_flight >= self._limit
                watch, counts_as = confirm.job.watch, confirm.counts_as
                due = Due(watch, confirm.due, confirm=True, counts_as=counts_as, queued=queued)
                self.queue.appendleft((confirm.job, due))
        self._fill()
        wall = self._wall()
        due_now = self._rows.take(now)
        for job in due_now:
            if not job.live:
                continue
            intended = job.due
            self._put(job, now, wall)
            # Slots that went by while this process could not look: its own were not made and are not made up for.
            late = now - intended
            if job.busy or late >= job.period_s:
                self._missed(int(late / job.period_s) + job.busy)
                if job.busy:
                    continue
            job.busy = True
            if self.queue or self.in_flight >= self._limit:
                self.queue.append((job, Due(job.watch, intended, queued=self.in_flight >= self._limit)))
            else:
                self._begin(job, intended)
        self._fill()
        return len(due_now)

    def _fill(self) -> None:
        while self.queue and self.in_flight < self._limit:
            job, due = self.queue.popleft()
            if not job.live:
                job.close()
            elif due.confirm:
                self.in_flight += 1
                self.spawn(self._run(job, due))
            else:
                self._begin(job, due.intended, queued=due.queued)

    def _begin(self, job: _Job, intended: float, *, queued: bool = False) -> None:
        """Starts a regular look."""
        self.in_flight += 1
        if job.beat is None:
            self._make_beat(job)  # what could not be made then may be made now
        beat = job.beat
        if beat is not None:
            beat.start(intended, self._clock(), queued=queued)
        else:
            self.spawn(self._run(job, Due(job.watch, intended, queued=queued)))

    async def _run(self, job: _Job, due: Due) -> None:
        try:
            await self._look(due)
        finally:
            if due.confirm:
                self.in_flight -= 1
                if self.queue:
                    self.stir()
            else:
                job.ended()


def row_s(looks: int) -> float:
    """Seconds from the begin of a row of `looks` to the next."""
    return TICK_S if looks <= _ROW_LOOKS else max(_LEAST_TICK_S, TICK_S * _ROW_LOOKS / looks)
