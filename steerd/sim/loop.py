"""One process's event loop in virtual time: it runs until nothing is left to do at this instant, and says when it wants on.

Each simulated process has a loop of its own, so that one can be paused, suspended or killed while the others go on.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

__all__ = ["ProcessLoop"]


class _NoFiles(selectors.BaseSelector):
    """A selector without files: where a real one would wait, the loop is told to stop."""

    def __init__(self) -> None:
        self.keys: dict[Any, selectors.SelectorKey] = {}
        self.loop: ProcessLoop | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self.keys[fileobj] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.keys

    def close(self) -> None:
        self.keys.clear()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.loop is not None and (timeout is None or timeout > 0):
            self.loop.idle(timeout)
        return []


class ProcessLoop(asyncio.SelectorEventLoop):
    """`run_until_idle(now)` is the only way in; `time()` stands still while it runs."""

    def __init__(self, start: float) -> None:
        self._now = start
        self._next = float("inf")
        selector = _NoFiles()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Seconds of this process's steady clock."""
        return self._now

    def idle(self, timeout: float | None) -> None:
        """Nothing is ready: the selector says for how long."""
        self._next = self._now + timeout if timeout is not None else float("inf")
        self.stop()

    def run_until_idle(self, now: float) -> float:
        """Run everything due at `now`; the time at which the next timer is due (infinity without one)."""
        self._now = max(now, self._now)
        self.run_forever()
        return self._next
