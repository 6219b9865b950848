"""Parked jobs: their counts are those of the looks that were left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steerd.agent.watchlist import watchlist
from steerd.core.verdict import CheckRun
from steerd.model.rules import VerdictRules
from steerd.sim.jobs import Job
from steerd.sim.targets import Target
from tests.support.fleets import make_fleet


@given(st.floats(0.0, 1000.0), st.lists(st.floats(0.0, 60.0), min_size=1, max_size=6))
def test_counts(start: float, waits: list[float]) -> None:
    watch = watchlist(make_fleet(), "probe-eua").watches[0]
    job = Job(watch, CheckRun(watch.rule, VerdictRules(), 0.0), Target(watch.subject))
    wall = 1e9 + start
    job.slot = first = watch.cadence.after(wall)
    job.park(None)
    for wait in waits:
        wall += wait
        job.settle(wall)
        due = sum(1 for slot in range(first, first + 200) if watch.cadence.time(slot) <= wall)
        assert job.run.passed == job.run.looks == due
    job.unpark(wall, wall)
    assert not job.parked
    assert job.run.last_at <= wall
    assert watch.cadence.time(job.slot) > wall


def test_a_lost_look_is_not_counted_as_passed() -> None:
    watch = watchlist(make_fleet(), "probe-eua").watches[0]
    job = Job(watch, CheckRun(watch.rule, VerdictRules(), 0.0), Target(watch.subject))
    job.slot = first = watch.cadence.after(1e9)
    job.park(first + 3)
    job.settle(1e9 + 600.0)
    assert job.run.passed == 3
