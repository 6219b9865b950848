"""Streams of agents: what goes down is merged, what comes up is bounded."""

from __future__ import annotations

import asyncio

import pytest

from steerd.coordinator.links import CUT_OFF_S, FRAMES_BURST, LinkClosed, Links
from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome
from tests.coordinator.rig import vote

WELCOME = Welcome("co", "hash")


def links(lost: list[str] | None = None, endpoints: int = 10) -> Links:
    made = Links((lost if lost is not None else []).append)
    made.configure({"a", "b"}, endpoints)
    return made


def beat(agent: str, number: int = 1) -> Heartbeat:
    return Heartbeat(agent, 1, number)


async def test_the_welcome_comes_first_then_confirms_merged() -> None:
    made = links()
    link = made.connect("a", WELCOME, 0.0)
    made.confirm(("a", "nobody"), ("e2", "e1"))
    made.confirm(("a",), ("e1", "e3"))
    assert await link.get() == WELCOME
    assert await link.get() == Confirm(("e2", "e1", "e3"))
    waiting = asyncio.ensure_future(link.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    made.confirm(("a",), ("e4",))
    assert await waiting == Confirm(("e4",))


async def test_a_newer_stream_takes_the_place_of_the_older() -> None:
    lost: list[str] = []
    made = links(lost)
    first = made.connect("a", WELCOME, 0.0)
    waiting = asyncio.ensure_future(first.get())
    assert await waiting == WELCOME
    waiting = asyncio.ensure_future(first.get())
    await asyncio.sleep(0)
    second = made.connect("a", WELCOME, 1.0)
    with pytest.raises(LinkClosed, match="newer stream"):
        await waiting
    first.close()
    assert lost == [], "the agent is there, on its second stream"
    second.close()
    second.close()
    assert lost == ["a"]


async def test_too_many_frames_cut_an_agent_off_for_a_while() -> None:
    lost: list[str] = []
    made = links(lost)
    link, other = made.connect("a", WELCOME, 0.0), made.connect("b", WELCOME, 0.0)
    told = [made.accept(beat("a", n), 0.0) for n in range(int(FRAMES_BURST) + 2)]
    assert told[: int(FRAMES_BURST)] == [None] * int(FRAMES_BURST)
    assert "too many frames" in (told[-2] or "")
    assert told[-1] == "", "said once"
    with pytest.raises(LinkClosed, match="too many frames"):
        await link.get()
    assert lost == ["a"]
    assert made.accept(beat("b"), 0.0) is None
    assert await other.get() == WELCOME
    early = made.connect("a", WELCOME, CUT_OFF_S / 2)
    with pytest.raises(LinkClosed, match="cut off"):
        await early.get()
    later = made.connect("a", WELCOME, CUT_OFF_S + 1)
    assert await later.get() == WELCOME
    assert made.accept(beat("a"), CUT_OFF_S + 1) is None


def test_heartbeats_and_full_ballots_at_their_pace_are_never_too_many() -> None:
    made = links(endpoints=10_000)
    votes = tuple(vote(f"e{n}", 1, down=False) for n in range(10_000))
    for second in range(0, 600, 2):
        assert made.accept(beat("a", second), float(second)) is None
        if second % 30 == 0:
            assert made.accept(Ballot("a", 1, second, True, votes), float(second)) is None


def test_votes_beyond_any_need_cut_off() -> None:
    made = links(endpoints=10)
    votes = tuple(vote(f"e{n}", 1, down=False) for n in range(600))
    told = [made.accept(Ballot("a", 1, n, True, votes), 0.0) for n in range(3)]
    assert told[0] is None
    assert "too many votes" in (told[1] or "")


async def test_an_agent_that_left_the_config_is_ended() -> None:
    lost: list[str] = []
    made = links(lost)
    link = made.connect("a", WELCOME, 0.0)
    made.configure({"b"}, 10)
    with pytest.raises(LinkClosed, match="no longer in the config"):
        await link.get()
    assert lost == ["a"]
