"""How late the event loop is: the agent's own pulse. A late loop makes looks seem slow and targets seem silent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from steerd.core.doubt import LAG_LIMIT_S

__all__ = ["TICK_S", "LagMonitor"]

TICK_S = 0.1
"""Seconds between two measurements."""

_KEEP_S = 120.0


class LagMonitor:
    """Wakes every 100 ms and calls `told(lag_s, now)` with how late it was."""

    def __init__(self, told: Callable[[float, float], None]) -> None:
        self._told = told
        self._expected: float | None = None
        self._late: deque[tuple[float, float]] = deque()
        self.last_s = 0.0
        self.worst_s = 0.0
        self._recent_s = 0.0

    async def run(self) -> None:
        """Measures until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._expected = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            now = loop.time()
            lag_s = max(0.0, now - self._expected)
            self.last_s, self.worst_s = lag_s, max(self.worst_s, lag_s)
            self._recent_s = max(self._recent_s, lag_s)
            if lag_s > LAG_LIMIT_S:
                self._late.append((now, lag_s))
            while self._late and now - self._late[0][0] > _KEEP_S:
                self._late.popleft()
            self._told(lag_s, now)

    def take_worst(self) -> float:
        """The longest lag since this was asked last."""
        found, self._recent_s = self._recent_s, 0.0
        return found

    def during(self, started: float, now: float) -> float:
        """The longest lag over the limit between `started` and `now`, the one not yet over included; 0.0 if none.

        A look that ended under it cannot be believed when it blames the target: this process was not there to listen.
        """
        found = [lag_s for at, lag_s in self._late if at >= started]
        if self._expected is not None and now - self._expected > LAG_LIMIT_S:
            found.append(now - self._expected)
        return max(found, default=0.0)
