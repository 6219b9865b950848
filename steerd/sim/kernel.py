"""Virtual time: a heap of calls, and processes with event loops of their own, each run when its time has come."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Kernel", "Process"]


class Process(Protocol):
    """Something with a loop of its own. `wake_at` is when it wants to run next, in seconds since the start."""

    wake_at: float

    def drive(self) -> None:
        """Run what is due now, and set `wake_at` to a later time."""


class Kernel:
    """`now` is seconds since the start. Calls at the same time run in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.processes: list[Process] = []
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        """Call at `time`, or now when that has passed."""
        self._order += 1
        heapq.heappush(self._heap, (time if time > self.now else self.now, self._order, call, args))  # noqa: FURB136  no call, here

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Call in `seconds`."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + seconds if seconds > 0.0 else self.now, self._order, call, args))

    def run(self, until: float) -> None:
        """Let time pass up to and including `until`."""
        heap, processes = self._heap, self.processes
        while True:
            at = heap[0][0] if heap else float("inf")
            for process in processes:
                if process.wake_at < at:  # noqa: PLR1730  no call, here
                    at = process.wake_at
            if at > until:
                break
            now = self.now = at if at > self.now else self.now  # noqa: FURB136  as above
            while heap and heap[0][0] <= now:
                _, _, call, args = heapq.heappop(heap)
                self.events += 1
                call(*args)
            for process in tuple(processes):
                if process.wake_at <= now:
                    process.drive()
        self.now = max(self.now, until)
