"""What the tests of probes share: one call that looks, and servers that say exactly what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Outcome
from probes.probe import Probe, look_safely
from probes.registry import make
from probes.target import Target
from tests.support.looking import Look
from tests.support.model_server import ModelServer
from tests.support.names import Names, names_served

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def look() -> AsyncIterator[Look]:
    made: dict[str, Probe] = {}

    async def once(
        kind: str,
        url: str,
        settings: Mapping[str, Any] | None = None,
        *,
        layer: str = "liveness",
        within_s: float = 2.0,
        fresh: bool = False,
        address: str | None = None,
        model: str | None = None,
        resolve: Callable[[Any], str] | None = None,
    ) -> Outcome:
        key = repr((kind, layer, settings))
        if key not in made:
            made[key] = make(kind, layer, settings or {}, resolve or _no_secrets)
        target = Target("e1", url, address, model)
        return await look_safely(made[key], target, asyncio.get_running_loop().time() + within_s, fresh=fresh)

    yield once
    for probe in made.values():
        await probe.close()


def _no_secrets(reference: Any) -> str:
    raise AssertionError(f"no secret was expected here, and {reference!r} was asked for")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """`port = await serve(handler)`: a raw TCP server on loopback."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def start(handler: Handler, **options: Any) -> int:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(run, "127.0.0.1", 0, **options)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def answer(serve: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[str]]:
    """`url = await answer(b"HTTP/1.1 200 OK...")`: every request gets these bytes, then the connection closes."""

    async def start(data: bytes, **options: Any) -> str:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        return f"http://127.0.0.1:{await serve(handler, **options)}"

    return start


@pytest.fixture
async def site() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """`url = await site({"/path": handler})`: an aiohttp server on loopback."""
    runners: list[web.AppRunner] = []

    async def start(routes: Mapping[str, Any], **options: Any) -> str:
        app = web.Application()
        for path, handler in routes.items():
            app.router.add_route("*", path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, **options).start()
        scheme = "https" if "ssl_context" in options else "http"
        return f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(scope="module")
def server_process() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def model_server(server_process: ModelServer) -> ModelServer:
    """A healthy model server; one process serves a whole module."""
    if not server_process.alive:
        server_process.restart()
    server_process.mode("healthy")
    return server_process


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    async with names_served() as found:
        yield found
