"""What waits for the engine: our own events first, then frames of agents, which are bounded."""

from __future__ import annotations

import asyncio
from collections import deque

from steerd.core.events import BallotReceived, Event

__all__ = ["Inbox"]

MOST_FRAMES = 10_000


class Inbox:
    """Our own events are bounded by the routes, agents and commands there are, so they are always taken."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._frames: deque[Event] = deque()
        self._more = asyncio.Event()

    def post(self, event: Event) -> None:
        """An event of our own making."""
        self._events.append(event)
        self._more.set()

    def offer(self, frame: BallotReceived) -> bool:
        """A frame of an agent; False when too many wait already."""
        if len(self._frames) >= MOST_FRAMES:
            return False
        self._frames.append(frame)
        self._more.set()
        return True

    def take(self) -> Event | None:
        """The next one, or None."""
        queue = self._events or self._frames
        return queue.popleft() if queue else None

    async def wait(self, within_s: float) -> bool:
        """Until something waits, at most `within_s`; whether it does."""
        if not self._events and not self._frames:
            self._more.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._more.wait()
            except TimeoutError:
                return False
        return True
