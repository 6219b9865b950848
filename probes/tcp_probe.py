"""`tcp`: a connection can be made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.address import AddressSettings
from probes.addresses import at_each
from probes.clock import StageClock
from probes.dial import connected
from probes.guard import guarded, result
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number
from probes.target import Target

__all__ = ["TcpProbe", "build"]


class TcpProbe:
    """See the module's text. Every look is a connection of its own, closed at once."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any]) -> None:
        self.layer = layer
        self._address = AddressSettings.of(settings)
        self._slow_s = number(settings, "slow")

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Connect once. See `probes.probe.Probe`."""

        async def ask(at: str | None) -> Outcome:
            clock = StageClock()
            return await guarded(self.layer, deadline, clock, self._connect(target, at, clock))

        return await at_each(self.layer, self._address.name_of(target), deadline, ask)

    async def close(self) -> None:
        """Nothing is kept."""

    async def _connect(self, target: Target, at: str | None, clock: StageClock) -> Outcome:
        async with connected(self._address.of_target(target, at=at), clock):
            if self._slow_s is not None and clock.elapsed_s > self._slow_s:
                return result(Status.SLOW, self.layer, clock, f"slower than {self._slow_s:g} s")
            return result(Status.PASS, self.layer, clock)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> TcpProbe:  # noqa: ARG001 - has no secrets
    """See `probes.registry.make`."""
    return TcpProbe(layer, settings)
