"""An agent's WebSocket: frames both ways, and every way to lose it."""

from __future__ import annotations

import contextlib
import logging

import pytest
from aiohttp import WSMsgType

from steerd.model.sample import Layer
from steerd.model.vote import Ballot, Confirm, Heartbeat, Verdict, Vote, Welcome
from steerd.wire import MAX_FRAME, decode, encode
from tests.support.wait import until

VOTE = Vote("chat-z1", Verdict.UNHEALTHY, 3, Layer.LIVENESS, "liveness", "refused", transport=True, all_failed=True)
BALLOT = Ballot("b", 1, 1, full=True, votes=(VOTE,), config_hash="0123")


async def test_frames_go_both_ways(api):
    async with api.tcp.ws_connect("/v1/agents/b/stream") as ws:
        assert decode(await ws.receive_bytes()) == Welcome("c1", "0123456789abcdef", leading=True)
        await ws.send_bytes(encode(BALLOT))
        await ws.send_bytes(encode(Heartbeat("b", 1, 2)))
        await until(lambda: len(api.coordinator.received) == 2)
        assert api.coordinator.received == [BALLOT, Heartbeat("b", 1, 2)]
        api.coordinator.links["b"].frames.put_nowait(Confirm(("chat-z1",)))
        assert decode(await ws.receive_bytes()) == Confirm(("chat-z1",))
    await until(lambda: api.coordinator.links["b"].closed)


async def closed_with(api, send, name="b"):
    """(code, reason) with which the coordinator ends the stream after `send(ws)`."""
    async with api.tcp.ws_connect(f"/v1/agents/{name}/stream", autoclose=True) as ws:
        await ws.receive_bytes()
        await send(ws)
        while (message := await ws.receive()).type is not WSMsgType.CLOSE:
            assert message.type is WSMsgType.BINARY, message
        await until(lambda: api.coordinator.links[name].closed)
        return message.data, message.extra


async def test_text_is_refused(api):
    code, reason = await closed_with(api, lambda ws: ws.send_str("hello"))
    assert (code, reason) == (1003, "frames are binary msgpack, not text")


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xc1" * 10, b"\x92\xa3abc\x80", b"\x92\xa6ballot\x80", encode(BALLOT)[:-3], b"\x91" * 9000]
)
async def test_what_is_no_frame_is_refused_with_a_reason(api, data):
    code, reason = await closed_with(api, lambda ws: ws.send_bytes(data))
    assert code == 1007
    assert reason
    assert not api.coordinator.received


async def test_agents_do_not_say_what_coordinators_say(api):
    for frame in (Welcome("c1", ""), Confirm(("chat-z1",))):
        code, reason = await closed_with(api, lambda ws, f=frame: ws.send_bytes(encode(f)))
        assert (code, reason) == (1003, "agents send ballots and heartbeats only")


async def test_an_agent_votes_only_as_itself(api, caplog):
    with caplog.at_level(logging.WARNING):
        code, reason = await closed_with(api, lambda ws: ws.send_bytes(encode(Ballot("a", 1, 1, full=True))))
    assert (code, reason) == (1008, "b cannot speak for a")
    assert not api.coordinator.received
    assert "b cannot speak for a" in caplog.text


async def test_frames_are_bounded(api, monkeypatch):
    monkeypatch.setattr("steerd.api.stream.MAX_FRAME", 1000)
    code, _ = await closed_with(api, lambda ws: ws.send_bytes(b"\x00" * 1001))
    assert code == 1009
    assert not api.coordinator.received


async def test_far_too_large_a_frame_is_not_read_to_its_end(api):
    async with api.tcp.ws_connect("/v1/agents/b/stream") as ws:
        with contextlib.suppress(ConnectionError):  # the coordinator may be gone before all is sent
            await ws.send_bytes(b"\x00" * (MAX_FRAME + 1))
        await until(lambda: api.coordinator.links["b"].closed)
    assert not api.coordinator.received


async def test_the_coordinators_reason_reaches_the_agent(api):
    async def send(ws):
        api.coordinator.links["b"].end("too many frames: over 40 a second")

    assert await closed_with(api, send) == (1008, "too many frames: over 40 a second")


async def test_a_downlink_that_fails_takes_the_stream_with_it(api, caplog):
    async with api.tcp.ws_connect("/v1/agents/b/stream") as ws:
        await ws.receive_bytes()
        with caplog.at_level(logging.ERROR):
            api.coordinator.links["b"].frames.put_nowait("not a frame")
            message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert (message.data, message.extra) == (1011, "the downlink failed")
    await until(lambda: api.coordinator.links["b"].closed)
    assert "KeyError" in caplog.text


async def test_an_agent_that_vanishes_is_forgotten(api):
    async with api.tcp.ws_connect("/v1/agents/b/stream") as ws:
        await ws.receive_bytes()
        ws._response.connection.transport.abort()
        await until(lambda: api.coordinator.links["b"].closed)


async def test_a_stop_says_goodbye_to_agents_and_readers(api):
    async with api.tcp.ws_connect("/v1/agents/b/stream") as ws, api.tcp.get("/v1/events") as events:
        await ws.receive_bytes()
        await events.content.readuntil(b"\n\n")
        await api.server.stop()
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert (message.data, message.extra) == (1001, "the coordinator is stopping")
        assert await events.content.read() == b""
    assert not api.coordinator.subscribers
