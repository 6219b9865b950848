"""An account's calls in virtual time: the limit, the part kept back for writes, pauses, accounts that are shared."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.providers.base import Throttled
from steerd.providers.pace import KEPT_BACK, Pace, Paces, is_urgent, urgent
from tests.support.virtual_loop import run_virtual

FAR = 1e9


def now() -> float:
    return asyncio.get_running_loop().time()


async def most_within(pace: Pace, seconds: float) -> int:
    """Calls that one after the other get their turn within so many seconds."""
    end, made = now() + seconds, 0
    while True:
        try:
            await pace.take(end)
        except Throttled:
            return made
        made += 1


@given(
    rate=st.sampled_from([0.5, 1.0, 2.5, 4.0, 5.0]),
    gaps=st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=40),
)
def test_no_window_holds_more_calls_than_the_burst_and_the_rate(rate: float, gaps: list[tuple[float, bool]]) -> None:
    async def main() -> None:
        pace, made = Pace(rate), []
        for gap, write in gaps:
            await asyncio.sleep(gap)
            try:
                if write:
                    with urgent():
                        await pace.take(now() + 2.0)
                else:
                    await pace.take(now() + 2.0)
            except Throttled:
                continue
            made.append((now(), write))
        most = max(2.0, 2.0 * rate)
        for first, (at, _) in enumerate(made):
            for last in range(first, len(made)):
                took = made[last][0] - at
                count = last - first + 1
                assert count <= most + took * rate + 1e-6
                routine = sum(not write for _, write in made[first : last + 1])
                part = 1.0 - KEPT_BACK
                assert routine <= max(1.0, most * part) + took * rate * part + 1e-6

    run_virtual(main())


def test_writes_still_pass_when_routine_used_up_its_part() -> None:
    async def main() -> None:
        pace = Pace(4.0)
        routine = await most_within(pace, 0.01)
        assert routine == 6
        with urgent():
            assert is_urgent()
            assert await most_within(pace, 0.01) == 2
        assert not is_urgent()

    run_virtual(main())


def test_over_its_deadline_a_call_says_when_to_come_again() -> None:
    async def main() -> None:
        pace = Pace(0.5)
        await most_within(pace, 0.01)
        with pytest.raises(Throttled, match=r"0\.5 calls per second are used up") as told:
            await pace.take(now() + 0.5)
        assert told.value.retry_after_s is not None
        await asyncio.sleep(told.value.retry_after_s)
        await pace.take(now() + 0.001)

    run_virtual(main())


def test_a_retry_after_holds_back_writes_too() -> None:
    async def main() -> None:
        pace = Pace(5.0)
        pace.pause(7.0)
        with urgent(), pytest.raises(Throttled, match=r"7\.0 s"):
            await pace.take(now() + 5.0)
        assert pace.standing()["paused_s"] == 7.0
        began = now()
        with urgent():
            await pace.take(FAR)
        assert now() - began == pytest.approx(7.0)

    run_virtual(main())


def test_entries_of_one_account_share_its_calls_and_the_lowest_rate_holds() -> None:
    async def main() -> None:
        paces = Paces()
        one = paces.share("r53-a", "aws:1", 5.0)
        other = paces.share("r53-b", "aws:1", 2.0)
        assert one is other
        assert one.rate_per_s == 5.0  # none of them is in force yet
        paces.keep(["r53-a", "r53-b"])
        assert one.rate_per_s == 2.0
        assert paces.share("r53-c", "aws:2", 5.0) is not one
        assert paces.share("r53-b", "aws:1", 1.0) is one  # a reload that is refused
        paces.drop()
        paces.keep(["r53-a", "r53-b"])
        assert one.rate_per_s == 2.0
        assert paces.share("r53-b", "aws:1", 4.0) is one  # one that is taken
        paces.keep(["r53-a", "r53-b"])
        assert one.rate_per_s == 4.0
        paces.keep(["r53-a"])  # the other one left
        assert one.rate_per_s == 5.0
        paces.share("r53-b", "aws:1", 4.0)
        paces.keep(["r53-a", "r53-b"])
        await one.take(FAR)
        told = paces.standing("r53-b")
        assert told is not None
        assert (told["calls_per_s"], told["free"], told["free_routine"]) == (4.0, 7, 5)
        assert paces.standing("edge") is None
        paces.share("arc", "aws:3", 5.0)
        paces.share("arc", "aws:4", 5.0).pause(9.0)
        standing = paces.standing("arc")
        assert standing is not None
        assert standing["paused_s"] == 9.0, "of several accounts, the one that is held back"
        paces.begin("r53-b")
        paces.share("r53-b", "aws:5", 1.0)
        paces.keep(["r53-a", "r53-b", "arc"])
        assert one.rate_per_s == 5.0, "nobody is held to a rate of before the reload"

    run_virtual(main())


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_pace_without_calls_is_an_error(rate: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Pace(rate)


def test_a_thread_started_by_a_write_is_urgent_too() -> None:
    async def main() -> None:
        with urgent():
            assert await asyncio.to_thread(is_urgent)
        assert not await asyncio.to_thread(is_urgent)

    asyncio.run(main())
