"""The agent looks at itself: how busy, how late, how near its limits. Numbers only; what follows from lateness is self-doubt's."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from typing import TYPE_CHECKING

from probes.host_clock import HOST_CLOCK
from probes.wire.resolver import Resolver

if TYPE_CHECKING:
    from steerd.agent.lag import LagMonitor
    from steerd.agent.looks import Looks
    from steerd.agent.references import References

__all__ = ["EVERY_S", "SelfView"]

EVERY_S = 2.0
"""Seconds between two measurements."""

_COUNT_EVERY = 5
"""Descriptors are counted in every so many measurements: that takes as long as there are many."""


class SelfView:
    """`measure` every `EVERY_S`; `values` are the last ones, by name with the unit in it:

    looks_per_s, cpu_per_look_s (user and system time of the whole process), start_delay_s (the worst since the measurement
    before), loop_lag_s (likewise), in_flight, waiting, missed (looks not made, since the start), descriptors and
    descriptors_limit, resolver_failed (questions that this host's resolver did not answer, since the start), references_failing;
    clock_off_s (how far this host's clock is ahead of what the references say, negative: behind; 0 up to a minute);
    and what looks cost by the kind of their probe, since the start: see `steerd.agent.costs.Costs`.
    """

    def __init__(self, looks: Looks, lag: LagMonitor, references: References) -> None:
        self.values: dict[str, float] = {}
        self._looks = looks
        self._lag = lag
        self._references = references
        self._at = time.monotonic()
        self._count = looks.count
        self._cpu_s = time.process_time()
        self._round = 0

    def measure(self, missed: int) -> dict[str, float]:
        """Measures now."""
        now, cpu_s, looks = time.monotonic(), time.process_time(), self._looks
        made = looks.count - self._count
        found = self.values
        found["looks_per_s"] = made / max(1e-6, now - self._at)
        if made:
            found["cpu_per_look_s"] = (cpu_s - self._cpu_s) / made
        found["start_delay_s"], looks.worst_delay_s = looks.worst_delay_s, 0.0
        found["loop_lag_s"] = self._lag.take_worst()
        found["in_flight"] = float(looks.scheduler.in_flight)
        found["waiting"] = float(looks.scheduler.waiting)
        found["missed"] = float(missed)
        found["resolver_failed"] = float(Resolver.of(asyncio.get_running_loop()).failed)
        found["clock_off_s"] = HOST_CLOCK.off_s()
        found["references_failing"] = float(len(self._references.failing))
        found.update(looks.costs.values())
        if self._round % _COUNT_EVERY == 0:
            found["descriptors"] = float(_descriptors())
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            found["descriptors_limit"] = float("inf") if soft == resource.RLIM_INFINITY else float(soft)
        self._round += 1
        self._at, self._count, self._cpu_s = now, looks.count, cpu_s
        return found


def _descriptors() -> int:
    """Descriptors this process has open; 0 where the system does not say."""
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            with os.scandir(place) as found:
                return sum(1 for _ in found)
        except OSError:
            continue
    return 0
