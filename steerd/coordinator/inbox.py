"""What waits for the engine: our own events first, then frames of agents, which are bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from steerd.core.events import BallotReceived, Event

__all__ = ["Inbox"]

MOST_FRAMES = 10_000


class Inbox:
    """Our own events are bounded by the routes, agents and commands there are, so they are always taken."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._frames: deque[Event] = deque()
        self._waiter: asyncio.Future[bool] | None = None

    def post(self, event: Event) -> None:
        """An event of our own making."""
        self._events.append(event)
        self._wake()

    def offer(self, frame: BallotReceived) -> bool:
        """A frame of an agent; False when too many wait already."""
        if len(self._frames) >= MOST_FRAMES:
            return False
        self._frames.append(frame)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._waiter is not None:
            _tell(self._waiter, something=True)

    def take(self) -> Event:
        """The next one. Raises IndexError when nothing waits."""
        return (self._events or self._frames).popleft()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._events) + len(self._frames)

    async def wait(self, within_s: float) -> bool:
        """Until something waits, at most `within_s`; whether it does. One task at a time.

        This is what the loop does between any two frames: a future and a timer cost a third of `asyncio.timeout` with an `Event`.
        """
        if self._events or self._frames:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(within_s, partial(_tell, waiter, something=False))
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _tell(waiter: asyncio.Future[bool], *, something: bool) -> None:
    if not waiter.done():
        waiter.set_result(something)
