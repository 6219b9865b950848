"""Leadership in virtual time: won at once, renewed, given up in time, never held by two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.coordinator.leadership import Leadership
from steerd.stores.base import StoreUnavailable
from steerd.stores.memory import MemoryData, MemoryStore
from tests.coordinator.rig import VirtualClock
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until


@dataclass
class Faults:
    """Makes a store fail: `away` before each operation, `mute` after it was done, `slow_s` waits first."""

    away: bool = False
    mute: bool = False
    slow_s: float = 0.0
    asked: list[str] = field(default_factory=list)

    async def __call__(self, operation: str, phase: str) -> None:
        if phase == "before":
            self.asked.append(operation)
            await asyncio.sleep(self.slow_s)
            if self.away:
                raise StoreUnavailable("away")
        elif self.mute:
            raise StoreUnavailable("no answer")


@dataclass
class Bench:
    """Coordinators that stand for one lead."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    moves: list[tuple[str, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = MemoryData(self.clock.now)

    @asynccontextmanager
    async def standing(self, name: str, faults: Faults | None = None) -> AsyncIterator[Leadership]:
        store = MemoryStore(self.data, hook=faults)
        await store.open()
        lead = Leadership(store, "acme", name, self.clock, lambda: self.moves.append((name, lead.token)))
        task = asyncio.ensure_future(lead.run())
        try:
            yield lead
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def remaining(self, lead: Leadership) -> float:
        return lead.lease_remaining(self.clock.now())


def leads(lead: Leadership) -> bool:
    return lead.token is not None


def virtual(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


def test_alone_it_leads_at_once_and_goes_on_leading() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.standing("one") as lead:
            await until(lambda: lead.token, 0.1)
            token = lead.token
            entry = bench.data.entries["/acme/leader"]
            assert token == entry.create_revision
            for _ in range(40):
                await asyncio.sleep(1.5)
                assert lead.token == token
                assert 4.9 < bench.remaining(lead) <= 10.0
            assert lead.holder == "one"

    virtual(main())


def test_the_lease_counts_from_the_send_time() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.standing("one", Faults(slow_s=1.5)) as lead:
            await until(lambda: lead.token, 10)
            assert bench.remaining(lead) <= 10.0 - 1.5

    virtual(main())


def test_without_renewal_it_stops_acting_after_10_s_and_before_the_lease_ends() -> None:
    async def main() -> None:
        bench, faults = Bench(), Faults()
        async with bench.standing("one", faults) as lead:
            await until(lambda: lead.token, 1)
            await asyncio.sleep(7.0)
            left = bench.remaining(lead)
            faults.away = True
            await asyncio.sleep(left - 0.1)
            assert leads(lead)
            await asyncio.sleep(0.2)
            assert not leads(lead)
            assert bench.remaining(lead) == 0.0
            bench.data.expire()
            assert "/acme/leader" in bench.data.entries, "the key outlives the right to act"
            assert lead.problem == "away"

    virtual(main())


def test_a_store_that_comes_back_in_time_costs_nothing() -> None:
    async def main() -> None:
        bench, faults = Bench(), Faults()
        async with bench.standing("one", faults) as lead:
            await until(lambda: lead.token, 1)
            token = lead.token
            faults.away = True
            await asyncio.sleep(8.0)
            faults.away = False
            await asyncio.sleep(30.0)
            assert lead.token == token
            assert lead.problem is None
            assert bench.moves == [("one", token)]

    virtual(main())


def test_back_within_the_lease_it_resumes_its_own_key() -> None:
    async def main() -> None:
        bench, faults = Bench(), Faults()
        async with bench.standing("one", faults) as lead:
            await until(lambda: lead.token, 1)
            token = lead.token
            faults.away = True
            await until(lambda: lead.token is None, 12)
            faults.away = False
            await until(lambda: lead.token, 3)
            assert lead.token == token
            assert bench.remaining(lead) > 5.0

    virtual(main())


def test_another_takes_over_when_the_lease_ends_with_a_newer_token() -> None:
    async def main() -> None:
        bench, faults = Bench(), Faults()
        async with bench.standing("one", faults) as one, bench.standing("two", Faults(slow_s=0.1)) as two:
            await until(lambda: one.token, 1)
            first = one.token
            assert not leads(two)
            await until(lambda: two.holder == "one", 2)
            faults.away = True
            await until(lambda: two.token, 40)
            assert one.token is None
            assert first is not None
            assert two.token is not None
            assert two.token > first
            faults.away = False
            await asyncio.sleep(5.0)
            assert one.token is None
            assert one.holder == "two"

    virtual(main())


def test_resigning_hands_over_at_once() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.standing("one") as one, bench.standing("two") as two:
            await until(lambda: one.token, 1)
            await one.resign(stand_again_after_s=30.0)
            assert bench.remaining(one) == 0.0
            await until(lambda: two.token, 2)
            await two.resign(stand_again_after_s=1000.0)
            await asyncio.sleep(20.0)
            assert one.token is None, "it does not stand again before its time"
            await until(lambda: one.token, 15)

    virtual(main())


def test_an_answer_that_got_lost_is_found_again() -> None:
    """The key was created, the answer was not heard: it is ours all the same."""

    async def main() -> None:
        bench, faults = Bench(), Faults(mute=False)
        async with bench.standing("one", faults) as lead:
            faults.mute = True
            await asyncio.sleep(0)  # nothing is heard of the first round's grant
            await asyncio.sleep(3.0)
            faults.mute = False
            await until(lambda: lead.token, 20)
            assert lead.token == bench.data.entries["/acme/leader"].create_revision

    virtual(main())


def test_a_revoked_lease_is_noticed_at_the_next_renewal() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.standing("one") as lead:
            await until(lambda: lead.token, 1)
            first = lead.token
            bench.data.drop(list(bench.data.leases))
            assert first is not None
            await until(lambda: (lead.token or 0) > first, 8)
            assert ("one", None) in bench.moves, "in between it did not lead, and said so"

    virtual(main())


def test_a_suspended_machine_notices() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.standing("one") as lead:
            await until(lambda: lead.token, 1)
            bench.clock.skew += 60.0
            assert bench.remaining(lead) == 0.0
            first = lead.token
            await until(lambda: lead.token != first, 10)

    virtual(main())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["away", "back", "mute", "slow", "resign", "wait"]), st.integers(0, 2), st.floats(0.1, 20)
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(STEPS)
def test_never_two_at_once(steps: list[tuple[str, int, float]]) -> None:
    """However stores fail: nobody may act while another may, and every new token is larger (ha.md)."""

    async def main() -> None:
        bench = Bench()
        faults = [Faults() for _ in range(3)]
        async with (
            bench.standing("c0", faults[0]) as c0,
            bench.standing("c1", faults[1]) as c1,
            bench.standing("c2", faults[2]) as c2,
        ):
            leads = [c0, c1, c2]

            async def watch() -> None:
                highest, by = 0, -1
                while True:
                    acting = [i for i, lead in enumerate(leads) if bench.remaining(lead) > 0]
                    assert len(acting) <= 1
                    for i in acting:
                        token = leads[i].token or 0
                        assert token > highest or (token, i) == (highest, by)
                        highest, by = token, i
                    await asyncio.sleep(0.05)

            watching = asyncio.ensure_future(watch())
            for what, who, wait_s in steps:
                f = faults[who]
                if what in ("away", "back", "mute", "slow"):
                    f.away, f.mute, f.slow_s = what == "away", what == "mute", 1.0 if what == "slow" else 0.0
                elif what == "resign":
                    try:
                        await leads[who].resign()
                    except StoreUnavailable:
                        assert f.away or f.mute
                await asyncio.sleep(wait_s)
            for f in faults:
                f.away, f.mute, f.slow_s = False, False, 0.0
            await asyncio.sleep(40.0)
            assert not watching.done(), watching.exception()
            watching.cancel()
            assert sum(lead.token is not None for lead in leads) == 1, "in the end somebody leads"

    virtual(main())
