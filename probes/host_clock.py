"""Is this host's clock right? Certificates and ages of messages are judged by it, and a target is not to blame for a wrong one.

Whoever knows servers that are not looked at (steerd's agents have their references) tells what time those say it is. That is kept
against the steady clock, so that a step of the wall clock is noticed at the next question, not at the next word of a server.

    most of them are over a minute away from our wall clock     it is off, and theirs is the time
    else, or nobody said anything lately                        it is right
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

__all__ = ["HOST_CLOCK", "OFF_S", "HostClock"]

OFF_S: Final = 60.0
"""How far off a clock may be: HTTP's dates are whole seconds, and hosts without NTP drift by seconds a day."""

_HOLDS_S: Final = 600.0
"""How long the servers' word holds when no new one comes."""


class HostClock:
    """See the module's text. `wall` and `steady` in seconds."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._bases: tuple[float, ...] = ()
        self._told_at = 0.0

    def told(self, times: Sequence[float]) -> None:
        """What servers say the time is now (epoch seconds), each once. None of them: what they said before holds on."""
        if times:
            self._told_at = now = self._steady()
            self._bases = tuple(one - now for one in times)

    def forget(self) -> None:
        """Nobody said anything."""
        self._bases = ()

    def off_s(self) -> float:
        """Seconds that this host's clock is ahead (negative: behind) where it is off; 0 where it is right for all we know."""
        now = self._steady()
        if now - self._told_at > _HOLDS_S:
            return 0.0
        wall = self._wall()
        found = [wall - now - base for base in self._bases]
        far = [one for one in found if abs(one) > OFF_S]
        return median(far) if 2 * len(far) > len(found) else 0.0

    def now(self) -> float:
        """The time (epoch seconds): this host's, without what it is off."""
        return self._wall() - self.off_s()


HOST_CLOCK: Final = HostClock()
"""This process's."""
