"""What is due when: a calendar queue (Brown, 1988), whose days are rows a few milliseconds long.

Thousands of times that come round again and again are put and taken for the price of a list's append, where a heap pays for its
depth each time, most of it in memory that has gone cold.
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar

__all__ = ["ROW_S", "Rows", "Timed"]

ROW_S = 0.002
"""Seconds of one row. Whole rows are taken without a look at what is in them, and only one is cut in two at each taking."""


class Timed(Protocol):
    """What has a time. It must not change while the thing is in a row."""

    due: float


_T = TypeVar("_T", bound=Timed)


class Rows(Generic[_T]):
    """Things by their time `due`, in seconds of one steady clock. A thing is put again once it was taken."""

    def __init__(self) -> None:
        self._rows: dict[int, list[_T]] = {}
        self._order: list[int] = []

    def put(self, thing: _T) -> None:
        """From now on `thing` is taken at its time."""
        row = int(thing.due / ROW_S)
        things = self._rows.get(row)
        if things is not None:
            things.append(thing)
        else:
            self._rows[row] = [thing]
            heapq.heappush(self._order, row)

    def take(self, now: float) -> list[_T]:
        """Everything due up to `now`, oldest rows first, in a row as they were put; it is no longer here."""
        due: list[_T] = []
        order, this_row = self._order, int(now / ROW_S)
        while order and order[0] < this_row:
            due += self._rows.pop(heapq.heappop(order))
        if order and order[0] == this_row:
            things = self._rows[this_row]
            later = [thing for thing in things if thing.due > now]
            if len(later) < len(things):
                due += [thing for thing in things if thing.due <= now]
                if later:
                    self._rows[this_row] = later
                else:
                    del self._rows[heapq.heappop(order)]
        return due

    def next_at(self, soonest: float) -> float | None:
        """When the next thing is due, or `soonest` if that is later; None where there is none."""
        if not self._order:
            return None
        row = self._order[0]
        if (row + 1) * ROW_S <= soonest:
            return soonest
        return max(soonest, min(thing.due for thing in self._rows[row]))
