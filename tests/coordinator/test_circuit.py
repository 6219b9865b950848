"""A provider that stops answering, in virtual time: who still asks it, and how it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from steerd.coordinator.calls import Calls
from steerd.coordinator.circuit import AFTER, FIRST_S, MOST_S
from steerd.coordinator.connections import Connections
from steerd.core.events import RouteObserved
from steerd.model.route import Member, Observed, Route
from steerd.providers.base import Refused
from steerd.providers.errors import HeldBack
from steerd.providers.memory import Fault, Memory, Record, System
from steerd.providers.pace import urgent
from tests.coordinator.rig import VirtualClock
from tests.coordinator.test_executor import apply, route
from tests.support.virtual_loop import run_virtual


class Counted(Memory):
    """Counts what reaches it. `silent`: it takes longer than any deadline."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.reads = 0
        self.silent = False

    async def read(self, route: Route, deadline: float) -> Observed:
        self.reads += 1
        if self.silent:
            await asyncio.sleep(3600.0)
        return await super().read(route, deadline)


class World:
    """Connections to one provider, and the calls over them."""

    def __init__(self) -> None:
        self.system = System(records={"x": Record({"a": Member("a", 1), "b": Member("b", 1)}, 30.0)})
        self.provider = Counted(self.system)
        self.clock = VirtualClock()
        self.connections = Connections({"dns": self.provider}, self.clock, lambda _: None)
        self.calls = Calls(self.connections.get, lambda: 10.0, self.clock)

    @asynccontextmanager
    async def open(self, *, known: bool = True) -> AsyncIterator[World]:
        async with asyncio.TaskGroup() as group:
            await self.connections.open(group, 1.0)
            if known:
                assert (await self.read()).observed is not None
                self.provider.reads = 0
            yield self

    async def read(self) -> RouteObserved:
        seen = await self.calls.read(route("x"))
        assert seen is not None
        return seen

    @property
    def told(self) -> dict[str, object]:
        return self.connections.status()["dns"]


@pytest.mark.parametrize("how", ["refuses connections", "never answers"])
def test_after_five_calls_without_an_answer_reads_stay_away_and_come_back(how: str) -> None:
    async def main() -> None:
        async with World().open() as w:
            w.system.down, w.provider.silent = how == "refuses connections", how == "never answers"
            for _ in range(AFTER):
                assert w.told["circuit"] == "closed"
                assert (await w.read()).observed is None
            assert (w.told["circuit"], w.told["unanswered"]) == ("open", AFTER)
            kept_away = await w.read()
            assert "not asked: the last 5 calls to provider dns got no answer" in kept_away.error
            assert w.provider.reads == AFTER

            await asyncio.sleep(FIRST_S)
            assert w.told["circuit"] == "half-open"
            assert (await w.read()).observed is None  # the trial fails: twice the wait
            assert w.told["again_in_s"] == pytest.approx(2 * FIRST_S, abs=0.2)

            w.system.down = w.provider.silent = False
            await asyncio.sleep(2 * FIRST_S)
            assert (await w.read()).observed is not None
            assert (w.told["circuit"], w.told["unanswered"], w.told["last_error"]) == ("closed", 0, "")

    run_virtual(main())


def test_calls_under_way_together_open_the_circuit_once() -> None:
    async def main() -> None:
        async with World().open() as w:
            w.provider.silent = True
            await asyncio.gather(*(w.read() for _ in range(3 * AFTER)))
            assert (w.told["circuit"], w.told["unanswered"]) == ("open", 3 * AFTER)
            assert w.told["again_in_s"] == pytest.approx(FIRST_S, abs=0.2)

    run_virtual(main())


def test_what_was_never_read_is_asked_for_whatever_the_circuit() -> None:
    """Nothing is decided about a service before one of its routes was read: such a read is as urgent as a write."""

    async def main() -> None:
        async with World().open(known=False) as w:
            w.system.down = True
            for _ in range(3 * AFTER):
                await w.read()
            assert w.provider.reads == 3 * AFTER
            w.system.down = False
            assert (await w.read()).observed is not None
            assert w.told["circuit"] == "closed"
            w.system.down = True
            w.calls.anew()
            for _ in range(3 * AFTER):
                await w.read()
            assert w.provider.reads == 6 * AFTER + 1

    run_virtual(main())


def test_a_call_without_time_and_one_that_our_pace_held_back_say_nothing() -> None:
    async def main() -> None:
        async with World().open() as w:
            dns, loop = w.connections.get("dns"), asyncio.get_running_loop()
            w.provider.silent = True
            for _ in range(2 * AFTER):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await dns.read(route("x"), loop.time() + 0.1)
            assert (w.told["circuit"], w.told["unanswered"]) == ("closed", 0)
            for _ in range(AFTER):
                await w.read()
            w.provider.silent = False
            w.system.reads.append(Fault(HeldBack("later")))
            with urgent(), pytest.raises(HeldBack):
                await dns.read(route("x"), loop.time() + 5.0)
            assert w.told["circuit"] == "open"

    run_virtual(main())


def test_the_wait_grows_up_to_its_limit() -> None:
    async def main() -> None:
        async with World().open() as w:
            w.system.down = True
            for _ in range(AFTER):
                await w.read()
            for _ in range(8):
                again_s = w.told["again_in_s"]
                assert isinstance(again_s, float)
                await asyncio.sleep(again_s)
                await w.read()
            assert w.told["again_in_s"] == MOST_S

    run_virtual(main())


def test_a_write_is_tried_at_once_and_its_answer_closes_the_circuit() -> None:
    async def main() -> None:
        async with World().open() as w:
            w.system.down = True
            for _ in range(AFTER):
                await w.read()
            w.system.down = False
            assert (await w.calls.apply(route("x"), apply("x", 1, 0))).result == "applied"
            assert w.told["circuit"] == "closed"
            assert (await w.read()).observed is not None

    run_virtual(main())


def test_only_one_read_tries_a_half_open_circuit() -> None:
    async def main() -> None:
        async with World().open() as w:
            w.system.down = True
            for _ in range(AFTER):
                await w.read()
            await asyncio.sleep(FIRST_S)
            w.system.down, w.provider.silent = False, True
            seen = await asyncio.gather(w.read(), w.read(), w.read())
            assert w.provider.reads == AFTER + 1
            assert sum("not asked" in s.error for s in seen) == 2

    run_virtual(main())


def test_a_no_is_an_answer() -> None:
    async def main() -> None:
        async with World().open() as w:
            for _ in range(AFTER - 1):
                w.system.down = True
                await w.read()
            w.system.down = False
            w.system.reads.append(Fault(Refused("not for you")))
            await w.read()
            w.system.down = True
            await w.read()
            assert (w.told["circuit"], w.told["unanswered"]) == ("closed", 1)

    run_virtual(main())


def test_a_caller_that_goes_away_says_nothing_about_the_provider() -> None:
    async def main() -> None:
        async with World().open() as w:
            w.provider.silent = True
            for _ in range(2 * AFTER):
                asking = asyncio.create_task(w.read())
                await asyncio.sleep(0.1)
                asking.cancel()
                await asyncio.wait({asking})
            assert (w.told["circuit"], w.told["unanswered"]) == ("closed", 0)

    run_virtual(main())
