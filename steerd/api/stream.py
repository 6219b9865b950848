"""`/v1/agents/{name}/stream`: ballots and heartbeats up, welcome and confirm-now down, one WebSocket an agent.

Frames are those of `steerd.wire`. A stream is closed, with its reason in the close frame, when the agent sends what is
not a frame (1003, 1007) or too large a one (1009) or speaks for another agent (1008), when the coordinator ends it (1008:
too fast, gone from the config, replaced by a newer stream), and when the coordinator stops (1001).
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import WSCloseCode, WSMsgType, web

from steerd.api.keys import AUTH, LIVE, STEERING
from steerd.api.ports import Downlink, Steering
from steerd.api.problems import Problem
from steerd.model.vote import Ballot, Heartbeat
from steerd.wire import MAX_FRAME, BadFrame, decode, encode

__all__ = ["PING_EVERY_S", "stream"]

log = logging.getLogger(__name__)

PING_EVERY_S = 15.0
"""A peer that answers no ping for half of this is gone."""


async def stream(request: web.Request) -> web.StreamResponse:
    """Serve one agent until it leaves."""
    name = request.match_info["name"]
    request.app[AUTH].agent(request, name)
    live = request.app[LIVE]
    if live.stopping:
        raise Problem(503, "This coordinator is stopping.", headers={"Retry-After": "2"})
    socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, heartbeat=PING_EVERY_S, compress=False, timeout=2.0)
    if not socket.can_prepare(request).ok:
        raise Problem(426, "This path is a WebSocket: ask for an upgrade.", headers={"Upgrade": "websocket"})
    await socket.prepare(request)
    steering = request.app[STEERING]
    link = steering.connect_agent(name)
    live.closers[socket] = lambda: socket.close(code=WSCloseCode.GOING_AWAY, message=b"the coordinator is stopping")
    down = asyncio.create_task(_down(socket, link), name=f"downlink {name}")
    log.info("agent %s connected from %s", name, request.remote or "the Unix socket")
    try:
        why = await _up(socket, steering, name)
        if why is not None:
            code, text = why
            log.warning("agent %s was cut off: %s", name, text)
            await socket.close(code=code, message=_reason(text))
    finally:
        live.closers.pop(socket, None)
        link.close()
        down.cancel()
        await asyncio.gather(down, return_exceptions=True)
        log.info("agent %s left", name)
    return socket


async def _up(socket: web.WebSocketResponse, steering: Steering, name: str) -> tuple[WSCloseCode, str] | None:
    """Hand frames on until the stream ends; the close code and reason when it is for us to end it."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            return WSCloseCode.UNSUPPORTED_DATA, "frames are binary msgpack, not text"
        if message.type is not WSMsgType.BINARY:
            continue
        try:
            frame = decode(message.data)
        except BadFrame as error:
            return WSCloseCode.INVALID_TEXT, str(error)
        if not isinstance(frame, Ballot | Heartbeat):
            return WSCloseCode.UNSUPPORTED_DATA, "agents send ballots and heartbeats only"
        if frame.agent != name:
            return WSCloseCode.POLICY_VIOLATION, f"{name} cannot speak for {frame.agent}"
        steering.receive(frame)
    return None


async def _down(socket: web.WebSocketResponse, link: Downlink) -> None:
    """Send what the coordinator asks of this agent. When this fails the stream is closed: half a stream is none."""
    try:
        while True:
            await socket.send_bytes(encode(await link.get()))
    except ConnectionError:
        # Either the agent is gone, or the coordinator has ended the stream and says why.
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=_reason(link.closed or ""))
    except Exception:
        log.exception("the downlink of an agent failed")
        await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=b"the downlink failed")


def _reason(text: str) -> bytes:
    """A close frame holds at most 123 bytes of whole characters."""
    return text.encode()[:123].decode(errors="ignore").encode()
