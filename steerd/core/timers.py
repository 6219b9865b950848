"""Virtual alarms: what must be looked at again, and when. Pure; the engine pops what is due at each step."""

from __future__ import annotations

import heapq

__all__ = ["Timers"]


class Timers:
    """A heap of (time, kind, key). An alarm only says "look again": its handler decides from state whether anything is due,
    so an alarm that came too early, twice or for something gone does no harm. At most the earliest alarm per (kind, key) is kept.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str, str]] = []
        self._earliest: dict[tuple[str, str], float] = {}

    def at(self, time: float, kind: str, key: str) -> None:
        """Look at `key` again at `time`, unless an earlier alarm for it stands."""
        known = self._earliest.get((kind, key))
        if known is not None and known <= time:
            return
        self._earliest[kind, key] = time
        heapq.heappush(self._heap, (time, kind, key))

    def due(self, now: float) -> list[tuple[str, str]]:
        """Alarms at or before `now`, each (kind, key) once, in order of time."""
        found: list[tuple[str, str]] = []
        while self._heap and self._heap[0][0] <= now:
            time, kind, key = heapq.heappop(self._heap)
            if self._earliest.get((kind, key)) == time:
                del self._earliest[kind, key]
                found.append((kind, key))
        return found

    def next(self) -> float | None:
        """Time of the earliest alarm, or None."""
        while self._heap and self._earliest.get(self._heap[0][1:]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
