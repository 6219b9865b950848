"""The scheduler in virtual time: intended times, missed slots, confirms, bounded concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from steerd.agent.scheduler import TICK_S, Due, Scheduler, row_s
from steerd.agent.watchlist import Watch
from steerd.core.cadence import Cadence
from steerd.core.verdict import Recheck
from steerd.model.fleet import Check
from steerd.model.sample import Layer
from tests.support.virtual_loop import VirtualLoop, run_virtual

WALL = 1.7e9


class Bench:
    """A scheduler on a virtual loop whose wall clock runs beside it."""

    def __init__(self, *, took_s: float = 0.0, limit: int = 100) -> None:
        self.loop = asyncio.get_running_loop()
        assert isinstance(self.loop, VirtualLoop)
        self.offset = WALL - self.loop.time()
        self.took_s = took_s
        self.missed = 0
        self.looks: list[tuple[float, Due]] = []
        self.at_once = 0
        self.most = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.scheduler = Scheduler(
            self.look, self.spawn, limit=limit, missed=self.on_missed, wall=lambda: self.loop.time() + self.offset
        )

    def spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]  # the scheduler's own coroutines
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def look(self, due: Due) -> None:
        self.looks.append((self.loop.time(), due))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.took_s)
        self.at_once -= 1

    def on_missed(self, count: int) -> None:
        self.missed += count

    def times(self, subject: str = "e0") -> list[float]:
        """Wall times at which a subject was looked at."""
        return [round(at + self.offset - WALL, 3) for at, due in self.looks if due.watch.subject == subject]

    async def work(self, seconds: float) -> None:
        """Lets the scheduler run for this long."""
        task = asyncio.ensure_future(self.scheduler.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, *self.tasks, return_exceptions=True)


def watch(name: str = "e0", period_s: float = 10.0, phase_s: float = 0.0) -> Watch:
    check = Check("liveness", Layer.LIVENESS, "http", period_s, 2.0)
    return Watch(name, check, Cadence(period_s, phase_s, 0.0, 1), "s", "z", "http://x", None, ("s", "liveness"))


def virtually(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs an async test body on a virtual loop."""

    def run() -> None:
        async def main() -> None:
            await test()

        run_virtual(main())

    run.__name__ = test.__name__
    return run


def test_long_rows_come_closer_together_within_bounds() -> None:
    assert row_s(0) == row_s(40) == TICK_S
    assert row_s(80) == TICK_S / 2
    assert 0 < row_s(100_000) <= TICK_S / 10


@virtually
async def test_looks_follow_intended_times_and_not_the_end_of_the_look_before() -> None:
    bench = Bench(took_s=3.0)
    bench.scheduler.set_watches([watch(phase_s=4.0)])
    await bench.work(40.0)
    assert bench.times() == [4.0, 14.0, 24.0, 34.0]
    assert all(at == pytest.approx(due.intended) for at, due in bench.looks)
    assert bench.missed == 0


@virtually
async def test_a_look_in_flight_makes_the_next_slot_missed_and_is_not_made_up_for() -> None:
    bench = Bench(took_s=14.0)
    bench.scheduler.set_watches([watch()])
    await bench.work(59.0)
    assert bench.times() == [10.0, 30.0, 50.0]
    assert bench.missed == 2


@virtually
async def test_a_stalled_process_looks_once_late_and_counts_the_rest() -> None:
    bench = Bench()
    bench.scheduler.set_watches([watch()])
    task = asyncio.ensure_future(bench.scheduler.run())
    await asyncio.sleep(11.0)
    assert isinstance(bench.loop, VirtualLoop)
    bench.loop.stall(34.0)  # from 11 to 45: the slots of 20, 30 and 40 go by
    await asyncio.sleep(10.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.times() == [10.0, 45.0, 50.0]
    late, on_time = bench.looks[1], bench.looks[2]
    assert late[0] - late[1].intended == pytest.approx(25.0)
    assert on_time[0] == pytest.approx(on_time[1].intended)
    assert bench.missed == 2


@virtually
async def test_concurrency_is_bounded_and_waiting_counts_as_delay() -> None:
    bench = Bench(took_s=1.0, limit=2)
    bench.scheduler.set_watches([watch(f"e{n}") for n in range(6)])
    await bench.work(19.0)
    assert bench.most == 2
    assert sorted(round(at - due.intended) for at, due in bench.looks) == [0, 0, 1, 1, 2, 2]
    assert bench.missed == 0


@virtually
async def test_a_look_that_waits_for_a_place_is_not_queued_twice() -> None:
    bench = Bench(took_s=25.0, limit=1)
    bench.scheduler.set_watches([watch("e0"), watch("e1", phase_s=1.0)])
    await bench.work(60.0)
    assert len(bench.looks) <= 3
    assert bench.scheduler.waiting <= 2
    assert bench.missed >= 6


@virtually
async def test_confirms_start_at_once_overlap_and_do_not_wait_for_the_look_in_flight() -> None:
    bench = Bench(took_s=2.0)
    bench.scheduler.set_watches([watch()])
    task = asyncio.ensure_future(bench.scheduler.run())
    await asyncio.sleep(11.0)
    bench.scheduler.confirm(("e0", "liveness"), Recheck("liveness", 3, 2), 0.25)
    bench.scheduler.confirm(("gone", "liveness"), Recheck("liveness", 3, 1), 0.25)
    await asyncio.sleep(5.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.times() == [10.0, 11.0, 11.25, 11.5]
    assert [(d.confirm, d.counts_as) for _, d in bench.looks] == [(False, 1), (True, 2), (True, 2), (True, 2)]
    assert bench.most == 4


@virtually
async def test_a_changed_config_starts_and_stops_looks_and_leaves_the_others_in_step() -> None:
    bench = Bench()
    bench.scheduler.set_watches([watch("e0"), watch("e1", phase_s=2.0)])
    task = asyncio.ensure_future(bench.scheduler.run())
    await asyncio.sleep(15.0)
    bench.scheduler.set_watches([watch("e1", phase_s=2.0), watch("e2", phase_s=3.0)])
    await asyncio.sleep(15.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (bench.times("e0"), bench.times("e1"), bench.times("e2")) == ([10.0], [2.0, 12.0, 22.0], [23.0])


@virtually
async def test_a_wall_clock_that_is_set_moves_the_next_look_and_silences_nothing() -> None:
    bench = Bench()
    bench.scheduler.set_watches([watch()])
    task = asyncio.ensure_future(bench.scheduler.run())
    await asyncio.sleep(25.0)
    bench.offset -= 3600.0
    await asyncio.sleep(30.0)
    bench.offset += 7200.0
    await asyncio.sleep(30.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    starts = [at for at, _ in bench.looks]
    assert max(b - a for a, b in pairwise(starts)) <= 20.0
    assert len(starts) in range(7, 10)
    assert bench.missed == 0
