"""Small parts of the room: the clock, the outbox, provider connections, the beacon, alarms, commands."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from steerd.coordinator.alarms import Alarms
from steerd.coordinator.clock import SystemClock
from steerd.coordinator.commands import MOST, Commands
from steerd.coordinator.connections import Connections
from steerd.coordinator.face import in_service
from steerd.coordinator.journal import Journal, Note, Receipt
from steerd.coordinator.outbox import MOST_NOTES, Outbox
from steerd.coordinator.ring import Ring, read
from steerd.core.effects import Alert, Answer
from steerd.core.events import AgentLost, OperatorCommand
from steerd.model.plan import HardState
from steerd.providers.base import Misconfigured, Provider, ProviderError, Unreachable
from steerd.providers.memory import Memory
from steerd.stores.base import Put, StoreBusy, StoreUnavailable
from steerd.stores.memory import MemoryData, MemoryStore
from steerd.stores.sqlite import SqliteStore
from tests.coordinator.rig import Rig, VirtualClock
from tests.support.fleets import make_fleet
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until


def test_a_step_of_the_wall_clock_does_not_step_steady_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now()
    assert abs(before - time.time()) < 60.0
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0.0 <= clock.now() - before < 60.0


def test_history_waits_for_the_store_and_is_bounded() -> None:
    async def main() -> None:
        clock, away = VirtualClock(), {"now": False}

        async def hook(operation: str, phase: str) -> None:
            if away["now"] and phase == "before":
                raise StoreUnavailable("away")

        store = MemoryStore(MemoryData(clock.now), hook=hook)
        await store.open()
        journal = Journal(store, "acme", clock)
        outbox = Outbox(journal, clock, set)
        outbox.note(Note("config", "f", "before anybody led", 0.0))
        run = asyncio.ensure_future(outbox.run())
        await asyncio.sleep(5.0)
        assert outbox.waiting == 1
        token = (await store.txn((), (Put("/acme/leader", b""),))).revision
        await journal.lead(token)
        outbox.wake()
        await until(lambda: outbox.waiting == 0, 2)
        away["now"] = True
        for n in range(MOST_NOTES + 10):
            outbox.note(Note("health", "e", str(n), float(n)))
        outbox.receipt(Receipt("1.1", "dns/a", 1.0))
        outbox.receipt(Receipt("1.1", "dns/a", 1.0, 2.0))
        await asyncio.sleep(5.0)
        assert outbox.waiting == MOST_NOTES + 1
        assert outbox.lost == 10
        away["now"] = False
        await until(lambda: outbox.waiting == 0, 5)
        lines = await journal.history(None, 3)
        assert [line["text"] for line in lines] == [str(n) for n in range(MOST_NOTES + 9, MOST_NOTES + 6, -1)]
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    run_virtual(main())


class Door(Memory):
    """Opens after `fail` errors; remembers what was done to it."""

    closing_s = 0.0

    def __init__(self, *fail: Exception) -> None:
        super().__init__()
        self.fail = list(fail)
        self.done: list[str] = []

    async def open(self) -> None:
        self.done.append("open")
        if self.fail:
            raise self.fail.pop(0)

    async def close(self) -> None:
        await asyncio.sleep(self.closing_s)
        self.done.append("close")


def test_providers_are_opened_retried_replaced_and_closed() -> None:
    async def main() -> None:
        good, late, odd = Door(), Door(Misconfigured("bad key", "mend it")), Door(ZeroDivisionError("oops"))
        up: list[str] = []
        providers: dict[str, Provider] = {"good": good, "late": late, "odd": odd}
        connections = Connections(providers, VirtualClock(), up.append)
        with pytest.raises(Unreachable, match="not open yet"):
            connections.get("good")
        async with asyncio.TaskGroup() as group:
            await connections.open(group, 0.5)
            assert connections.get("good").provider is good
            with pytest.raises(Misconfigured, match="bad key"):
                connections.get("late")
            with pytest.raises(ProviderError, match="ZeroDivisionError"):
                connections.get("odd")
            assert {n: s["state"] for n, s in connections.status().items()} == {
                "good": "open",
                "late": "failed",
                "odd": "failed",
            }
            await until(lambda: set(up) == {"good", "late", "odd"}, 5)
            fresh = Door()
            connections.replace({"good": good, "late": fresh})
            await until(lambda: up[-1] == "late" and len(up) == 4, 5)
            assert connections.get("late").provider is fresh
            assert late.done[-1] == odd.done[-1] == "close"
            assert good.done == ["open"]
            await connections.close()
            await connections.close()
        assert good.done == ["open", "close"]
        assert fresh.done == ["open", "close"]

    run_virtual(main())


def test_a_successor_opens_only_when_its_predecessor_is_closed() -> None:
    async def main() -> None:
        old, new = Door(), Door()
        old.closing_s = 0.5
        connections = Connections({"dns": old}, VirtualClock(), lambda _: None)
        async with asyncio.TaskGroup() as group:
            await connections.open(group, 0.5)
            connections.replace({"dns": new})
            await asyncio.sleep(0.4)
            assert (old.done, new.done) == (["open"], [])
            await asyncio.sleep(0.2)
            assert (old.done, new.done) == (["open", "close"], ["open"])
            await connections.close()

    run_virtual(main())


def test_a_provider_that_hangs_while_opening_delays_the_start_a_little_only() -> None:
    class Stuck(Door):
        async def open(self) -> None:
            await asyncio.sleep(3600.0)

    async def main() -> None:
        clock = VirtualClock()
        connections = Connections({"stuck": Stuck()}, clock, lambda _: None)
        async with asyncio.TaskGroup() as group:
            began = clock.loop_time()
            await connections.open(group, 0.5)
            assert clock.loop_time() - began == pytest.approx(0.5)
            await until(lambda: "did not open" in connections.status()["stuck"]["text"], 10)
            await connections.close()

    run_virtual(main())


def test_what_is_not_known_is_in_service() -> None:
    fleet = make_fleet({"eu": 2})
    assert in_service(fleet, None, "eua") is True
    assert in_service(fleet, HardState(), "eua-1") is True
    half = HardState(shares={"chat": {"eua-1": 0.0, "eua-2": 0.5, "eub-1": 0.5}})
    assert in_service(fleet, half, "eua-1") is False
    assert in_service(fleet, half, "eua") is True
    assert in_service(fleet, half, "eub-2") is True, "not decided yet"
    none = HardState(shares={"chat": dict.fromkeys(fleet.endpoint_by_name, 0.0)})
    assert in_service(fleet, none, "eua") is False
    assert in_service(replace(fleet, mode="observe"), none, "eua") is True
    assert in_service(fleet, none, "probe-eua") is None
    assert in_service(fleet, none, "nobody") is None


def test_alarms_are_told_once_and_end_once() -> None:
    told: list[tuple[str, bool]] = []

    def tell(effect: Alert, now: float) -> None:
        told.append((effect.alert.text, effect.active))

    alarms = Alarms(tell)
    alarms.set("k", "of", "a", "do", 1.0)
    alarms.set("k", "of", "a", "do", 2.0)
    alarms.set("k", "of", "b", "do", 3.0)
    assert alarms.rows() == [{"kind": "k", "of": "of", "since": 1.0, "text": "b", "action": "do"}]
    alarms.clear("k", "of", 4.0)
    alarms.clear("k", "of", 5.0)
    assert told == [("a", True), ("b", True), ("b", False)]
    assert alarms.rows() == []


def test_commands_are_bounded_and_never_wait_for_ever() -> None:
    async def main() -> None:
        posted: list[OperatorCommand] = []
        commands = Commands(posted.append)
        asked = [asyncio.ensure_future(commands.ask(OperatorCommand(str(n), "freeze", "me"))) for n in range(MOST)]
        await asyncio.sleep(0)
        assert (await commands.ask(OperatorCommand("more", "freeze", "me"))).result == "invalid"
        assert (await commands.ask(OperatorCommand("0", "freeze", "me"))).result == "invalid"
        commands.answered(Answer("0", "ok", "done"))
        commands.answered(Answer("0", "ok", "twice"))
        commands.answered(Answer("unknown", "ok", ""))
        assert await asked[0] == Answer("0", "ok", "done")
        assert (await asked[1]).result == "not-persisted", "after its time"
        late = asyncio.ensure_future(commands.ask(OperatorCommand("late", "freeze", "me")))
        await asyncio.sleep(0)
        commands.end("not-leading", "stops")
        assert (await late).result == "not-leading"
        await asyncio.gather(*asked)

    run_virtual(main())


async def test_a_second_coordinator_on_one_file_does_not_start(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "steerd.db", "euw1")
    await first.open()
    try:
        rig = Rig()
        second = rig.make("use1", store=SqliteStore(tmp_path / "steerd.db", "use1"))
        with pytest.raises(StoreBusy, match="coordinator euw1"):
            await second.run(asyncio.Event())
        assert second.ready() == (False, "not running")
    finally:
        await first.close()


async def test_a_second_coordinator_leaves_the_firsts_ring_alone(tmp_path: Path) -> None:
    """Started twice by mistake, with the same name and so the same ring file: what the first recorded can be replayed."""
    first = SqliteStore(tmp_path / "steerd.db", "co")
    await first.open()
    ring = Ring(tmp_path / "co.ring")
    ring.open()
    for n in range(3):
        ring.append(AgentLost(f"agent-{n}"), 1000.0 + n, list)
    try:
        before = (tmp_path / "co.ring").read_bytes()
        second = Rig().make(store=SqliteStore(tmp_path / "steerd.db", "co"), ring=Ring(tmp_path / "co.ring"))
        with pytest.raises(StoreBusy):
            await second.run(asyncio.Event())
        assert (tmp_path / "co.ring").read_bytes() == before
    finally:
        ring.close()
        await first.close()
    assert len(list(read(tmp_path / "co.ring"))) == 3
