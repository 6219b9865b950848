"""A coordinator that answers the CLI: the real API over a scripted coordinator, on a loop of its own in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from steerd.api.app import make_app
from steerd.api.auth import Auth
from steerd.api.server import ApiServer
from steerd.cli.main import cli
from steerd.model.fleet import Listen
from tests.support.scripted import ScriptedCoordinator, resolve

GOLDEN = Path(__file__).parent / "golden"


@dataclass
class Served:
    """`run` calls a verb against the coordinator; `coordinator` says what it is told to."""

    coordinator: ScriptedCoordinator
    socket: str
    url: str
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *args: str, env: dict[str, str] | None = None) -> Result:
        return CliRunner(env={"STEERD_SOCKET": self.socket} | (env or {})).invoke(cli, list(args))

    def tell(self, golden: str) -> dict[str, Any]:
        """From now on the status is the one of a golden file."""
        self.coordinator.told = json.loads((GOLDEN / f"status-{golden}.json").read_text())
        return self.coordinator.told


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    coordinator = ScriptedCoordinator()
    path = tmp_path / "steerd.sock"
    ready, ended = threading.Event(), asyncio.Event()
    made: dict[str, Any] = {}

    async def serve() -> None:
        app = make_app(coordinator, auth=Auth(lambda: coordinator.fleet, resolve))
        server = ApiServer(app, Listen(port=0, socket=str(path)))
        await server.start()
        made.update(loop=asyncio.get_running_loop(), port=server.port)
        ready.set()
        await ended.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield Served(coordinator, str(path), f"http://127.0.0.1:{made['port']}")
    made["loop"].call_soon_threadsafe(ended.set)
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def no_coordinator_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test meets a coordinator it did not start."""
    for name in ("STEERD_URL", "STEERD_SOCKET", "STEERD_CONFIG", "STEERD_AGENT", "STEERD_COORDINATOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("steerd.cli.client._DEFAULT", str(tmp_path / "no-default.sock"))
