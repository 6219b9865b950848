"""The deadlines of all asks of an event loop. Nearly none is reached, so nearly none gets a timer."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from time import monotonic
from typing import Protocol

__all__ = ["STEP_S", "SWEEP_S", "Deadlines", "Mortal"]

STEP_S = 0.01
"""Deadlines are kept in steps of this: an ask ends at most this much after its own."""

SWEEP_S = 0.05
"""How long an ask may take before its deadline is kept at all."""


class Mortal(Protocol):
    """What has a deadline. Times are those of `time.monotonic`, which the event loops' clocks count too."""

    start_at: float
    deadline: float

    @property
    def busy(self) -> bool:
        """It has not ended."""

    def expire(self, now: float) -> None:
        """The deadline may have passed; or it has ended since, or begun again with a later one."""


class Deadlines:
    """`listen` takes what has come already, `report` what the end of one ask raised."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listen: Callable[[], object], report: Callable[[Exception], None]
    ) -> None:
        self._loop = loop
        self._listen = listen
        self._report = report
        self._begun: list[Mortal] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._buckets: dict[int, list[Mortal]] = {}
        self._due: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    def watch(self, ask: Mortal) -> None:
        """Tells `ask` when its `deadline` has passed, unless it has ended or got a later one by then."""
        if ask.deadline - ask.start_at < 2.0 * SWEEP_S:
            self._keep(ask)
            return
        self._begun.append(ask)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def close(self) -> None:
        """Nobody is told any more."""
        for timer in (self._sweeper, self._timer):
            if timer is not None:
                timer.cancel()
        self._sweeper = self._timer = None

    def _sweep(self) -> None:
        """Most asks have ended by now, and their deadlines with them."""
        self._sweeper = None
        begun, self._begun = self._begun, []
        left = [ask for ask in begun if ask.busy]
        now = monotonic()
        late = [ask for ask in left if ask.deadline <= now]  # this process was stopped meanwhile
        if late:
            self._listen()
            self._tell(late, monotonic())
        for ask in left:
            if ask.busy and ask.deadline > now:
                self._keep(ask)

    def _keep(self, ask: Mortal) -> None:
        step = int(ask.deadline / STEP_S) + 1
        bucket = self._buckets.get(step)
        if bucket is not None:
            bucket.append(ask)
            return
        self._buckets[step] = [ask]
        heapq.heappush(self._due, step)
        if self._timer is None or step < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer_at = self._due[0]
            self._timer = self._loop.call_at(self._timer_at * STEP_S, self._expire)

    def _expire(self) -> None:
        # Answers that are here already came in time, however late this loop is: the look's own clock would not say so.
        self._listen()
        now = monotonic()
        self._timer = None
        while self._due and self._due[0] * STEP_S <= now:
            self._tell(self._buckets.pop(heapq.heappop(self._due)), now)
        self._arm()

    def _tell(self, asks: list[Mortal], now: float) -> None:
        for ask in asks:
            try:
                ask.expire(now)
            except Exception as error:  # noqa: BLE001 - one bad end must not keep the other asks from theirs
                self._report(error)
