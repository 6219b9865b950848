"""Streams against a real WebSocket server: connect, reconnect, refusal, overflow, bad frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from steerd.agent.observer import NullObserver
from steerd.agent.stream import CoordinatorStream, Outbox, StreamContext
from steerd.model.fleet import Secret
from steerd.model.vote import Ballot, Heartbeat, Verdict
from steerd.wire import encode
from tests.support.agent_rig import QUICK, Listener, Targets, make_fleet, running
from tests.support.wait import until


class Streams(NullObserver):
    """Keeps what streams went through."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        self.heard.append((coordinator, state, text))

    def states(self, coordinator: str = "co1") -> list[str]:
        return [state for name, state, _ in self.heard if name == coordinator]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener().serve() as found:
        yield found


@pytest.fixture
async def targets() -> AsyncIterator[Targets]:
    async with Targets().serve() as found:
        yield found


async def test_full_on_connect_then_deltas_and_heartbeats_with_growing_numbers(
    listener: Listener, targets: Targets
) -> None:
    async with running(make_fleet(targets.url, {"co1": listener.url})):
        await until(lambda: any(isinstance(f, Heartbeat) for f in listener.frames))
    first = listener.frames[0]
    assert isinstance(first, Ballot)
    assert first.full
    assert [b.full for b in listener.ballots].count(True) == 1
    numbers = [f.number for f in listener.frames]
    assert numbers == sorted(set(numbers))
    assert len({f.incarnation for f in listener.frames}) == 1
    assert listener.votes["e1"].verdict is Verdict.HEALTHY


async def test_every_coordinator_hears_the_same(listener: Listener, targets: Targets) -> None:
    async with Listener("co2").serve() as second:
        fleet = make_fleet(targets.url, {"co1": listener.url, "co2": second.url})
        async with running(fleet):
            for one in (listener, second):
                await until(lambda one=one: one.fulls and one.votes["e1"].verdict is Verdict.HEALTHY)  # type: ignore[misc]  # binds the loop's variable


async def test_a_dead_coordinator_does_not_keep_the_others_from_hearing(listener: Listener, targets: Targets) -> None:
    fleet = make_fleet(targets.url, {"dead": "http://127.0.0.1:1", "co1": listener.url})
    ears = Streams()
    async with running(fleet, ears):
        await until(
            lambda: listener.fulls and "e1" in listener.votes and listener.votes["e1"].verdict is Verdict.HEALTHY
        )
        await until(lambda: ears.states("dead").count("disconnected") >= 2)


async def test_a_coordinator_that_comes_back_gets_a_full_ballot(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears) as agent:
        await until(
            lambda: listener.fulls and "e1" in listener.votes and listener.votes["e1"].verdict is Verdict.HEALTHY
        )
        await listener.stop()
        await until(lambda: ears.states()[-1] != "connected")
        looks = agent.status()["looks"]
        await until(lambda: agent.status()["looks"] > looks + 3)  # a stream's failure never stops looking
        targets.status["e1"] = 500
        await until(lambda: agent.verdict_of("e1") is Verdict.UNHEALTHY)
        listener.frames.clear()
        await listener.start()
        await until(lambda: listener.fulls)
        assert isinstance(listener.frames[0], Ballot)
        assert listener.frames[0].full
        assert {v.endpoint: v.verdict for v in listener.frames[0].votes}["e1"] is Verdict.UNHEALTHY
    assert listener.sessions == 2


async def test_the_token_goes_along_and_a_refusal_says_what_to_do(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    listener.answer = 401
    fleet = make_fleet(targets.url, {"co1": listener.url}, token=Secret("file", "fra"))
    async with running(fleet, ears) as agent:
        await until(lambda: len(listener.authorizations) >= 2)
        assert set(listener.authorizations) == {"Bearer value-of-fra"}
        assert "refused" in ears.states()
        text = next(text for _, state, text in ears.heard if state == "refused")
        assert "agents.a1.token" in text
        assert "value-of-fra" not in text
        looks = agent.status()["looks"]
        await until(lambda: agent.status()["looks"] > looks)
        listener.answer = 101
        await until(lambda: listener.fulls)


async def test_without_a_token_none_is_sent(listener: Listener, targets: Targets) -> None:
    async with running(make_fleet(targets.url, {"co1": listener.url})):
        await until(lambda: listener.fulls)
    assert listener.authorizations == [None]


async def test_a_token_that_cannot_be_read_is_a_refusal_and_is_read_again(listener: Listener, targets: Targets) -> None:
    ears, broken = Streams(), [True]

    def resolve(reference: Secret) -> str:
        if broken[0]:
            raise FileNotFoundError(f"no such file: {reference.ref}")
        return "late-token"

    fleet = make_fleet(targets.url, {"co1": listener.url}, token=Secret("file", "/run/secrets/fra"))
    async with running(fleet, ears, resolve):
        await until(lambda: "refused" in ears.states())
        assert "cannot be read" in ears.heard[-1][2]
        broken[0] = False
        await until(lambda: listener.fulls)
    assert listener.authorizations == ["Bearer late-token"]


async def test_an_unknown_agent_is_told_to_compare_configs(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    listener.answer = 404
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears):
        await until(lambda: "refused" in ears.states())
    assert any("config the same" in text for _, _, text in ears.heard)


async def test_a_server_that_never_greets_is_left(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    listener.greet = False
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears, timing=replace(QUICK, welcome_s=0.1)):
        await until(lambda: listener.sessions >= 2)
    assert "connected" not in ears.states()
    assert listener.frames == []


async def test_a_coordinator_that_closes_is_quoted_and_one_that_dies_is_said_to_be_gone(
    listener: Listener, targets: Targets
) -> None:
    ears = Streams()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears):
        await until(lambda: listener.fulls)
        await listener.close(aiohttp.WSCloseCode.POLICY_VIOLATION, b"cut off: too many votes")
        await until(lambda: "disconnected" in ears.states())
        assert ("co1", "disconnected", "co1 closed the stream: cut off: too many votes") in ears.heard
        await until(lambda: ears.states().count("connected") == 2)
        listener.drop()
        await until(lambda: ears.states().count("disconnected") == 2)
        assert any("broke off" in text for _, state, text in ears.heard if state == "disconnected")


async def test_a_coordinator_that_leaves_the_config_is_told_as_removed(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears) as agent:
        await until(lambda: listener.fulls)
        agent.reload(make_fleet(targets.url, {}))
        assert ears.states()[-1] == "removed"


async def test_a_slow_reader_gets_one_full_ballot_in_place_of_what_piled_up(listener: Listener) -> None:
    states: list[str] = []
    fulls = 0

    def full() -> bytes:
        nonlocal fulls
        fulls += 1
        return encode(Ballot("a1", 1, fulls, full=True))

    heavy = encode(Heartbeat("a1", 1, 1, stale=("x" * 1_000_000,)))
    listener.reads.clear()
    async with aiohttp.ClientSession() as session:
        context = StreamContext(
            agent="a1",
            session=session,
            token=lambda: None,
            full=full,
            asked=lambda confirm: None,
            outrank=lambda seen: None,
            told=lambda name, state, text: states.append(state),
            timing=QUICK,
        )
        stream = CoordinatorStream("co1", listener.url, context)
        task = asyncio.create_task(stream.run())
        await until(lambda: stream.state == "connected")
        for _ in range(40):  # more than the queue and the buffers of both sockets hold
            stream.offer(heavy)
            await asyncio.sleep(0)
        assert "overflow" in states
        listener.reads.set()
        await until(lambda: len(listener.fulls) == 2)
        assert len(listener.frames) < 40
        assert states.count("connected") == 1
        stream.offer(heavy)
        await until(lambda: isinstance(listener.frames[-1], Heartbeat))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_frames_it_cannot_read_are_told_and_survived(listener: Listener, targets: Targets) -> None:
    ears = Streams()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears):
        await until(lambda: listener.fulls)
        await listener.say(b"\xff\x00")
        await listener.say(encode(Heartbeat("a1", 1, 1)))
        await until(lambda: ears.states().count("bad-frame") == 2)
        before = len(listener.frames)
        await until(lambda: len(listener.frames) > before)
        assert listener.sessions == 1
        for _ in range(10):
            await listener.say(b"\xff")
        await until(lambda: listener.sessions == 2)


async def test_the_stream_is_closed_properly_when_the_agent_ends(listener: Listener, targets: Targets) -> None:
    async with running(make_fleet(targets.url, {"co1": listener.url})):
        await until(lambda: listener.fulls)
    await until(lambda: not listener.connected)


async def test_an_outbox_that_runs_over_keeps_nothing_but_the_wish_for_a_full_ballot() -> None:
    box = Outbox(max_frames=2, max_bytes=100)
    assert [box.put(b"1"), box.put(b"2"), box.put(b"3"), box.put(b"4")] == [True, True, False, True]
    assert await box.take(lambda: b"full") == b"full"
    assert box.put(b"5")
    assert await box.take(lambda: b"never") == b"5"
    assert not box.put(b"x" * 101)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await Outbox().take(lambda: b"never")


async def test_an_outbox_asked_for_a_full_ballot_drops_what_it_would_repeat() -> None:
    box = Outbox()
    box.put(b"old")
    box.ask_full()
    box.put(b"older than the full ballot to come")
    assert await box.take(lambda: b"full") == b"full"
    box.put(b"new")
    assert await box.take(lambda: b"never") == b"new"
