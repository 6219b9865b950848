"""A running API over a scripted coordinator, on an ephemeral loopback port and a Unix socket in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from steerd.api.app import make_app
from steerd.api.auth import Auth
from steerd.api.server import ApiServer
from steerd.model.fleet import Listen
from tests.support.scripted import ScriptedCoordinator, resolve


class FixedMeters:
    """Meters with one number."""

    async def scrape(self) -> tuple[bytes, str]:
        return b"steerd_leader 1\n", "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Running:
    """An API that answers: `tcp` and `unix` are sessions of the two ways in."""

    coordinator: ScriptedCoordinator
    server: ApiServer
    tcp: aiohttp.ClientSession
    unix: aiohttp.ClientSession
    accepts: list[str | None]

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/v1/agents"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Running]:
    coordinator = ScriptedCoordinator()
    accepts: list[str | None] = [None]

    async def accept() -> str | None:
        return accepts[-1]

    auth = Auth(lambda: coordinator.fleet, resolve)
    app = make_app(coordinator, auth=auth, meters=FixedMeters(), accept=accept)
    server = ApiServer(app, Listen(port=0, socket=str(tmp_path / "s.sock")))
    await server.start()
    connector = aiohttp.UnixConnector(str(server.socket_path))
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as tcp,
        aiohttp.ClientSession("http://localhost", connector=connector) as unix,
    ):
        yield Running(coordinator, server, tcp, unix, accepts)
    await server.stop()
