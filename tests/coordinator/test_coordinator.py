"""The coordinator as a whole, with its real engine, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.coordinator.coordinator import Coordinator
from steerd.coordinator.links import LinkClosed
from steerd.coordinator.observer import NullObserver
from steerd.coordinator.ring import Ring, read
from steerd.core.effects import Apply, Effect, Persist
from steerd.core.engine import Engine
from steerd.core.events import BallotReceived, Event, OperatorCommand, Tick
from steerd.model.fleet import ProviderSpec, StoreSpec
from steerd.model.route import Fence
from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome
from steerd.providers.base import Misconfigured, ProviderError, Unreachable
from steerd.providers.memory import Fault, Memory, System
from steerd.stores.base import StoreUnavailable
from steerd.stores.memory import MemoryStore
from tests.coordinator.rig import EPOCH_S, Rig, kill, served, vote
from tests.support.fleets import make_fleet
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until

ALL = {f"{z}-{n}" for z in ("eua", "eub", "euc", "usa", "usb", "usc") for n in (1, 2)}


def drain(name: str, number: int = 1) -> OperatorCommand:
    return OperatorCommand(f"id-{number}", "drain", "me", name, reason="maintenance", now=True)


async def settled(rig: Rig, coordinator: Coordinator) -> None:
    """Leading, votes counted, everything in sync."""
    await until(lambda: coordinator.ready()[0], 30)
    await until(lambda: coordinator.status()["services"]["chat"]["health"] != "unknown", 60)
    await asyncio.sleep(15.0)


def rig(**fleet: Any) -> Rig:
    made = Rig(make_fleet({"eu": 3, "us": 3}, **fleet))
    made.publish()
    return made


def test_a_dead_endpoint_leaves_the_record_and_history_tells_it() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            assert r.system.log == [], "what is served is kept at the start"
            r.agents.down = {"eua-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 10)
            await until(lambda: co.status()["services"]["chat"]["routes"][0]["in_sync"], 10)
            await asyncio.sleep(1.0)
            kinds = [line["kind"] for line in await co.history(None, 100)]
            assert kinds[-3:] == ["decision", "applied", "in-sync"]
            assert kinds.index("health") < kinds.index("decision")
            since = (await co.history(None, 1))[0]["at"]
            assert [x["at"] >= since for x in await co.history(since, 100)] == [True] * len(
                await co.history(since, 100)
            )
            assert len(r.system.log) == 1

    run_virtual(main())


def test_without_votes_nothing_moves() -> None:
    async def main() -> None:
        r = rig()
        r.agents.silent = {a.name for a in r.fleet.agents}
        async with r.running() as co:
            await until(lambda: co.ready()[0], 30)
            await asyncio.sleep(120.0)
            assert r.system.log == []
            assert served(r.system) == ALL
            kinds = {a["kind"] for a in co.status()["alerts"]}
            assert "quorum-lost" in kinds

    run_virtual(main())


def test_commands_are_answered_after_they_are_stored() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            early = await co.command(drain("eua"))
            assert early.result == "not-leading"
            await settled(r, co)
            answer = await co.command(drain("eua", 2))
            assert answer.result == "ok"
            state = b"".join(e.value for k, e in r.data.entries.items() if k.startswith("/test/state"))
            assert b'"operator' in state or b'"maintenance"' in state
            await until(lambda: served(r.system) == ALL - {"eua-1", "eua-2"}, 5)
            assert (await co.command(replace(drain("nobody", 3)))).result == "invalid"
            assert co.beacon("eua") is False
            assert co.beacon("eua-1") is False
            assert co.beacon("eu") is True
            assert co.beacon("chat") is True
            assert co.beacon("nothing") is None
            assert co.beacon("probe-eua") is None

    run_virtual(main())


class Away:
    """A store that is away on demand, and counts transactions."""

    def __init__(self) -> None:
        self.txns = False
        self.everything = False

    async def __call__(self, operation: str, phase: str) -> None:
        if phase == "before" and (self.everything or (self.txns and operation == "txn")):
            raise StoreUnavailable("the disk is full")


def test_nothing_is_applied_before_it_is_stored() -> None:
    async def main() -> None:
        r, away = rig(), Away()
        co = r.make(store=MemoryStore(r.data, hook=away))
        async with r.running(co):
            await settled(r, co)
            away.txns = True
            answer = await co.command(drain("eua"))
            assert answer.result == "not-persisted"
            assert "the disk is full" in answer.text
            r.agents.down = {"usa-1"}
            await asyncio.sleep(60.0)
            assert r.system.log == []
            assert served(r.system) == ALL
            alert = next(a for a in co.status()["alerts"] if a["kind"] == "store-unavailable")
            assert alert["text"] == "the disk is full"
            away.txns = False
            await until(lambda: served(r.system) == ALL - {"eua-1", "eua-2", "usa-1"}, 60)
            await until(lambda: co.status()["services"]["chat"]["routes"][0]["in_sync"], 10)
            assert not [a for a in co.status()["alerts"] if a["kind"] in ("store-unavailable", "write-failed")]
            assert served(r.system)
            stored = [e for k, e in r.data.entries.items() if k.startswith("/test/decisions/")]
            assert stored

    run_virtual(main())


def test_an_operators_state_is_stored_once_the_store_is_back() -> None:
    async def main() -> None:
        r, away = rig(), Away()
        co = r.make(store=MemoryStore(r.data, hook=away))
        async with r.running(co):
            await settled(r, co)
            away.txns = True
            answer = await co.command(OperatorCommand("f", "freeze", "me", reason="change window"))
            assert answer.result == "not-persisted"
            away.txns = False
            await asyncio.sleep(3.0)
            assert any(b"change window" in e.value for k, e in r.data.entries.items() if k.startswith("/test/state"))

    run_virtual(main())


def test_a_store_that_is_away_too_long_ends_the_lead_and_weights_stay() -> None:
    async def main() -> None:
        r, away = rig(), Away()
        co = r.make(store=MemoryStore(r.data, hook=away))
        async with r.running(co):
            await settled(r, co)
            away.everything = True
            r.agents.down = {"eua-1"}
            await asyncio.sleep(40.0)
            assert r.system.log == []
            assert not co.status()["coordinator"]["leading"]
            assert co.ready() == (False, "the disk is full")
            assert (await co.command(drain("usa"))).result == "not-leading"
            away.everything = False
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 60)
            assert co.ready()[0]

    run_virtual(main())


def test_a_provider_that_is_down_at_the_start_stops_nobody() -> None:
    class Late(Memory):
        tries = 0

        async def open(self) -> None:
            Late.tries += 1
            if Late.tries < 4:
                raise Unreachable("no route to host", "look at the network")

    async def main() -> None:
        r = rig()
        co = r.make(providers={"dns": Late(r.system)})
        async with r.running(co):
            await until(lambda: co.ready()[0], 30)
            state = co.status()["providers"]["dns"]
            assert (state["state"], state["text"], state["action"]) == (
                "failed",
                "no route to host",
                "look at the network",
            )
            await until(lambda: co.status()["providers"]["dns"]["state"] == "open", 60)
            r.agents.down = {"eua-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 30)

    run_virtual(main())


@pytest.mark.parametrize("error", [Unreachable("gone"), Misconfigured("bad key"), ProviderError("no")])
def test_a_route_that_cannot_be_read_is_alerted_and_read_again(error: ProviderError) -> None:
    async def main() -> None:
        r = rig()
        r.system.reads.extend([Fault(error)] * 3)
        async with r.running() as co:
            await until(lambda: [a for a in co.status()["alerts"] if a["kind"] == "route-unreadable"], 10)
            await until(lambda: not [a for a in co.status()["alerts"] if a["kind"] == "route-unreadable"], 60)

    run_virtual(main())


def test_somebody_elses_edit_is_seen_within_a_minute_or_so() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            r.system.edit("chat.test", {"eua-1": 3})
            await until(lambda: [a for a in co.status()["alerts"] if a["kind"] == "drift"], 70)
            assert r.system.records["chat.test"].members["eua-1"].weight == 3, "reported, not overwritten"

    run_virtual(main())


def test_what_a_system_forgot_is_set_again() -> None:
    """A load balancer that reloads forgets its runtime weights: nobody's edit, so it is written again and not kept."""

    class Forgetful(Memory):
        def __init__(self, system: System) -> None:
            super().__init__(system)
            self.capabilities = replace(self.capabilities, volatile=True)

    async def main() -> None:
        r = rig()
        co = r.make(providers={"dns": Forgetful(r.system)})
        async with r.running(co):
            await settled(r, co)
            r.agents.down = {"eua-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 10)
            await until(lambda: co.status()["services"]["chat"]["routes"][0]["in_sync"], 10)
            r.system.edit("chat.test", {"eua-1": 100})
            assert served(r.system) == ALL
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 70)
            assert not [a for a in co.status()["alerts"] if a["kind"] == "drift"]

    run_virtual(main())


def test_agents_get_the_welcome_confirms_and_an_end() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            link = co.connect_agent("probe-eua")
            assert await link.get() == Welcome("co", "c0ffee", leading=True, incarnation=1)
            suspect = replace(vote("usa-1", 10_000, down=False), suspect=True)
            ballot = replace(_full(r, "probe-eub"), votes=(suspect,), full=False)
            co.receive(ballot)
            async with asyncio.timeout(5.0):
                assert await link.get() == Confirm(("usa-1",))
        with pytest.raises(LinkClosed, match="stops"):
            await link.get()

    run_virtual(main())


def _full(r: Rig, agent: str) -> Ballot:
    return Ballot(agent, 1, r.agents.number + 1000, True)


def test_an_agent_that_floods_is_cut_off_and_alerted_on() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            link = co.connect_agent("probe-eua")
            await link.get()
            for n in range(1000):
                co.receive(Heartbeat("probe-eua", 1, 10_000 + n))
            with pytest.raises(LinkClosed, match="too many frames"):
                await link.get()
            alert = next(a for a in co.status()["alerts"] if a["kind"] == "agent-cut-off")
            assert alert["of"] == "probe-eua"
            co.receive(Heartbeat("stranger", 1, 1))
            await until(lambda: not [a for a in co.status()["alerts"] if a["kind"] == "agent-cut-off"], 30)

    run_virtual(main())


def test_an_agent_that_was_cut_off_and_then_left_the_config_is_no_alert() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            for n in range(1000):
                co.receive(Heartbeat("probe-eua", 1, 10_000 + n))
            assert "agent-cut-off" in {a["kind"] for a in co.status()["alerts"]}
            kept = tuple(a for a in r.fleet.agents if a.name != "probe-eua")
            assert co.reload(replace(r.fleet, agents=kept, config_hash="without")) is None
            assert "agent-cut-off" not in {a["kind"] for a in co.status()["alerts"]}

    run_virtual(main())


def test_everybody_can_follow_what_happens() -> None:
    async def main() -> None:
        r = rig()
        co = r.make()
        events = co.subscribe()
        seen: list[dict[str, Any]] = []

        async def follow() -> None:
            async for event in events:
                seen.append(event)  # noqa: PERF401  read while it grows

        following = asyncio.ensure_future(follow())
        async with r.running(co):
            await settled(r, co)
            r.agents.down = {"eua-1"}
            await until(lambda: "in-sync" in [e["kind"] for e in seen], 10)
        await following
        assert {"leadership", "health", "decision", "applied", "in-sync"} <= {e["kind"] for e in seen}
        assert all(set(e) == {"kind", "of", "text", "at", "data"} for e in seen)

    run_virtual(main())


def test_stopping_frees_the_lead_within_5_s_even_with_a_hanging_provider() -> None:
    class Hanging(Memory):
        async def apply(self, change: Any, deadline: float) -> Any:
            await asyncio.sleep(1000.0)

    async def main() -> None:
        r = rig()
        co = r.make(providers={"dns": Hanging(r.system)})
        async with r.running(co):
            await settled(r, co)
            r.agents.down = {"eua-1"}
            await asyncio.sleep(2.0)
            began = r.clock.loop_time()
        assert r.clock.loop_time() - began < 5.0
        assert "/test/leader" not in r.data.entries

    run_virtual(main())


def test_a_bug_in_a_task_takes_the_coordinator_down() -> None:
    async def main() -> None:
        r = rig()
        co = r.make()

        def broken(event: Event, now: float) -> tuple[Effect, ...]:
            raise ZeroDivisionError("oops")

        stop = asyncio.Event()
        run = asyncio.ensure_future(co.run(stop))
        await until(lambda: co.ready()[0], 10)
        co._engine.step = broken  # type: ignore[method-assign]  # a core with a bug
        with pytest.raises(ZeroDivisionError):
            await run
        assert co.ready() == (False, "not running")

    run_virtual(main())


def test_a_second_coordinator_follows_and_takes_over_warm() -> None:
    async def main() -> None:
        r = rig()
        one, two = r.make("one"), r.make("two")
        stops = [asyncio.Event(), asyncio.Event()]
        runs = [asyncio.ensure_future(c.run(s)) for c, s in zip((one, two), stops, strict=True)]
        votes = asyncio.ensure_future(r.agents.run(one, two))
        await until(lambda: one.ready()[0] and two.ready()[0], 10)
        first, second = (one, two) if one.status()["coordinator"]["leading"] else (two, one)
        assert not second.status()["coordinator"]["leading"]
        assert second.status()["leader"]["name"] == first.name
        assert (await second.command(drain("eua"))).text.endswith(f"{first.name} leads: ask there")
        await settled(r, first)
        assert second.status()["services"]["chat"]["health"] == "healthy", "it counts the same ballots"
        assert (await first.command(drain("eua"))).result == "ok"
        await until(lambda: served(r.system) == ALL - {"eua-1", "eua-2"}, 5)
        epoch = first.status()["leader"]["epoch"]
        stops[(one, two).index(first)].set()
        await until(lambda: second.status()["coordinator"]["leading"], 5)
        await asyncio.sleep(15.0)
        assert second.status()["leader"]["epoch"] > epoch
        assert [d["name"] for d in second.status()["drains"]] == ["eua"], "operators' drains outlive the leader"
        assert served(r.system) == ALL - {"eua-1", "eua-2"}
        for stop in stops:
            stop.set()
        await asyncio.gather(*runs)
        await kill(votes)

    run_virtual(main())


def test_a_fence_above_our_epoch_does_not_lock_us_out() -> None:
    """A restored or new store begins with small revisions: the epoch used is above the highest fence seen (ha.md)."""

    async def main() -> None:
        r = rig()
        r.system.records["chat.test"] = replace(r.system.records["chat.test"], fence=Fence("test", 500, 3, "p"))
        async with r.running() as co:
            await settled(r, co)
            r.agents.down = {"eua-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 10)
            fence = r.system.records["chat.test"].fence
            assert fence is not None
            assert fence.epoch > 500
        again = r.make()
        async with r.running(again):
            await settled(r, again)
            r.agents.down = {"eua-1", "usa-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1", "usa-1"}, 10)

    run_virtual(main())


def test_a_reload_takes_a_new_fleet_and_refuses_what_must_not_be() -> None:
    async def main() -> None:
        r = rig()
        async with r.running() as co:
            await settled(r, co)
            assert "restart" in (co.reload(replace(r.fleet, name="other")) or "")
            assert "restart" in (co.reload(replace(r.fleet, store=StoreSpec("etcd"))) or "")
            changed = replace(r.fleet, providers=(ProviderSpec("dns", "memory", settings={"x": 1}),))
            assert "restart" in (co.reload(changed) or "")
            small = make_fleet({"eu": 2})
            assert "removes" in (co.reload(small) or "")
            assert co.fleet is r.fleet
            grown = replace(make_fleet({"eu": 3, "us": 3}, per_zone=3), config_hash="grown")
            assert co.reload(grown) is None
            assert co.fleet is grown
            await until(lambda: co.status()["config_hash"] == "grown", 5)
            assert len(co.status()["services"]["chat"]["endpoints"]) == 18
            assert co.reload(changed, providers={"dns": Memory(r.system)}) is None
            await until(lambda: co.status()["providers"]["dns"]["state"] == "open", 5)
            r.agents.down = {"eua-1"}
            await until(lambda: "eua-1" not in served(r.system), 10)

    run_virtual(main())


class Steps(NullObserver):
    """Every step of the engine: (event, effects, time)."""

    def __init__(self) -> None:
        self.seen: list[tuple[Event, tuple[Effect, ...], float]] = []

    def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
        self.seen.append((event, effects, now))


def test_frames_that_wait_together_are_judged_together() -> None:
    """Invariant 8: more agents than the loop takes events in a row say in one moment that an endpoint is down."""

    async def main() -> list[tuple[Event, tuple[Effect, ...], float]]:
        r, steps = Rig(make_fleet({"eu": 6, "us": 6})), Steps()
        r.publish()
        co = r.make(observer=steps)
        async with r.running(co):
            await settled(r, co)
            steps.seen.clear()
            r.agents.down = {"eua-1"}
            await until(lambda: "eua-1" not in served(r.system), 10)
        return steps.seen

    seen = run_virtual(main())
    decides = next(n for n, (_, effects, _) in enumerate(seen) if any(isinstance(e, Apply) for e in effects))
    event, _, now = seen[decides]
    assert isinstance(event, Tick)
    before = seen[decides - 13 : decides]
    assert [(type(e), at) for e, _, at in before] == [(BallotReceived, now)] * 13


def test_the_ring_replays_to_the_same_effects(tmp_path: Path) -> None:
    """What the engine took in, taken in by a new engine, gives the same decisions."""

    class Seen:
        def __init__(self) -> None:
            self.effects: list[tuple[Effect, ...]] = []

        def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
            self.effects.append(effects)

        def on_write(self, provider: str, route: str, result: str, duration_s: float) -> None: ...

        def on_store(self, op: str, duration_s: float, *, ok: bool) -> None: ...

        def on_leader(self, leading: bool, epoch: int) -> None: ...

    async def main() -> Seen:
        r, seen = rig(), Seen()
        co = r.make(ring=Ring(tmp_path / "ring"), observer=seen)
        async with r.running(co):
            await settled(r, co)
            r.agents.down = {"eua-1"}
            await until(lambda: served(r.system) == ALL - {"eua-1"}, 10)
            assert (await co.command(drain("usa"))).result == "ok"
            await asyncio.sleep(5.0)
        return seen

    seen = run_virtual(main())
    engine = Engine("co")
    recorded = list(read(tmp_path / "ring"))
    replayed = [engine.step(one.event, one.now) for one in recorded]
    assert len(replayed) == len(seen.effects)
    for mine, theirs in zip(replayed, seen.effects, strict=True):
        assert mine == theirs
    assert any(isinstance(e, Persist) and e.decision for effects in replayed for e in effects)
    assert any(isinstance(one.event, Tick) for one in recorded)
    assert all(one.now > EPOCH_S for one in recorded)


def test_a_crash_between_persist_and_apply_is_made_good_by_the_next_leader() -> None:
    """Killed with the decision stored and the provider not asked: the next one issues it again, under its own epoch."""

    async def main() -> None:
        r = rig()
        hang = asyncio.Event()

        class Stuck(Memory):
            async def read(self, route: Any, deadline: float) -> Any:
                if hang.is_set():
                    await asyncio.sleep(1000.0)
                return await super().read(route, deadline)

        co = r.make(providers={"dns": Stuck(r.system)})
        run = asyncio.ensure_future(co.run(asyncio.Event()))
        votes = asyncio.ensure_future(r.agents.run(co))
        await settled(r, co)
        hang.set()
        assert (await co.command(drain("eua"))).result == "ok"
        await kill(run, votes)
        assert r.system.log == []
        hang.clear()
        again = r.make()
        async with r.running(again):
            await until(lambda: served(r.system) == ALL - {"eua-1", "eua-2"}, 60)
            await settled(r, again)
            weights = [{t: m.weight for t, m in record.members.items()} for _, record in r.system.log]
            assert len(weights) == 1
            assert again.status()["services"]["chat"]["routes"][0]["in_sync"]
            await asyncio.sleep(1.0)
            assert [e for k, e in r.data.entries.items() if k.startswith("/test/receipts/")]

    run_virtual(main())
