"""Writes in virtual time: order, deadlines, leases, lost answers, and routes that do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from steerd.coordinator.calls import Calls
from steerd.coordinator.executor import SLOTS, WAITING, Executor
from steerd.coordinator.journal import Receipt
from steerd.coordinator.observer import NullObserver
from steerd.core.effects import Apply, Verify
from steerd.core.events import ApplyFinished, Event, RouteObserved, VerifyFinished
from steerd.model.route import Desired, Fence, Member, Observed, Route, Target
from steerd.providers.base import Change, Conflict, Misconfigured, Refused, Throttled, Unreachable
from steerd.providers.base import Receipt as ProviderReceipt
from steerd.providers.memory import CAPABILITIES, Fault, Memory, Record, System
from tests.coordinator.rig import VirtualClock
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until


def route(name: str, provider: str = "dns") -> Route:
    targets = tuple(Target(t, (t,)) for t in ("a", "b"))
    return Route(
        key=f"{provider}/{name}", service="chat", provider=provider, name=name, per="endpoint", targets=targets
    )


def desired(a: int, b: int) -> Desired:
    return Desired((Member("a", a), Member("b", b)))


def apply(name: str, a: int, b: int, seq: int = 1, provider: str = "dns") -> Apply:
    return Apply(f"{provider}/{name}", f"5.{seq}", desired(a, b), Fence("acme", 5, seq, "p"))


def verify(name: str, a: int, b: int, seq: int = 1) -> Verify:
    return Verify(f"dns/{name}", f"5.{seq}", desired(a, b), Fence("acme", 5, seq, "p"))


class Slow(Memory):
    """A provider whose calls take time, and that counts them."""

    def __init__(self, system: System, delay_s: float = 0.0) -> None:
        super().__init__(system)
        self.delay_s = delay_s
        self.busy = 0
        self.most = 0
        self.calls: list[tuple[str, float]] = []

    async def _pass(self, what: str, deadline: float) -> None:
        now = asyncio.get_running_loop().time()
        self.calls.append((what, deadline - now))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.busy -= 1

    async def read(self, route: Route, deadline: float) -> Observed:
        await self._pass("read", deadline)
        return await super().read(route, deadline)

    async def apply(self, change: Change, deadline: float) -> ProviderReceipt:
        await self._pass("apply", deadline)
        return await super().apply(change, deadline)


@dataclass
class Bench:
    """An executor on memory providers, with its answers."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    system: System = field(default_factory=System)
    lease_s: float = 10.0
    events: list[Event] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    stored: Callable[[str], bool] = lambda _: True

    def __post_init__(self) -> None:
        self.dns = Slow(self.system)
        self.providers: dict[str, Memory] = {"dns": self.dns}
        for name in ("x", "y"):
            self.system.records[name] = Record({"a": Member("a", 1), "b": Member("b", 1)}, 30.0)

    @asynccontextmanager
    async def running(self, *routes: Route) -> AsyncIterator[Executor]:
        calls = Calls(self.providers.__getitem__, lambda: self.lease_s, self.clock)
        executor = Executor(
            calls,
            self.clock,
            emit=self.events.append,
            receipt=self.receipts.append,
            persisted=self.stored,
            observer=NullObserver(),
        )
        executor.set_routes({r.key: r for r in routes or (route("x"), route("y"))})
        async with asyncio.TaskGroup() as group:
            executor.start(group)
            yield executor
            executor.cancel()

    async def answer(self, count: int = 1, within_s: float = 60.0) -> Event:
        await until(lambda: len(self.events) >= count, within_s)
        return self.events[count - 1]

    def weights(self, name: str) -> dict[str, int]:
        return {t: m.weight for t, m in self.system.records[name].members.items()}


def virtual(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


def test_a_write_is_accepted_verified_and_receipted() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert (done.result, done.decision, done.route) == ("applied", "5.1", "dns/x")
            assert done.accepted_at == bench.receipts[0].accepted_at
            executor.submit(verify("x", 0, 10))
            seen = await bench.answer(2)
            assert isinstance(seen, VerifyFinished)
            assert seen.in_sync
            assert bench.weights("x") == {"a": 0, "b": 10}
            assert bench.receipts[1].authoritative_at == seen.authoritative_at
            assert bench.receipts[1].accepted_at == done.accepted_at
            assert bench.system.records["x"].fence == Fence("acme", 5, 1, "p")

    virtual(main())


def test_what_is_served_already_is_unchanged() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            await bench.answer()
            executor.submit(apply("x", 0, 10))
            again = await bench.answer(2)
            assert isinstance(again, ApplyFinished)
            assert again.result == "unchanged"
            assert again.accepted_at is not None
            assert len(bench.system.log) == 1

    virtual(main())


def test_an_unstored_decision_is_not_applied() -> None:
    async def main() -> None:
        bench = Bench()
        bench.stored = lambda _: False
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "not-persisted"
            assert bench.dns.calls == []

    virtual(main())


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Conflict("somebody wrote"), "conflict"),
        (Throttled("slow down", retry_after_s=7.0), "throttled"),
        (Refused("no", "ask"), "refused"),
        (Unreachable("gone"), "unreachable"),
        (Misconfigured("bad key", "mend it"), "misconfigured"),
    ],
)
def test_errors_keep_their_kind_and_advice(error: Conflict, result: str) -> None:
    async def main() -> None:
        bench = Bench()
        bench.system.writes.append(Fault(error))
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == result
            assert done.text == (f"{error.text}: {error.action}" if error.action else error.text)
            assert done.retry_after_s == error.retry_after_s
            assert done.accepted_at is None
            assert bench.receipts == []
            if result in ("conflict", "unreachable"):
                assert done.observed is not None, "what stands there now is told"

    virtual(main())


def test_a_lost_answer_is_read_back_before_anything_else() -> None:
    async def main() -> None:
        bench = Bench()
        bench.system.writes.append(Fault(Unreachable("no answer"), after=True))
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "applied"
            assert "reading back" in done.text
            assert [what for what, _ in bench.dns.calls] == ["read", "apply", "read"]
            assert len(bench.system.log) == 1

    virtual(main())


def test_reading_back_somebody_elses_write_is_not_ours() -> None:
    """The same weights under another fence: our write did not happen, whatever it looks like."""

    class Overtaken(Slow):
        async def apply(self, change: Change, deadline: float) -> ProviderReceipt:
            self.system.put(
                "x", Record({m.target: m for m in change.desired.members}, 30.0, Fence("acme", 6, 1, "q"), 9)
            )
            raise Unreachable("no answer")

    async def main() -> None:
        bench = Bench()
        bench.providers["dns"] = Overtaken(bench.system)
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "unreachable"
            assert done.observed is not None
            assert done.observed.fence == Fence("acme", 6, 1, "q")

    virtual(main())


def test_a_newer_fence_is_a_conflict_without_a_write() -> None:
    async def main() -> None:
        bench = Bench()
        standing = bench.system.records["x"]
        bench.system.records["x"] = replace(standing, fence=Fence("acme", 9, 1, "q"))
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "conflict"
            assert bench.system.log == []

    virtual(main())


def test_a_newer_fence_stops_a_write_where_the_system_itself_would_take_it() -> None:
    async def main() -> None:
        bench = Bench()
        bench.dns.capabilities = replace(CAPABILITIES, compare_and_set=False)
        bench.system.records["x"] = replace(bench.system.records["x"], fence=Fence("acme", 9, 1, "q"))
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "conflict"
            assert bench.system.log == []

    virtual(main())


@pytest.mark.parametrize("breaks", ["read", "translate", "apply"])
def test_a_bug_in_a_provider_is_an_answer_not_a_crash(breaks: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Memory):
        async def read(self, route: Route, deadline: float) -> Observed:
            if breaks == "read":
                raise ZeroDivisionError("oops")
            return await super().read(route, deadline)

        def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
            if breaks == "translate":
                raise ZeroDivisionError("oops")
            return super().translate(route, desired, observed, fence)

        async def apply(self, change: Change, deadline: float) -> ProviderReceipt:
            raise ZeroDivisionError("oops")

    async def main() -> None:
        bench = Bench()
        bench.providers["dns"] = Broken(bench.system, CAPABILITIES)
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == ("misconfigured" if breaks == "translate" else "unreachable")
            assert "ZeroDivisionError: oops" in done.text
            assert "bug" in done.text
        assert "ZeroDivisionError" in caplog.text

    virtual(main())


def test_an_empty_state_is_refused() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 0))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "refused"
            assert bench.weights("x") == {"a": 1, "b": 1}

    virtual(main())


def test_no_call_outlives_the_lease() -> None:
    """Invariant 12: the lease's remainder exceeds the deadline of every call that starts."""

    async def main() -> None:
        for lease_s in (10.0, 6.0, 5.0, 4.0, 2.1):
            bench = Bench(lease_s=lease_s)
            async with bench.running() as executor:
                executor.submit(apply("x", 0, 10))
                await bench.answer()
            assert bench.dns.calls
            assert all(0 < left <= min(5.0, lease_s) for _, left in bench.dns.calls)
            assert all(left < lease_s for _, left in bench.dns.calls)

    virtual(main())


def test_without_a_lease_nothing_is_called() -> None:
    async def main() -> None:
        bench = Bench(lease_s=0.0)
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            executor.submit(verify("y", 1, 1))
            await bench.answer(2)
            applied = next(e for e in bench.events if isinstance(e, ApplyFinished))
            assert applied.result == "no-lease"
            assert not any(e.in_sync for e in bench.events if isinstance(e, VerifyFinished))
            executor.read("dns/x")
            await asyncio.sleep(1.0)
            assert len(bench.events) == 2, "a read that may not be made tells nothing"
            assert bench.dns.calls == []

    virtual(main())


def test_a_lease_lost_between_read_and_write_stops_the_write() -> None:
    async def main() -> None:
        bench = Bench()

        class Expiring(Slow):
            async def read(self, route: Route, deadline: float) -> Observed:
                bench.lease_s = 0.0
                return await super().read(route, deadline)

        bench.providers["dns"] = Expiring(bench.system)
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "no-lease"
            assert bench.system.log == []

    virtual(main())


def test_a_lease_about_to_be_renewed_is_waited_for() -> None:
    async def main() -> None:
        bench = Bench(lease_s=1.5)
        async with bench.running() as executor:
            executor.submit(apply("x", 0, 10))
            await asyncio.sleep(0.5)
            assert bench.events == []
            bench.lease_s = 10.0
            done = await bench.answer()
            assert isinstance(done, ApplyFinished)
            assert done.result == "applied"

    virtual(main())


def test_a_provider_that_ignores_its_deadline_is_cut_off() -> None:
    async def main() -> None:
        bench = Bench()
        bench.dns.delay_s = 1000.0
        async with bench.running() as executor:
            began = bench.clock.loop_time()
            executor.submit(apply("x", 0, 10))
            done = await bench.answer(within_s=100.0)
            assert isinstance(done, ApplyFinished)
            assert done.result == "unreachable"
            assert bench.clock.loop_time() - began < 11.0

    virtual(main())


def test_a_slow_provider_delays_nobody_else() -> None:
    async def main() -> None:
        bench = Bench()
        slow = Slow(bench.system, 4.0)
        bench.providers["slow"] = slow
        routes = [route(f"s{n}", "slow") for n in range(3 * SLOTS)]
        async with bench.running(route("x"), *routes) as executor:
            for n in range(3 * SLOTS):
                executor.submit(apply(f"s{n}", 0, 10, provider="slow"))
            executor.submit(apply("x", 0, 10))
            first = await bench.answer(within_s=1.0)
            assert isinstance(first, ApplyFinished)
            assert first.route == "dns/x"
            await bench.answer(3 * SLOTS + 1, 100.0)
            assert slow.most == SLOTS

    virtual(main())


def test_one_route_does_one_thing_at_a_time_in_order() -> None:
    async def main() -> None:
        bench = Bench()
        bench.dns.delay_s = 1.0
        async with bench.running(route("x")) as executor:
            for seq in range(1, 4):
                executor.submit(apply("x", 0, 10 + seq, seq))
            assert not executor.read("dns/x"), "the writes read it anyway"
            assert executor.in_flight == {"5.1", "5.2", "5.3"}
            await bench.answer(3)
            assert [e.decision for e in bench.events if isinstance(e, ApplyFinished)] == ["5.1", "5.2", "5.3"]
            assert bench.dns.most == 1
            assert bench.weights("x") == {"a": 0, "b": 13}
            assert executor.in_flight == set()

    virtual(main())


def test_a_queue_too_long_gives_up_its_oldest_with_an_answer() -> None:
    async def main() -> None:
        bench = Bench()
        bench.dns.delay_s = 1.0
        async with bench.running(route("x")) as executor:
            executor.submit(apply("x", 0, 10, 1))
            await asyncio.sleep(0.1)
            for seq in range(2, WAITING + 4):
                executor.submit(apply("x", 0, 10 + seq, seq))
            given_up = [e for e in bench.events if isinstance(e, ApplyFinished)]
            assert [(e.decision, e.result) for e in given_up] == [("5.2", "conflict"), ("5.3", "conflict")]
            await bench.answer(WAITING + 3)

    virtual(main())


def test_verification_waits_for_slow_servers_and_then_says_which_is_behind() -> None:
    async def main() -> None:
        bench = Bench()
        bench.system.edit("x", {"a": 5})
        async with bench.running() as executor:
            executor.submit(verify("x", 0, 10))
            await asyncio.sleep(2.0)
            assert bench.events == []
            bench.system.edit("x", {"a": 0, "b": 10})
            seen = await bench.answer()
            assert isinstance(seen, VerifyFinished)
            assert seen.in_sync
            executor.submit(verify("x", 7, 7, 2))
            seen = await bench.answer(2)
            assert isinstance(seen, VerifyFinished)
            assert not seen.in_sync
            assert "not as desired: a, b" in seen.text

    virtual(main())


def test_reads_tell_what_is_served_or_why_not() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as executor:
            assert executor.read("dns/x")
            bench.system.reads.append(Fault(Refused("not allowed", "allow it")))
            first = await bench.answer()
            assert first == RouteObserved("dns/x", None, "not allowed: allow it")
            executor.read("dns/x")
            second = await bench.answer(2)
            assert isinstance(second, RouteObserved)
            assert second.observed is not None
            assert second.observed.weights == {"a": 1, "b": 1}
            assert not executor.read("dns/unknown")

    virtual(main())


def test_a_route_that_left_the_config_is_answered() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as executor:
            executor.set_routes({})
            executor.submit(apply("x", 0, 10))
            executor.submit(verify("x", 0, 10))
            await bench.answer(2)
            assert isinstance(bench.events[0], ApplyFinished)
            assert bench.events[0].result == "misconfigured"
            assert isinstance(bench.events[1], VerifyFinished)
            assert not bench.events[1].in_sync

    virtual(main())


def test_settling_waits_for_what_runs_and_drops_what_waits() -> None:
    async def main() -> None:
        bench = Bench()
        bench.dns.delay_s = 1.0
        async with bench.running(route("x")) as executor:
            executor.submit(apply("x", 0, 11, 1))
            await asyncio.sleep(0.1)
            executor.submit(apply("x", 0, 12, 2))
            assert not await executor.settle(0.5)
            assert await executor.settle(5.0)
            assert bench.weights("x") == {"a": 0, "b": 11}

    virtual(main())
