"""What happens, for everybody who listens: bounded per reader, and a reader who lost events is told how many."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from weakref import WeakSet

__all__ = ["Feed", "Reader"]

WAITING = 1000


class Reader:
    """An async iterator of events; ends when the feed does or `aclose` is called."""

    def __init__(self, *, ended: bool) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._more = asyncio.Event()
        self._lost = 0
        self._ended = ended

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                return {
                    "kind": "lost",
                    "of": "",
                    "text": f"{lost} events were lost: this reader is too slow",
                    "lost": lost,
                }
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()

    async def aclose(self) -> None:
        """No more events; safe to call twice."""
        self.end()

    def push(self, event: dict[str, Any]) -> None:
        """Hand an event on, dropping the oldest when the reader is behind."""
        if self._ended:
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        self._more.set()

    def end(self) -> None:
        """What waits can still be read, then the iteration ends."""
        self._ended = True
        self._more.set()


class Feed:
    """Fan-out. A reader nobody holds any more is forgotten."""

    def __init__(self) -> None:
        self._readers: WeakSet[Reader] = WeakSet()
        self._ended = False

    def subscribe(self) -> Reader:
        """A reader of all events from now on."""
        reader = Reader(ended=self._ended)
        self._readers.add(reader)
        return reader

    @property
    def heard(self) -> bool:
        """True while somebody listens."""
        return len(self._readers) > 0

    def push(self, event: dict[str, Any]) -> None:
        """Tell every reader."""
        for reader in list(self._readers):
            reader.push(event)

    def end(self) -> None:
        """Every reader's iteration ends."""
        self._ended = True
        for reader in list(self._readers):
            reader.end()
