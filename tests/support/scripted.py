"""A coordinator that says what a test tells it to: for answers that a real one gives only in rare moments.

It is held to the same contract as the real one by tests/api/test_contract.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from steerd.config.secrets import SecretError
from steerd.core.effects import Answer
from steerd.core.events import OperatorCommand
from steerd.model.fleet import Agent, Coordinator, Endpoint, Fleet, Region, Secret, Service
from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome

__all__ = ["ScriptedCoordinator", "ScriptedLink", "small_fleet"]

SECRETS = {"TOKEN_A": "alpha-token"}


def resolve(secret: Secret) -> str:
    """The secrets of `small_fleet`. Raises SecretError for one that is not there."""
    if secret.ref not in SECRETS:
        raise SecretError(f"the environment has no {secret.ref}")
    return SECRETS[secret.ref]


def small_fleet(**changes: Any) -> Fleet:
    """One service in two zones; agent `a` has a token, `b` has none, `lost` one that cannot be read."""
    endpoints = tuple(
        Endpoint(f"chat-{z}", "chat", z, f"http://127.0.0.1:1/{z}", 100.0, address="127.0.0.1") for z in ("z1", "z2")
    )
    facts: dict[str, Any] = {
        "name": "acme",
        "regions": (Region("r1", ("z1", "z2")),),
        "agents": (
            Agent("a", "z1", token=Secret("env", "TOKEN_A")),
            Agent("b", "z2"),
            Agent("lost", "z2", token=Secret("env", "NOT_THERE")),
        ),
        "coordinators": (Coordinator("c1", "r1", "http://steerd.internal:7443"),),
        "services": (Service(name="chat", endpoints=endpoints),),
        "config_hash": "0123456789abcdef",
    }
    return Fleet(**(facts | changes))


class ScriptedLink:
    """The way down to one agent."""

    def __init__(self, first: Welcome) -> None:
        self.frames: asyncio.Queue[Welcome | Confirm | None] = asyncio.Queue()
        self.frames.put_nowait(first)
        self.closed: str | None = None

    async def get(self) -> Welcome | Confirm:
        frame = await self.frames.get()
        if frame is None:
            raise ConnectionError(self.closed)
        return frame

    def end(self, why: str) -> None:
        """The coordinator ends it."""
        self.closed = why
        self.frames.put_nowait(None)

    def close(self) -> None:
        self.closed = self.closed or "the agent left"


class ScriptedCoordinator:
    """Fits `steerd.api.ports.Steering`."""

    def __init__(self, fleet: Fleet | None = None) -> None:
        self.fleet = fleet if fleet is not None else small_fleet()
        self.told: dict[str, Any] = {
            "fleet": self.fleet.name,
            "time": "2030-01-31T09:00:00Z",
            "config_hash": self.fleet.config_hash,
            "leader": {"name": "c1", "epoch": 7},
            "frozen": None,
            "services": {},
            "drains": [],
            "pins": [],
            "agents": {},
            "alerts": [],
        }
        self.says: Answer | None = None
        self.commands: list[OperatorCommand] = []
        self.received: list[Ballot | Heartbeat] = []
        self.links: dict[str, ScriptedLink] = {}
        self.readiness = (True, "leading")
        self.beacons: dict[str, bool] = {"z1": True, "z2": False}
        self.events: list[dict[str, Any]] = [
            {"kind": "drain", "of": "z1", "text": "z1 drained", "at": 1.0, "data": {}},
            {"kind": "restored", "of": "z1", "text": "z1 restored", "at": 2.0, "data": {}},
        ]
        self.subscribers: list[asyncio.Queue[dict[str, Any] | None]] = []

    def status(self) -> dict[str, Any]:
        return self.told

    def explain(self, name: str) -> dict[str, Any]:
        kind = self.fleet.kind_of(name)
        if kind is None:
            raise KeyError(name)
        return {"name": name, "kind": kind, "health": "healthy", "text": [f"{name} is fine"], "voices": []}

    def plan(self) -> dict[str, Any]:
        return {"services": {"chat": {"shares": {}, "routes": [], "vetoes": [], "notes": []}}}

    async def history(self, since: float | None, limit: int) -> list[dict[str, Any]]:
        return [e for e in self.events if since is None or e["at"] >= since][-limit:]

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        mine: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(100)
        self.subscribers.append(mine)
        try:
            while (event := await mine.get()) is not None:
                yield event
        finally:
            self.subscribers.remove(mine)

    def tell(self, event: dict[str, Any] | None) -> None:
        """Something happens."""
        for queue in self.subscribers:
            queue.put_nowait(event)

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def beacon(self, name: str) -> bool | None:
        return self.beacons.get(name)

    async def command(self, command: OperatorCommand) -> Answer:
        self.commands.append(command)
        return self.says or Answer(command.id, "ok", f"{command.verb} {command.name}".strip())

    def receive(self, frame: Ballot | Heartbeat) -> None:
        self.received.append(frame)

    def connect_agent(self, name: str) -> ScriptedLink:
        link = self.links[name] = ScriptedLink(Welcome("c1", self.fleet.config_hash, leading=True))
        return link
