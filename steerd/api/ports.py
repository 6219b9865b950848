"""What the API needs of the rest of the house, as protocols: it shows and passes on, and decides nothing.

`Steering` is the coordinator's face. Its dicts have the shapes of the design's interface page, with times as seconds since
the Unix epoch: the API makes them ISO 8601.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from steerd.core.effects import Answer
from steerd.core.events import OperatorCommand
from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome

__all__ = ["Downlink", "Metrics", "Steering"]


class Downlink(Protocol):
    """Frames for one connected agent."""

    @property
    def closed(self) -> str | None:
        """Why the coordinator ended the stream, once it has."""

    async def get(self) -> Welcome | Confirm:
        """The next frame to send down. Raises ConnectionError once the stream has ended."""

    def close(self) -> None:
        """The stream ended; the coordinator forgets it."""


class Steering(Protocol):
    """A coordinator, as far as the API goes."""

    def status(self) -> dict[str, Any]: ...

    def explain(self, name: str) -> dict[str, Any]:
        """Raises KeyError for a name the fleet does not know."""

    def plan(self) -> dict[str, Any]: ...

    async def history(self, since: float | None, limit: int) -> list[dict[str, Any]]:
        """Newest last; `since` in seconds of the epoch. Raises `StoreError`."""

    def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """What happens from now on. Bounded: a reader that is too slow loses events and is told how many."""

    def ready(self) -> tuple[bool, str]: ...

    def beacon(self, name: str) -> bool | None:
        """Whether steerd wants `name` in service; None for an unknown name."""

    async def command(self, command: OperatorCommand) -> Answer:
        """Answers within a bounded time: ok, vetoed, invalid, not-leading or not-persisted."""

    def receive(self, frame: Ballot | Heartbeat) -> None: ...

    def connect_agent(self, name: str) -> Downlink: ...


class Metrics(Protocol):
    """The OpenTelemetry meters, as Prometheus reads them."""

    async def scrape(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
