"""Who watches a coordinator at work: telemetry implements this, and nothing here depends on it."""

from __future__ import annotations

from typing import Protocol

from steerd.core.effects import Effect
from steerd.core.events import Event

__all__ = ["CoordinatorObserver", "NullObserver"]


class CoordinatorObserver(Protocol):
    """Called in the coordinator's loop: must be quick and must not raise. Durations are seconds."""

    def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
        """The engine took `event` and asked for `effects`."""

    def on_write(self, provider: str, route: str, result: str, duration_s: float) -> None:
        """One `Apply` ended; `result` as in `ApplyFinished`."""

    def on_store(self, op: str, duration_s: float, *, ok: bool) -> None:
        """One store operation ended: persist, note, load, tidy, renew, campaign, history."""

    def on_leader(self, leading: bool, epoch: int) -> None:  # noqa: FBT001  the two facts are always given in order
        """This coordinator won or lost the lead."""


class NullObserver:
    """Watches nothing."""

    def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
        """Ignore."""

    def on_write(self, provider: str, route: str, result: str, duration_s: float) -> None:
        """Ignore."""

    def on_store(self, op: str, duration_s: float, *, ok: bool) -> None:
        """Ignore."""

    def on_leader(self, leading: bool, epoch: int) -> None:  # noqa: FBT001  as in the protocol
        """Ignore."""
