"""A day of the schedule in virtual time: nothing is missed, nothing drifts, nothing grows."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from steerd.agent.scheduler import TICK_S, Beat, Scheduler
from steerd.agent.watchlist import Watch
from steerd.core.cadence import agree
from steerd.model.fleet import Check
from steerd.model.sample import Layer
from tests.support.virtual_loop import VirtualLoop, run_virtual

ENDPOINTS, PERIOD_S, HOURS = 10_000, 3600.0, 24


class Count:
    """Beats whose looks end at once."""

    def __init__(self) -> None:
        self.looks = 0
        self.worst_s = 0.0

    def make(self, watch: Watch, ended: Callable[[], None]) -> Beat:
        count = self

        class Ends:
            def start(self, intended: float, now: float, *, queued: bool) -> None:
                count.looks += 1
                count.worst_s = max(count.worst_s, now - intended)
                ended()

            def close(self) -> None:
                pass

        return Ends()


def kept() -> int:
    """Objects that hold others, and are still there."""
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.slow
def test_a_day_of_ten_thousand_endpoints_misses_nothing_and_grows_nowhere() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        count, missed = Count(), [0]

        async def never(_: object) -> None:
            raise AssertionError("every look has its beat")

        scheduler = Scheduler(
            never,
            asyncio.ensure_future,
            limit=100,
            missed=lambda n: missed.__setitem__(0, missed[0] + n),
            beats=count.make,
            wall=lambda: loop.time() + 1.7e9,
        )
        check = Check("liveness", Layer.LIVENESS, "http", PERIOD_S, 2.0)
        names = ["a1", "a2", "a3"]
        scheduler.set_watches(
            Watch(
                f"e{n}",
                check,
                agree("a1", names, f"e{n}", "liveness", PERIOD_S, turns=False),
                "s",
                "z",
                "",
                None,
                ("s", "l"),
            )
            for n in range(ENDPOINTS)
        )
        work = asyncio.ensure_future(scheduler.run())
        await asyncio.sleep(2 * PERIOD_S)
        early, looks = kept(), count.looks
        await asyncio.sleep(HOURS * 3600.0)
        grown = kept() - early
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert missed == [0]
        assert abs(count.looks - looks - ENDPOINTS * HOURS * 3600.0 / PERIOD_S) <= 0.1 * ENDPOINTS
        assert count.worst_s <= TICK_S + 0.001  # a row of looks at most
        assert sum(len(row) for row in scheduler._rows._rows.values()) == ENDPOINTS
        assert grown < 100

    run_virtual(main())
