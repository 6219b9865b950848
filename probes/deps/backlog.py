"""Queues: how many messages wait, how old the oldest is, and whether dead letters grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probes.outcome import Status
from probes.settings import number

__all__ = ["Backlog", "BacklogLimits", "DeadLetters"]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a queue holds. `depth` messages wait; the oldest of them for `oldest_s` seconds, None when nobody can tell.
    `at_least` marks an age that is only known to be no lower. `dead` letters are in the queue of dead letters.
    """

    depth: int
    oldest_s: float | None = None
    at_least: bool = False
    dead: int | None = None

    def readings(self) -> dict[str, float]:
        """As readings: `depth`, `oldest_age_s`, `dead_letters`."""
        found = {"depth": float(self.depth)}
        if self.oldest_s is not None:
            found["oldest_age_s"] = max(0.0, self.oldest_s)
        if self.dead is not None:
            found["dead_letters"] = float(self.dead)
        return found


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """`max_depth` messages and `max_age` seconds that are still well; None for no limit."""

    max_depth: int | None
    max_age_s: float | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> BacklogLimits:
        """Reads the settings. Raises `SettingError`."""
        depth = number(settings, "max_depth")
        return cls(None if depth is None else int(depth), number(settings, "max_age"))

    def wrong(self, backlog: Backlog, *, grown: int = 0) -> tuple[Status, str, str] | None:
        """Status, reason and detail of what is over its limit, the worst first; None when all is well.

        Old messages mean that nobody works them off: that fails. Many young ones mean a full queue: SATURATED. `grown`
        is how many dead letters came lately.
        """
        if self.max_age_s is not None and backlog.oldest_s is not None and backlog.oldest_s > self.max_age_s:
            least = "at least " if backlog.at_least else ""
            detail = f"{least}{backlog.oldest_s:.0f} s, over {self.max_age_s:g} s; {backlog.depth} messages wait"
            return Status.FAIL, "the oldest message waits too long", detail
        if grown > 0:
            return Status.FAIL, "dead letters grow", f"{grown} more lately, {backlog.dead} in all"
        if self.max_depth is not None and backlog.depth > self.max_depth:
            detail = f"{backlog.depth} messages wait, over {self.max_depth}"
            return Status.SATURATED, "too many messages wait", detail
        return None


class DeadLetters:
    """Remembers, per target, how many dead letters there were, to tell growth within the last `window_s` seconds.

    The first look has nothing to compare with: dead letters that lie there since yesterday are no news.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._counts: dict[str, deque[tuple[float, int]]] = {}

    def forget(self, target: str) -> None:
        """The target is gone."""
        self._counts.pop(target, None)

    def grown(self, target: str, count: int | None, now: float) -> int:
        """How many came within the window; `now` in seconds of a steady clock. 0 when the queue was emptied since."""
        if count is None:
            return 0
        # Each count with the time it was last seen: bounded by the number of changes.
        seen = self._counts.setdefault(target, deque(maxlen=1000))
        while seen and now - seen[0][0] > self._window_s:
            seen.popleft()
        if seen and seen[-1][1] > count:
            seen.clear()  # somebody took letters out: what comes from now on counts
        if seen and seen[-1][1] == count:
            seen.pop()
        seen.append((now, count))
        return count - seen[0][1]
