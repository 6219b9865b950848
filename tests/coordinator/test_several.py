"""Several coordinators over one store, in virtual time: who leads, what followers show, blindness, executors, lost quorum."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from steerd.coordinator.coordinator import Coordinator
from steerd.core.events import OperatorCommand
from steerd.model.fleet import Coordinator as CoordinatorSpec
from steerd.model.fleet import Fleet
from steerd.providers.memory import Memory, System
from steerd.stores.base import StoreUnavailable
from steerd.stores.memory import MemoryStore
from tests.coordinator.rig import Rig, kill, served
from tests.support.fleets import make_fleet
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until

PAIR = (
    CoordinatorSpec("co-eu", "eu", "https://eu.test:7443"),
    CoordinatorSpec("co-us", "us", "https://us.test:7443"),
)


def pair(region: str | None = None) -> Fleet:
    """Two coordinators; with `region`, the provider is carried out by that region's."""
    made = make_fleet({"eu": 3, "us": 3})
    providers = tuple(replace(p, region=region) for p in made.providers)
    return replace(made, coordinators=PAIR, providers=providers)


@dataclass
class Cut:
    """What keeps one coordinator from the store."""

    away: bool = False

    async def __call__(self, operation: str, phase: str) -> None:
        if self.away and operation != "open":
            await asyncio.sleep(7.0)
            raise StoreUnavailable("no quorum")


@dataclass
class World:
    rig: Rig
    co: dict[str, Coordinator] = field(default_factory=dict)
    runs: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    cuts: dict[str, Cut] = field(default_factory=dict)
    systems: dict[str, System] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)

    def leaders(self) -> list[str]:
        return [n for n, c in self.co.items() if c.status()["coordinator"]["leading"]]

    async def votes(self) -> None:
        while True:
            self.rig.agents.send(*(c for n, c in self.co.items() if n not in self.deaf))
            await asyncio.sleep(1.0)


@asynccontextmanager
async def world(fleet: Fleet | None = None, *, apart: bool = False) -> AsyncIterator[World]:
    """Both coordinators running, the first leading. `apart`: each has its own traffic system at hand."""
    rig = Rig(fleet=fleet or pair())
    rig.publish()
    made = World(rig)
    stop = asyncio.Event()
    for spec in PAIR:
        made.cuts[spec.name] = Cut()
        system = rig.system if not apart or spec.name == "co-us" else System()
        made.systems[spec.name] = system
        store = MemoryStore(rig.data, hook=made.cuts[spec.name])
        made.co[spec.name] = rig.make(spec.name, store=store, providers={"dns": Memory(system)})
        made.runs[spec.name] = asyncio.ensure_future(made.co[spec.name].run(stop))
        await asyncio.sleep(0.5)
    votes = asyncio.ensure_future(made.votes())
    try:
        await until(lambda: made.leaders() == ["co-eu"], 20)
        await asyncio.sleep(5)
        yield made
    finally:
        stop.set()
        votes.cancel()
        await asyncio.gather(votes, *made.runs.values(), return_exceptions=True)


def play(story: Callable[[], object]) -> None:
    run_virtual(story())  # type: ignore[arg-type]  # a coroutine function


def test_a_follower_shows_the_leaders_drains_and_says_where_to_ask() -> None:
    async def story() -> None:
        async with world() as w:
            drain = OperatorCommand("1", "drain", "op", "eua", "kernel", now=True)
            said = await w.co["co-us"].command(drain)
            assert (said.result, said.data) == ("not-leading", {"leader": "co-eu", "url": "https://eu.test:7443"})
            assert "https://eu.test:7443" in said.text
            assert (await w.co["co-eu"].command(drain)).result == "ok"
            await until(lambda: w.co["co-us"].status()["drains"], 10)
            await until(lambda: w.co["co-us"].status()["services"]["chat"]["zones"]["eua"]["share"] == 0.0, 10)
            assert w.co["co-us"].beacon("eua") is False
            assert len(w.rig.system.log) == 1

    play(story)


def test_the_other_takes_over_after_a_crash_and_keeps_what_was_decided() -> None:
    async def story() -> None:
        async with world() as w:
            drain = OperatorCommand("1", "drain", "op", "eua", "kernel", now=True)
            assert (await w.co["co-eu"].command(drain)).result == "ok"
            await until(lambda: "eua-1" not in served(w.rig.system), 10)
            first = w.co["co-eu"].status()["leader"]["epoch"]
            began = w.rig.clock.now()
            await kill(w.runs["co-eu"])
            del w.co["co-eu"]
            await until(lambda: w.leaders() == ["co-us"], 30)
            assert w.rig.clock.now() - began <= 15 + 2
            status = w.co["co-us"].status()
            assert status["leader"]["epoch"] > first
            assert [d["name"] for d in status["drains"]] == ["eua"]
            w.rig.agents.down = {"usa-1", "usa-2"}
            await until(lambda: "usa-1" not in served(w.rig.system), 60)
            assert "eua-1" not in served(w.rig.system)

    play(story)


def test_a_leader_that_hears_nobody_lets_the_other_lead() -> None:
    async def story() -> None:
        async with world() as w:
            w.deaf.add("co-eu")
            await until(lambda: w.leaders() == ["co-us"], 60)
            await asyncio.sleep(120)
            assert w.leaders() == ["co-us"]
            w.rig.agents.down = {"eua-1", "eua-2"}
            await until(lambda: "eua-1" not in served(w.rig.system), 60)

    play(story)


def test_when_everybody_is_blind_each_resigns_once_and_somebody_stays() -> None:
    async def story() -> None:
        async with world() as w:
            w.deaf |= {"co-eu", "co-us"}
            terms: list[str] = []
            for _ in range(600):
                await asyncio.sleep(1)
                now = w.leaders()
                assert len(now) <= 1
                if now and (not terms or terms[-1] != now[0]):
                    terms.append(now[0])
            assert w.leaders(), "operators must still be able to act"
            assert len(terms) <= 4, terms
            assert w.rig.system.log == []
            answer = await w.co[w.leaders()[0]].command(OperatorCommand("9", "drain", "op", "usa", "by hand", now=True))
            assert answer.result == "ok"

    play(story)


def test_without_the_stores_quorum_nobody_writes_and_afterwards_it_is_done() -> None:
    async def story() -> None:
        async with world() as w:
            for cut in w.cuts.values():
                cut.away = True
            await until(lambda: w.leaders() == [], 20)
            w.rig.agents.down = {"eua-1", "eua-2"}
            await asyncio.sleep(120)
            assert w.rig.system.log == []
            for cut in w.cuts.values():
                cut.away = False
            await until(lambda: "eua-1" not in served(w.rig.system), 60)
            assert len(w.leaders()) == 1

    play(story)


def test_a_leader_cut_from_the_store_stops_before_the_other_starts() -> None:
    async def story() -> None:
        async with world() as w:
            w.cuts["co-eu"].away = True
            for _ in range(300):
                await asyncio.sleep(0.1)
                assert len(w.leaders()) <= 1
            assert w.leaders() == ["co-us"]

    play(story)


def test_a_regions_own_coordinator_carries_its_provider_out() -> None:
    async def story() -> None:
        async with world(pair("us"), apart=True) as w:
            assert w.leaders() == ["co-eu"]
            await until(lambda: w.co["co-eu"].status()["services"]["chat"]["routes"][0]["observed"], 30)
            w.rig.agents.down = {"eua-1", "eua-2"}
            await until(lambda: "eua-1" not in served(w.systems["co-us"]), 60)
            assert w.systems["co-eu"].log == []
            await until(lambda: w.co["co-eu"].status()["services"]["chat"]["routes"][0]["in_sync"], 30)
            fence = w.systems["co-us"].records["chat.test"].fence
            assert fence is not None
            assert fence.epoch == w.co["co-eu"].status()["leader"]["epoch"]
            await kill(w.runs["co-us"])
            del w.co["co-us"]
            w.rig.agents.down = {"eua-1", "eua-2", "usb-1", "usb-2"}
            await until(lambda: any(a["kind"] == "write-failed" for a in w.co["co-eu"].status()["alerts"]), 90)
            assert "usb-1" in served(w.systems["co-us"]), "nobody else can reach it"

    play(story)


def test_a_deputy_does_nothing_for_a_leader_that_is_gone() -> None:
    async def story() -> None:
        async with world(pair("us"), apart=True) as w:
            w.cuts["co-us"].away = True
            w.rig.agents.down = {"eua-1", "eua-2"}
            await asyncio.sleep(60)
            assert w.systems["co-us"].log == []
            w.cuts["co-us"].away = False
            await until(lambda: "eua-1" not in served(w.systems["co-us"]), 60)
            assert len(w.systems["co-us"].log) == 1

    play(story)
