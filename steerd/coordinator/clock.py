"""The time of a coordinator, from outside: the real one here, a virtual one in a simulator.

Nothing else in this room asks the operating system for the time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """`now` for what is decided and stored, `loop_time` for deadlines of calls, `sleep` for waiting."""

    def now(self) -> float:
        """Steady seconds since the Unix epoch: never steps, goes on while the machine is suspended."""

    def loop_time(self) -> float:
        """Seconds of the running event loop's clock, the measure of provider deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Wait; not at all when `seconds` is not positive."""


class SystemClock:
    """The wall clock at the start plus CLOCK_BOOTTIME since: later steps of the wall clock do not matter."""

    def __init__(self) -> None:
        self._boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset_s = time.time() - time.clock_gettime(self._boot)

    def now(self) -> float:
        return self._offset_s + time.clock_gettime(self._boot)

    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))
