"""One agent's looks at one subject by one check, and how many of them were left out because they would have told nothing."""

from __future__ import annotations

from steerd.agent.watchlist import Watch
from steerd.core.verdict import CheckRun
from steerd.sim.targets import Target

__all__ = ["Job"]


class Job:
    """`slot` is the next one on the cadence, `due_at` its wall time; `armed` the one that stands in the kernel's heap, if any: an
    older entry there is void."""

    __slots__ = ("armed", "busy", "due_at", "fails_at", "live", "parked", "run", "slot", "target", "watch")

    def __init__(self, watch: Watch, run: CheckRun, target: Target) -> None:
        self.watch = watch
        self.run = run
        self.target = target
        self.slot: int | None = None
        self.due_at = 0.0
        self.armed: int | None = None
        self.busy = False
        self.live = True
        self.parked = False
        self.fails_at: int | None = None

    def park(self, fails_at: int | None) -> None:
        """Leave out looks from `slot` on, and up to slot `fails_at` where one is known to get lost. A run that needs none is
        never stale: its last look lies in the future.
        """
        self.parked = True
        self.fails_at = fails_at
        self.run.last_at = float("inf")

    def settle(self, wall: float) -> None:
        """Count the looks that were due up to `wall`."""
        assert self.slot is not None, "only a planned job is parked"
        if wall < self.due_at:
            return
        cadence = self.watch.cadence
        following, at = cadence.following(wall)
        if self.fails_at is not None and following > self.fails_at:
            following, at = self.fails_at, cadence.time(self.fails_at)
        passed = following - self.slot
        if passed > 0:
            self.run.passed += passed
            self.run.looks += passed
            self.slot, self.due_at = following, at

    def unpark(self, wall: float, now: float) -> None:
        """Count, and let looks be made again. `now` is the steady time of `wall`."""
        self.settle(wall)
        assert self.slot is not None, "only a planned job is parked"
        self.parked = False
        self.fails_at = None
        self.run.resume(now - (wall - self.watch.cadence.time(self.slot - 1)))
