"""Persist, apply, answer: in this order, whatever the store does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from steerd.coordinator.calls import Calls
from steerd.coordinator.executor import Executor
from steerd.coordinator.journal import Journal
from steerd.coordinator.observer import NullObserver
from steerd.coordinator.pipeline import Pipeline
from steerd.core.effects import Answer, Apply, Persist
from steerd.core.events import ApplyFinished, Event
from steerd.model.plan import Decision, HardState
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers.memory import Memory, System
from steerd.stores.base import Put, StoreUnavailable
from steerd.stores.memory import MemoryData, MemoryStore
from tests.coordinator.rig import VirtualClock
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until

DESIRED = Desired((Member("a", 1),))


def route(name: str) -> Route:
    return Route(
        key=f"dns/{name}", service="chat", provider="dns", name=name, per="endpoint", targets=(Target("a", ("a",)),)
    )


@dataclass
class Bench:
    """A pipeline on the memory twins; `away` makes the store refuse writes."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    system: System = field(default_factory=System)
    away: bool = False
    events: list[Event] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    troubles: list[str | None] = field(default_factory=list)
    txns: int = 0

    async def hook(self, operation: str, phase: str) -> None:
        if operation == "txn" and phase == "before":
            self.txns += 1
            if self.away:
                raise StoreUnavailable("full")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pipeline]:
        self.store = MemoryStore(MemoryData(self.clock.now), hook=self.hook)
        await self.store.open()
        self.lease = await self.store.grant(3600.0)
        self.token = (await self.store.txn((), (Put("/acme/leader", b"{}", self.lease),))).revision
        self.journal = Journal(self.store, "acme", self.clock)
        await self.journal.lead(self.token)
        executor = Executor(
            Calls({"dns": Memory(self.system)}.__getitem__, lambda: 10.0, self.clock),
            self.clock,
            emit=self.events.append,
            receipt=lambda _: None,
            persisted=self.journal.persisted,
            observer=NullObserver(),
        )
        executor.set_routes({r.key: r for r in (route("x"), route("y"))})
        pipeline = Pipeline(
            self.journal,
            executor,
            self.clock,
            answer=self.answers.append,
            stale=lambda: self.stale.append("stale"),
            trouble=self.troubles.append,
        )
        async with asyncio.TaskGroup() as group:
            executor.start(group)
            work = group.create_task(pipeline.run())
            yield pipeline
            work.cancel()
            executor.cancel()

    def decide(self, seq: int, *names: str) -> tuple[Persist, *tuple[Apply, ...]]:
        routes = {f"dns/{n}": DESIRED for n in names}
        decision = Decision(
            epoch=self.token, seq=seq, at=0.0, service="chat", routes=routes, shares={}, config_hash="", plan="p"
        )
        state = HardState(epoch=self.token, seq=seq, desired=routes)
        fence = Fence("acme", self.token, seq, "p")
        return Persist(decision, state), *(Apply(r, decision.id, DESIRED, fence) for r in routes)

    async def stored(self) -> list[int]:
        return [int(e.key.rpartition(".")[2]) for e in await self.store.range("/acme/decisions/")]

    def results(self) -> list[tuple[str, str]]:
        return [(e.route, e.result) for e in self.events if isinstance(e, ApplyFinished)]


def test_a_stored_decision_is_applied_and_answered() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            pipeline.submit((*bench.decide(1, "x"), Answer("1", "ok", "done")))
            await until(lambda: bench.events and bench.answers)
            assert bench.results() == [("dns/x", "applied")]
            assert bench.answers == [Answer("1", "ok", "done")]
            assert await bench.stored() == [1]

    run_virtual(main())


def test_what_could_not_be_stored_is_stored_later_in_one_transaction() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            bench.away = True
            pipeline.submit((*bench.decide(1, "x"), Answer("1", "ok", "done")))
            pipeline.submit((*bench.decide(2, "y"), Answer("2", "vetoed", "no")))
            pipeline.submit((Persist(None, HardState(epoch=bench.token, seq=2, last_change={"z": 1.0})),))
            await pipeline.settle()
            assert bench.results() == [("dns/x", "not-persisted"), ("dns/y", "not-persisted")]
            assert [a.result for a in bench.answers] == ["not-persisted", "vetoed"]
            assert bench.troubles[-1] == "full"
            assert bench.system.log == []
            bench.away = False
            before = bench.txns
            await until(lambda: bench.troubles[-1] is None, 3)
            assert bench.txns == before + 1
            assert await bench.stored() == [1, 2]
            loaded = await bench.journal.lead(bench.token)
            assert loaded.state == HardState(epoch=bench.token, seq=2, last_change={"z": 1.0})

    run_virtual(main())


def test_a_superseded_decision_is_not_stored_late() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            bench.away = True
            for seq in range(1, 6):
                pipeline.submit(bench.decide(seq, "x"))
            pipeline.submit(bench.decide(6, "y"))
            await pipeline.settle()
            bench.away = False
            await until(lambda: bench.troubles[-1] is None, 3)
            assert await bench.stored() == [5, 6]

    run_virtual(main())


def test_persisting_again_what_was_stored_meanwhile_is_fine() -> None:
    """The engine backs off and persists anew, after our own retry has done so."""

    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            bench.away = True
            pipeline.submit(bench.decide(1, "x"))
            pipeline.submit(bench.decide(2, "y"))
            await pipeline.settle()
            bench.away = False
            await until(lambda: bench.troubles[-1] is None, 3)
            again = bench.decide(1, "x")
            pipeline.submit((Persist(again[0].decision, HardState(epoch=bench.token, seq=2)), *again[1:]))
            await until(lambda: ("dns/x", "applied") in bench.results())
            assert bench.stale == []

    run_virtual(main())


def test_another_leader_is_noticed_and_nothing_is_applied() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            await bench.store.revoke(bench.lease)
            pipeline.submit((*bench.decide(1, "x"), Answer("1", "ok", "done")))
            await until(lambda: bench.stale and bench.answers)
            assert bench.results() == [("dns/x", "not-persisted")]
            assert bench.answers[0].result == "not-persisted"
            assert bench.system.log == []
            assert await bench.stored() == []

    run_virtual(main())


def test_a_lost_lead_voids_what_waits() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running() as pipeline:
            bench.away = True
            pipeline.submit(bench.decide(1, "x"))
            await pipeline.settle()
            pipeline.submit((Answer("9", "ok", "done"),))
            pipeline.reset()
            assert [(a.id, a.result) for a in bench.answers] == [("9", "not-persisted")]
            bench.away = False
            await asyncio.sleep(5.0)
            assert await bench.stored() == []

    run_virtual(main())
