"""The scene: what faults act upon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from steerd.model.fleet import Fleet
from steerd.sim.agent import SimAgent
from steerd.sim.kernel import Kernel
from steerd.sim.network import Network
from steerd.sim.process import CoordinatorProcess
from steerd.sim.provider import Far
from steerd.sim.scenario import Fault
from steerd.sim.store import Weather
from steerd.sim.targets import Target

__all__ = ["Scene"]


class Scene(Protocol):
    """What faults act upon."""

    fleet: Fleet
    kernel: Kernel
    network: Network
    targets: dict[str, Target]
    agents: dict[str, SimAgent]
    processes: dict[str, CoordinatorProcess]
    fars: dict[str, Far]
    weather: Weather

    def leader(self) -> str:
        """Who leads now, or led last."""

    def when_applying(self, coordinator: str, then: Callable[[], None]) -> None:
        """Call `then` right before that coordinator's next write."""

    def said(self, kind: str, of: str, text: str) -> None:
        """A line of the timeline."""

    def edited(self) -> None:
        """Somebody changed what a provider serves."""

    def operate(self, fault: Fault) -> None:
        """An operator's command."""

    def demand(self, service: str, value: float | None) -> None:
        """A service's demand changed; None: it is the configured one again."""

    def reload(self, fleet: Fleet) -> None:
        """A new config for everybody."""
