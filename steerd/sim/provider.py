"""Simulated traffic systems: the memory twin with the capabilities of the configured kind, behind a network and its faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from steerd.model.fleet import Fleet
from steerd.model.route import Capabilities, Observed, Route
from steerd.providers import registry
from steerd.providers.base import Change, Receipt, Refused, Throttled, Unreachable, Verified
from steerd.providers.memory import Memory, Record, System
from steerd.sim.network import Network

__all__ = ["Far", "SimProvider", "Watcher", "capabilities_of"]

_CALL_S = 0.05


@dataclass(slots=True)
class Far:
    """One traffic system, and what is wrong with it now. `writes` counts those it accepted from steerd."""

    name: str
    capabilities: Capabilities
    system: System = field(default_factory=System)
    errors: list[float] = field(default_factory=list)
    throttled: int = 0
    losing_answers: int = 0
    writes: int = 0


class Watcher(Protocol):
    """Sees every call of a provider by a coordinator."""

    def calling(self, client: str, far: Far, seconds: float) -> None:
        """A call starts; it must end within `seconds`."""

    def about_to_write(self, client: str) -> bool:
        """Between read and write. True when the client is stopped right here."""

    def wrote(self, client: str, far: Far, name: str, before: Record | None, after: Record) -> None:
        """The system took a write."""


def capabilities_of(fleet: Fleet) -> dict[str, Capabilities]:
    """Provider name -> what it can express."""
    return {p.name: registry.capabilities_of(p) for p in fleet.providers}


class SimProvider(Memory):
    """The provider of one coordinator, called `client`, on the system `far`."""

    def __init__(self, client: str, far: Far, network: Network, watcher: Watcher, rng: Random) -> None:
        super().__init__(far.system, far.capabilities)
        self._client, self._far, self._network, self._watcher, self._rng = client, far, network, watcher, rng

    async def read(self, route: Route, deadline: float) -> Observed:
        """What the record holds."""
        await self._call(deadline)
        return await super().read(route, deadline)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Replace the record."""
        await self._call(deadline)
        if self._watcher.about_to_write(self._client):
            await asyncio.sleep(0)  # the process stands still here, its write in hand
        name = change.payload.name
        before, count = self.system.records.get(name), len(self.system.log)
        try:
            receipt = await super().apply(change, deadline)
        finally:
            if len(self.system.log) > count:
                self._far.writes += 1
                self._watcher.wrote(self._client, self._far, name, before, self.system.records[name])
        back = self._network.path(self._far.name, self._client)
        if self._far.losing_answers or back.cut:
            await self._hang(deadline)
        return receipt

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back (through `read`, faults included)."""
        return await super().verify(route, change, deadline)

    async def _call(self, deadline: float) -> None:
        """The way there, and what the system says to any call now."""
        left_s = deadline - asyncio.get_running_loop().time()
        self._watcher.calling(self._client, self._far, left_s)
        trip = self._network.trip(self._client, self._far.name)
        there = self._network.path(self._client, self._far.name)
        if there.cut or (trip.loss > 0.0 and self._rng.random() < trip.loss):
            await self._hang(deadline)
        await asyncio.sleep(_CALL_S + trip.latency_s)
        if self._far.throttled:
            raise Throttled(f"{self._far.name}: rate exceeded")
        if any(self._rng.random() < rate for rate in self._far.errors):
            raise Refused(f"{self._far.name}: status 503")

    async def _hang(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
        raise Unreachable(f"{self._far.name}: no answer in time")
