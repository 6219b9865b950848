"""An asyncio event loop in virtual time: when nothing is ready, its clock jumps to the next timer.

Real sockets and threads still work: they are polled before every jump. A loop with nothing scheduled and nothing to
hear from within `DEADLOCK_S` of real time raises instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

DEADLOCK_S = 5.0

T = TypeVar("T")


class _JumpingSelector(selectors.BaseSelector):
    """A selector that waits in virtual time."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = self._real.select(DEADLOCK_S)
            if not events:
                raise RuntimeError("nothing is scheduled and nothing happens: this would wait for ever")
            return events
        events = self._real.select(0)
        if not events and timeout > 0:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at `start` and moves only when everything waits."""

    def __init__(self, start: float = 1000.0) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.now = start
        super().__init__(self._jumping)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  asyncio's signature
        """Threads take real time: a limit in virtual time would be over at once."""
        del timeout
        await super().shutdown_default_executor()

    def time(self) -> float:
        return self._jumping.now

    def stall(self, seconds: float) -> None:
        """The process loses this much time at once, as if it had been stopped."""
        self._jumping.now += seconds


def run_virtual(main: Coroutine[Any, Any, T], *, start: float = 1000.0) -> T:
    """Runs `main` to its end on a virtual loop."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(main)
