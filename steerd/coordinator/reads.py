"""When routes are read: all at a takeover, each once a minute to see drift, sooner where that failed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from steerd.coordinator.clock import Clock

__all__ = ["Reads"]

EVERY_S = 60.0
AGAIN_S = 5.0


class Reads:
    """`read(route)` starts one and returns False when the route is busy; `may()` tells whether to read at all."""

    def __init__(self, clock: Clock, read: Callable[[str], bool], may: Callable[[], bool]) -> None:
        self._clock = clock
        self._read = read
        self._may = may
        self._due_at: dict[str, float] = {}

    def set_routes(self, routes: Collection[str]) -> None:
        """A new config: new routes are read at once."""
        now = self._clock.now()
        self._due_at = {r: self._due_at.get(r, now) for r in routes}

    def soon(self, routes: Collection[str]) -> None:
        """Read these now."""
        for route in routes:
            self._due_at[route] = self._clock.now() + AGAIN_S
            self._read(route)

    def done(self, route: str, *, ok: bool) -> None:
        """A read came back."""
        if route in self._due_at:
            self._due_at[route] = self._clock.now() + (EVERY_S if ok else AGAIN_S)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(1.0)
            if not self._may():
                continue
            now = self._clock.now()
            for route in [r for r, at in self._due_at.items() if at <= now]:
                self._due_at[route] = now + (EVERY_S if self._read(route) else AGAIN_S)
