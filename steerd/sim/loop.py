"""One process's event loop in virtual time: it runs until nothing is left to do at this instant, and says when it wants on.

Each simulated process has a loop of its own, so that one can be paused, suspended or killed while the others go on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

__all__ = ["ProcessLoop"]

_RESOLUTION_S = 1e-9
"""A timer this close is due, as in asyncio: a clock that was suspended is a difference of two, and may fall short of a timer by
its rounding again and again."""


class _Call(asyncio.TimerHandle):
    """What `call_soon` and `call_at` return. It sets its fields itself: the base class asks the loop for its debug mode first."""

    __slots__ = ("off",)

    def __init__(
        self, when: float, callback: Callable[..., Any], args: Any, loop: ProcessLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._cancelled = self.off = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        """It will not be called. What it held is let go at once; its place in the heap goes when its time comes."""
        self._cancelled = self.off = True
        self._callback, self._args = None, ()

    def ring(self) -> None:
        """Call it. What it raises goes where asyncio's own calls bring it."""
        if self.off:
            return
        try:
            self._context.run(self._callback, *self._args)  # type: ignore[arg-type]  # not None: it is not off
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as asyncio's
            self._loop.call_exception_handler({"message": "a call failed", "exception": error, "handle": self})


class ProcessLoop(asyncio.BaseEventLoop):
    """`run_until_idle(now)` is the only way in; `time()` stands still while it runs.

    asyncio's own loop asks a selector at every turn; here are no files, and turns are most of what a simulation does, so they
    are made here. As there, what is asked for during a turn runs in the next one; timers due at the same time ring in the order
    in which they were set.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self._now = start
        self._soon: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._order = 0
        self._halted = False

    def time(self) -> float:
        """Seconds of this process's steady clock."""
        return self._now

    def stop(self) -> None:
        """Stop after this turn."""
        self._halted = True

    def close(self) -> None:
        """What still waits is dropped."""
        self._soon.clear()
        self._timers.clear()
        super().close()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> _Call:  # type: ignore[override]  # typeshed ties args to the callback
        """In the next turn."""
        call = _Call(0.0, callback, args, self, context)
        self._soon.append(call)
        return call

    def call_later(  # type: ignore[override]  # typeshed ties args to the callback
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Call:
        """In `delay` seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # typeshed ties args to the callback
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Call:
        """At `when`."""
        call = _Call(when, callback, args, self, context)
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, call))
        return call

    def run_until_idle(self, now: float) -> float:
        """Run everything due at `now`; the time at which the next timer is due (infinity without one)."""
        self._now = max(now, self._now)
        self._halted = False
        asyncio._set_running_loop(self)  # noqa: SLF001  asyncio's door for those who write loops
        try:
            return self._turns()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  as above

    def _turns(self) -> float:
        soon, timers = self._soon, self._timers
        due = self._now + _RESOLUTION_S
        while True:
            while timers and (timers[0][2].off or timers[0][0] <= due):
                soon.append(heapq.heappop(timers)[2])
            if not soon:
                return timers[0][0] if timers else float("inf")
            for _ in range(len(soon)):
                soon.popleft().ring()
            if self._halted:
                return self._now
