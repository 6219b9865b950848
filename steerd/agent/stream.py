"""The WebSocket to one coordinator: ballots and heartbeats up, *confirm now* down, reconnecting for ever.

A stream holds no truth: everything it carries can be made again as a full ballot, so it may drop what it queued at any
time. It sends one when it connects, and when the other side reads too slowly for the bounded queue.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from steerd.model.vote import Confirm, Welcome
from steerd.wire import MAX_FRAME, BadFrame, decode

__all__ = ["CoordinatorStream", "Outbox", "StreamContext", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `refused_s`: how long to wait after a coordinator that will not have this agent."""

    connect_s: float = 5.0
    welcome_s: float = 5.0
    send_s: float = 10.0
    ping_s: float = 10.0
    close_s: float = 0.5
    first_retry_s: float = 0.2
    max_retry_s: float = 10.0
    steady_s: float = 5.0
    refused_s: float = 30.0


_ENDS = frozenset({aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED})
_MAX_BAD_FRAMES = 10
"""Frames of one session that may be unreadable (a newer coordinator's) before the stream starts over."""


class Outbox:
    """Encoded frames on their way, at most `max_frames` and `max_bytes` of them.

    When it runs over, all of them give way to one full ballot, made when it can be sent.
    """

    def __init__(self, max_frames: int = 256, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._ready = asyncio.Event()
        self.wants_full = False

    def put(self, data: bytes) -> bool:
        """Queues one frame. False when it ran over and the queue was dropped."""
        if self.wants_full:
            return True  # the full ballot to come holds what this frame says
        if len(self._frames) >= self._max_frames or self._bytes + len(data) > self._max_bytes:
            self.ask_full()
            return False
        self._frames.append(data)
        self._bytes += len(data)
        self._ready.set()
        return True

    def ask_full(self) -> None:
        """Drops what is queued: a full ballot goes out next."""
        self._frames.clear()
        self._bytes = 0
        self.wants_full = True
        self._ready.set()

    async def take(self, full: Callable[[], bytes]) -> bytes:
        """The next frame to send; waits for one. `full` makes a full ballot."""
        await self._ready.wait()
        if self.wants_full:
            data = full()
            self.wants_full = False
        else:
            data = self._frames.popleft()
            self._bytes -= len(data)
        if not self._frames:
            self._ready.clear()
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContext:
    """What streams share. `token` reads this agent's bearer token (None without one), `full` makes the frame of a full ballot,
    `outrank` takes the incarnation that a coordinator has seen, `asked` takes a *confirm now*, `told` hears (coordinator,
    state, text) of every change."""

    agent: str
    session: aiohttp.ClientSession
    token: Callable[[], str | None]
    full: Callable[[], bytes]
    outrank: Callable[[int], None]
    asked: Callable[[Confirm], None]
    told: Callable[[str, str, str], None]
    tls: ssl.SSLContext | None = None
    timing: Timing = Timing()


class _RefusedError(Exception):
    """The coordinator will not have this agent, or its token cannot be read: a human has to act."""


class CoordinatorStream:
    """One coordinator's stream. `run` keeps it up; `offer` sends a frame if it is up, and forgets it if not."""

    def __init__(self, name: str, url: str, context: StreamContext) -> None:
        self.name = name
        self.url = url
        self.state = "connecting"
        self.text = ""
        self.leading = False
        self.config_hash = ""
        self._context = context
        self._outbox = Outbox()
        self._farewell = ""

    def offer(self, data: bytes) -> None:
        """Sends an encoded frame, if connected. A coordinator that is not gets a full ballot when it is back."""
        if self.state == "connected" and not self._outbox.put(data):
            self._context.told(self.name, "overflow", f"{self.name} reads too slowly: a full ballot replaces the queue")

    def ask_full(self) -> None:
        """The next frame is a full ballot."""
        if self.state == "connected":
            self._outbox.ask_full()

    async def run(self) -> None:
        """Connects, again and again, until cancelled."""
        loop, timing, failures = asyncio.get_running_loop(), self._context.timing, 0
        while True:
            self._become("connecting", "")
            connected_at: float | None = None
            retry_s: float | None = None
            try:
                async with asyncio.timeout(timing.connect_s):
                    socket = await self._connect()
                self._farewell = ""
                try:
                    await self._greet(socket)
                    connected_at = loop.time()
                    await self._talk(socket)
                    self._become("disconnected", self._why_closed(socket.close_code))
                finally:
                    await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
            except _RefusedError as refused:
                retry_s = timing.refused_s
                self._become("refused", str(refused))
            except (aiohttp.ClientError, OSError, TimeoutError, BadFrame) as error:
                self._become("disconnected", f"{self.url}: {_words(error)}")
            if connected_at is not None and loop.time() - connected_at >= timing.steady_s:
                failures = 0
            await asyncio.sleep(self._pause_s(failures) if retry_s is None else retry_s * _jitter())
            failures += 1

    def _pause_s(self, failures: int) -> float:
        timing = self._context.timing
        # The first retry is quick: most losses are a restart of the other side. Jitter keeps a fleet from coming at
        # once.
        return min(timing.max_retry_s, timing.first_retry_s * 2.0 ** min(failures, 16)) * _jitter()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        context = self._context
        try:
            token = context.token()
        except Exception as error:  # a resolver may raise anything; whatever it is, the token cannot be read
            raise _RefusedError(f"the token of agent {context.agent} cannot be read: {error}") from error
        try:
            return await context.session.ws_connect(
                f"{self.url.rstrip('/')}/v1/agents/{context.agent}/stream",
                headers={"Authorization": f"Bearer {token}"} if token is not None else None,
                max_msg_size=MAX_FRAME,
                heartbeat=context.timing.ping_s,
                timeout=aiohttp.ClientWSTimeout(ws_close=context.timing.close_s),
                ssl=context.tls if context.tls is not None else True,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error, self.name, context.agent) from error

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Waits for the Welcome, which a full ballot answers."""
        async with asyncio.timeout(self._context.timing.welcome_s):
            message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise BadFrame(f"a welcome frame should come first, got {message.type.name} (code {socket.close_code})")
        frame = decode(message.data)
        if not isinstance(frame, Welcome):
            raise BadFrame(f"a welcome frame should come first, got {type(frame).__name__}")
        self.leading, self.config_hash = frame.leading, frame.config_hash
        self._become("connected", "")
        self._context.outrank(frame.incarnation)
        self._outbox.ask_full()

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Sends and receives until either ends."""
        tasks = {asyncio.create_task(self._send(socket)), asyncio.create_task(self._receive(socket))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            data = await self._outbox.take(self._context.full)
            async with asyncio.timeout(self._context.timing.send_s):
                await socket.send_bytes(data)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        bad = 0
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                self._farewell = str(message.extra or "")
            if message.type in _ENDS:
                return
            if message.type is aiohttp.WSMsgType.ERROR:
                raise socket.exception() or BadFrame("the stream broke")
            try:
                self._take(message)
            except BadFrame as error:
                bad += 1
                if bad >= _MAX_BAD_FRAMES:
                    raise
                self._context.told(self.name, "bad-frame", str(error))

    def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise BadFrame(f"{message.type.name} is no frame of ours")
        frame = decode(message.data)
        if isinstance(frame, Confirm):
            self._context.asked(frame)
        elif isinstance(frame, Welcome):
            self.leading, self.config_hash = frame.leading, frame.config_hash
        else:
            raise BadFrame(f"{type(frame).__name__} goes up, not down")

    def _why_closed(self, code: int | None) -> str:
        if self._farewell:
            return f"{self.name} closed the stream: {self._farewell}"
        if code in {None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE}:
            return f"the stream to {self.name} broke off: it died, or does not answer"
        return f"{self.name} closed the stream (code {code})"

    def _become(self, state: str, text: str) -> None:
        if (state, text) != (self.state, self.text) or state == "connected":
            self.state, self.text = state, text
            self._context.told(self.name, state, text)


def _refusal(error: aiohttp.WSServerHandshakeError, coordinator: str, agent: str) -> Exception:
    """What a failed handshake means, with what to do where a human has to."""
    if error.status in {401, 403}:
        return _RefusedError(
            f"{coordinator} refused agent {agent} (HTTP {error.status}): check that `agents.{agent}.token` of the"
            " config is the same here and there, and that the certificate, if one is used, names this agent"
        )
    if error.status == 404:
        return _RefusedError(
            f"{coordinator} knows no agent {agent} (HTTP 404): is its config the same as this agent's, and is"
            f" `coordinators.{coordinator}.url` the address of a steerd coordinator?"
        )
    return error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"  # asyncio's own says nothing
    return str(error) or type(error).__name__


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret
