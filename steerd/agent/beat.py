"""The regular looks of one watch without a task: one call at the start, one at the end.

A plain pass that changes nothing, which is nearly every look there is, touches the run's counts, a counter and two histogram
buckets. Everything else takes the same way as any other look (`Looks.ended`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from probes.outcome import Outcome
from probes.probe import Lane
from steerd.agent.observer import Passed
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import Watch
from steerd.core.doubt import LATE_LIMIT
from steerd.core.verdict import CheckRun

if TYPE_CHECKING:
    from steerd.agent.looks import Looks

__all__ = ["LaneBeat"]


class LaneBeat:
    """See the module's text. `ended` tells the scheduler."""

    __slots__ = (
        "_cost",
        "_doubt",
        "_ended",
        "_generation",
        "_intended",
        "_lane",
        "_late_s",
        "_looks",
        "_passed",
        "_queued",
        "_run",
        "_started",
        "_subject",
        "_timeout_s",
        "_watch",
    )

    def __init__(self, looks: Looks, watch: Watch, lane: Lane, passed: Passed, ended: Callable[[], None]) -> None:
        self._looks = looks
        self._doubt = looks.doubt
        self._watch = watch
        self._subject = watch.subject
        self._lane = lane
        self._passed = passed
        self._ended = ended
        self._cost = looks.costs.of(watch.check.kind)
        self._late_s = LATE_LIMIT * watch.check.interval_s
        self._timeout_s = watch.check.timeout_s
        self._generation = -1
        self._run: CheckRun | None = None
        self._intended = self._started = 0.0
        self._queued = False
        lane.told = self._told
        lane.prepare()

    def start(self, intended: float, now: float, *, queued: bool) -> None:
        """See `steerd.agent.scheduler.Beat`."""
        self._intended, self._started, self._queued = intended, now, queued
        timeout_s, doubt = self._timeout_s, self._doubt
        if now - intended > self._late_s and not queued:
            doubt.late_look(now - intended, self._watch.check.interval_s, now)
        if doubt.shaken:
            timeout_s *= doubt.timeout_factor(now)
        self._lane.start(now + timeout_s)

    def addresses(self) -> dict[str, str]:
        """How the last look at each address ended, where the name has several: "PASS", "FAIL connection refused"."""
        found = self._lane.addresses.items()
        return {a: "PASS" if o is None else f"{o.status.value} {o.reason or ''}".strip() for a, o in found}

    def close(self) -> None:
        """See `steerd.agent.scheduler.Beat`."""
        self._lane.close()

    def _told(self, lane: Lane, outcome: Outcome | None) -> None:
        try:
            if outcome is not None and self._looks.looker.unsettled(self._watch, outcome):
                # In flight until then: nobody looks twice at what may be hung.
                self._looks.scheduler.spawn(self._settle(outcome))
                return
            self._ended()
            if outcome is None:
                outcome = self._taken(lane)
            if outcome is not None:
                self._conclude(outcome)
        except Exception as error:  # noqa: BLE001 - raised again where the agent's tasks are: nobody else waits for this one
            self._looks.scheduler.fail(error)

    def _taken(self, lane: Lane) -> Outcome | None:
        """Counts a plain pass; its outcome where more follows from it."""
        looks, started = self._looks, self._started
        if self._generation != looks.generation:
            self._run, self._generation = looks.run_of(self._watch), looks.generation
        run, duration_s = self._run, lane.duration_s
        if run is None or not looks.box.passes(run, self._subject, started, started + duration_s):
            return lane.passed()
        looks.count += 1
        cost = self._cost
        cost.looks += 1
        cost.seconds += duration_s
        delay_s = started - self._intended
        if delay_s < 0.0:
            delay_s = 0.0
        elif delay_s > looks.worst_delay_s:
            looks.worst_delay_s = delay_s
        self._passed(duration_s, delay_s)
        if self._doubt.shaken:
            looks.got_out(started + duration_s)
        return None

    async def _settle(self, outcome: Outcome) -> None:
        """Busy, or hung: what the engine's counters say."""
        try:
            outcome = await self._looks.looker.settle(self._watch, outcome)
        finally:
            self._ended()
        self._conclude(outcome)

    def _conclude(self, outcome: Outcome) -> None:
        due = Due(self._watch, self._intended, queued=self._queued)
        self._looks.ended(due, outcome, self._started, time.monotonic())
