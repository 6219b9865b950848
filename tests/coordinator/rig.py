"""A coordinator in virtual time with its real engine, the memory twins of store and provider, and agents that vote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from steerd.coordinator.coordinator import Coordinator
from steerd.coordinator.ring import Ring
from steerd.model.fleet import Fleet
from steerd.model.route import Member
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, CheckCounts, Verdict, Vote
from steerd.providers.base import Provider
from steerd.providers.memory import Memory, Record, System
from steerd.stores.base import Store
from steerd.stores.memory import MemoryData, MemoryStore
from tests.support.fleets import make_fleet

__all__ = ["EPOCH_S", "Agents", "Rig", "VirtualClock", "served", "vote"]

EPOCH_S = 1_700_000_000.0
"""What the steady clock says when the loop's says 0."""


class VirtualClock:
    """Steady time that follows the running (virtual) loop; `skew` is moved by tests that suspend the machine."""

    def __init__(self) -> None:
        self.skew = 0.0

    def now(self) -> float:
        return EPOCH_S + asyncio.get_running_loop().time() + self.skew

    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


def vote(endpoint: str, sequence: int, *, down: bool) -> Vote:
    """A vote as an agent sends it: healthy, or refused three times in a row."""
    counts = (CheckCounts("liveness", 100, 0),)
    if not down:
        return Vote(endpoint, Verdict.HEALTHY, sequence, counts=counts)
    return Vote(
        endpoint, Verdict.UNHEALTHY, sequence, Layer.LIVENESS, "liveness", "connection refused",
        transport=True, all_failed=True, counts=counts,
    )  # fmt: skip


@dataclass
class Agents:
    """All agents of a fleet, in step: each sends a full ballot every second, as the world stands in `down`."""

    fleet: Fleet
    down: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    number: int = 0

    async def run(self, *coordinators: Coordinator) -> None:
        """Until cancelled."""
        while True:
            self.send(*coordinators)
            await asyncio.sleep(1.0)

    def send(self, *coordinators: Coordinator) -> None:
        """One ballot of each."""
        self.number += 1
        for agent in self.fleet.agents:
            if agent.name in self.silent:
                continue
            votes = tuple(vote(e, self.number, down=e in self.down) for e in self.fleet.endpoint_by_name)
            ballot = Ballot(agent.name, 1, self.number, True, votes, config_hash=self.fleet.config_hash)
            for coordinator in coordinators:
                coordinator.receive(ballot)


def served(system: System, name: str = "chat.test") -> set[str]:
    """Targets with a weight at `name`."""
    record = system.records.get(name)
    return {t for t, m in record.members.items() if m.weight > 0} if record else set()


@dataclass
class Rig:
    """Everything one coordinator stands on; survives it."""

    fleet: Fleet = field(default_factory=lambda: make_fleet({"eu": 3, "us": 3}))
    system: System = field(default_factory=System)
    clock: VirtualClock = field(default_factory=VirtualClock)
    data: MemoryData = field(init=False)
    agents: Agents = field(init=False)

    def __post_init__(self) -> None:
        self.data = MemoryData(self.clock.now)
        self.agents = Agents(self.fleet)

    def publish(self) -> None:
        """What the record serves before steerd comes: every endpoint with the same weight."""
        members = {
            t.key: Member(t.key, 100, t.values_for(frozenset(t.endpoints)))
            for r in self.fleet.route_by_key.values()
            for t in r.targets
        }
        self.system.records["chat.test"] = Record(members, 30.0)

    def make(
        self,
        name: str = "co",
        *,
        store: Store | None = None,
        providers: Mapping[str, Provider] | None = None,
        **more: Any,
    ) -> Coordinator:
        """A coordinator, not running yet."""
        return Coordinator(
            self.fleet,
            name,
            store=store or MemoryStore(self.data),
            providers={"dns": Memory(self.system)} if providers is None else providers,
            clock=self.clock,
            **more,
        )

    @asynccontextmanager
    async def running(
        self, coordinator: Coordinator | None = None, *, ring: Ring | None = None
    ) -> AsyncIterator[Coordinator]:
        """Run it with voting agents, and stop it cleanly at the end; what it raises comes out here."""
        made = coordinator or self.make(ring=ring)
        stop = asyncio.Event()
        run = asyncio.ensure_future(made.run(stop))
        votes = asyncio.ensure_future(self.agents.run(made))
        try:
            yield made
        finally:
            stop.set()
            votes.cancel()
            await asyncio.gather(votes, return_exceptions=True)
            await run


async def kill(run: asyncio.Future[Any], votes: asyncio.Future[Any] | None = None) -> None:
    """End a coordinator as a crash would: no handover."""
    for task in (run, votes):
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Condition = Callable[[], object]
