"""Real things around an agent under test: a WebSocket server that listens as a coordinator does, targets, a small fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from steerd.agent.agent import Agent
from steerd.agent.observer import AgentObserver
from steerd.agent.stream import Timing
from steerd.model.fleet import Agent as AgentConfig
from steerd.model.fleet import Check, Coordinator, Endpoint, Fleet, Region, Secret, Service
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, Confirm, Heartbeat, Vote, Welcome
from steerd.wire import MAX_FRAME, decode, encode

__all__ = ["QUICK", "Listener", "Targets", "make_fleet", "running", "secret"]

QUICK = Timing(first_retry_s=0.02, max_retry_s=0.1, refused_s=0.1, steady_s=0.0)


def secret(reference: Secret) -> str:
    """A resolver whose secrets are their own names."""
    return f"value-of-{reference.ref}"


@dataclass
class Listener:
    """A coordinator's side of the stream. `answer` refuses the handshake with that status; `greet` sends the welcome;
    `reads` False leaves frames in the socket."""

    name: str = "co1"
    answer: int = 101
    greet: bool = True
    frames: list[Ballot | Heartbeat] = field(default_factory=list)
    sessions: int = 0
    livez: int = 0
    authorizations: list[str | None] = field(default_factory=list)
    port: int = 0
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    _sockets: set[web.WebSocketResponse] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Listener]:
        """Listens until the end of the block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listens on `port`, or on a free one the first time."""
        app = web.Application()
        app.router.add_get("/v1/agents/{agent}/stream", self._stream)
        app.router.add_get("/livez", self._livez)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.reads.set()

    async def stop(self) -> None:
        """Closes everything; `start` listens on the same port again."""
        self.reads.set()
        for socket in list(self._sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connected(self) -> int:
        """Streams open now."""
        return len(self._sockets)

    @property
    def ballots(self) -> list[Ballot]:
        return [f for f in self.frames if isinstance(f, Ballot)]

    @property
    def fulls(self) -> list[Ballot]:
        return [b for b in self.ballots if b.full]

    @property
    def votes(self) -> dict[str, Vote]:
        """The newest vote on each endpoint."""
        return {vote.endpoint: vote for ballot in self.ballots for vote in ballot.votes}

    async def say(self, data: bytes) -> None:
        """Sends raw bytes to every agent connected."""
        for socket in list(self._sockets):
            await socket.send_bytes(data)

    async def close(self, code: int, message: bytes) -> None:
        """Closes every stream in order, with a reason."""
        for socket in list(self._sockets):
            await socket.close(code=code, message=message)

    def drop(self) -> None:
        """Every connection breaks off, as when the process dies."""
        for socket in list(self._sockets):
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.abort()

    async def confirm(self, *endpoints: str) -> None:
        await self.say(encode(Confirm(endpoints)))

    async def _livez(self, request: web.Request) -> web.Response:
        self.livez += 1
        return web.Response(text="ok")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        if self.answer != 101:
            return web.Response(status=self.answer)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, timeout=0.2)
        await socket.prepare(request)
        self.sessions += 1
        self._sockets.add(socket)
        try:
            if self.greet:
                await socket.send_bytes(encode(Welcome(self.name, "hash")))
            await self.reads.wait()
            async for message in socket:
                frame = decode(message.data)
                assert isinstance(frame, Ballot | Heartbeat)
                self.frames.append(frame)
                await self.reads.wait()
        finally:
            self._sockets.discard(socket)
        return socket


class Targets:
    """One HTTP server with a path per endpoint: `status` answers it, `hang` never does, `delay_s` waits first.
    `hits` counts requests."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.hits: dict[str, int] = {}
        self.hang: set[str] = set()
        self.delay_s: dict[str, float] = {}
        self.url = ""
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Targets]:
        app = web.Application()
        app.router.add_get("/{name}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self._closing.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.hits[name] = self.hits.get(name, 0) + 1
        wait_s = None if name in self.hang else self.delay_s.get(name, 0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closing.wait()
        return web.Response(status=self.status.get(name, 200))


def make_fleet(
    targets: str,
    coordinators: dict[str, str],
    *,
    endpoints: tuple[str, ...] = ("e1", "e2"),
    interval_s: float = 0.1,
    references: tuple[str, ...] = (),
    token: Secret | None = None,
    config_hash: str = "hash",
) -> Fleet:
    """One agent `a1`, one service, an HTTP liveness check on each endpoint of `targets`."""
    check = Check("liveness", Layer.LIVENESS, "http", interval_s, min(1.0, interval_s), {})
    return Fleet(
        name="test",
        regions=(Region("r1", ("z1", "z2")),),
        agents=(AgentConfig("a1", "z1", token=token),),
        coordinators=tuple(Coordinator(name, "r1", url) for name, url in coordinators.items()),
        references=references,
        services=(
            Service(
                name="chat",
                checks=(check,),
                endpoints=tuple(Endpoint(e, "chat", "z1", f"{targets}/{e}", 1.0) for e in endpoints),
            ),
        ),
        verdict=VerdictRules(confirm_gap_s=0.02),
        config_hash=config_hash,
    )


@asynccontextmanager
async def running(
    fleet: Fleet,
    observer: AgentObserver | None = None,
    resolve: Callable[[Secret], str] = secret,
    timing: Timing = QUICK,
) -> AsyncIterator[Agent]:
    """The fleet's agent `a1` at work; stopped at the end, where whatever it died of is raised."""
    agent = Agent(fleet, "a1", resolve=resolve, observer=observer, timing=timing)
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 5.0)
