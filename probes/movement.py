"""Forward movement of an engine, judged from its own counters (probes.md, "Progress"). No I/O; time is an argument.

    work = running + waiting > 0 and no counter moves for `stall`   ->  stalled
    a counter goes down                                             ->  restarted: begin anew
    work = 0                                                        ->  idle, whatever the counters do
    waiting >= `queue`, and the counters move                       ->  saturated
    readings too far apart                                          ->  begin anew: what lay between is not known

Several engines behind one address (a load balancer) show their counters in turns: numbers fall and rise, and nothing happens. So
counters that stand where they stood in one of the last readings are no step, and their fall is no restart.

An engine with several parts (data parallel ranks, models) is judged part by part where the labels of its metrics agree: one rank
that hangs behind others that move is a hung engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Judgement", "Movement", "Part", "Reading", "State", "moved"]

_REMEMBERED = 8
"""Different readings remembered: as many engines behind one address are told apart."""

Part = tuple[tuple[str, str], ...]
"""Labels that tell one part of an engine from another; () where there is one."""


class State(StrEnum):
    """What two readings in a row say."""

    FIRST = "first reading"
    MOVING = "moving"
    WAITING = "busy, no step yet"
    IDLE = "idle"
    STALLED = "stalled"
    RESTARTED = "restarted"
    SATURATED = "saturated"


@dataclass(frozen=True, slots=True)
class Reading:
    """One scrape. `work`: requests by part. `steps`: counters by part and name. `running`, `waiting`: sums, None without metric."""

    at: float
    work: Mapping[Part, float]
    steps: Mapping[Part, Mapping[str, float]]
    running: float | None = None
    waiting: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """`still_s` is how long the worst part has had work and not moved."""

    state: State
    still_s: float = 0.0
    part: Part = ()


def moved(before: Mapping[Part, Mapping[str, float]], after: Mapping[Part, Mapping[str, float]]) -> bool:
    """True when any counter is higher than it was."""
    return any(
        value > before.get(part, {}).get(name, value) for part, steps in after.items() for name, value in steps.items()
    )


@dataclass(slots=True)
class Movement:
    """The readings of one engine in order. `stall_s`: how long busy without a step is hung. `gap_s`: readings further apart
    say nothing of the time between them. `queue`: waiting requests that mean saturated, or None."""

    stall_s: float
    gap_s: float
    queue: float | None = None
    last: Reading | None = None
    _recent: deque[Mapping[Part, Mapping[str, float]]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _still_since: dict[Part, float] = field(default_factory=dict)

    def take(self, reading: Reading) -> Judgement:
        """Judge the next reading. One that is not later than the last changes nothing."""
        last = self.last
        if last is not None and reading.at <= last.at:
            return self._judge(last, State.WAITING if self._still_since else State.MOVING)
        self.last = reading
        if last is None or reading.at - last.at > self.gap_s:
            self._still_since = {}
            self._recent.clear()
            self._mark(reading)
            return self._judge(reading, State.FIRST)
        restarted = _fell(last, reading) and not self.saw(reading)
        if restarted:
            self._still_since = {}
        self._mark(reading)
        return self._judge(reading, State.RESTARTED if restarted else State.MOVING)

    def saw(self, reading: Reading) -> bool:
        """True where all counters stand where they stood in one of the last readings."""
        return any(reading.steps == known for known in self._recent)

    def _mark(self, reading: Reading) -> None:
        """Since when each part has had work and stood still. A part counts from the first reading that saw it so."""
        still: dict[Part, float] = {}
        for part, work in reading.work.items():
            steps = reading.steps.get(part, {})
            if work <= 0 or not steps:
                continue
            stands = any(known.get(part) == steps for known in self._recent)
            still[part] = self._still_since.get(part, reading.at) if stands else reading.at
        self._still_since = still
        if not self.saw(reading):
            self._recent.append(reading.steps)

    def _judge(self, reading: Reading, otherwise: State) -> Judgement:
        part, since = min(self._still_since.items(), key=lambda item: item[1], default=((), reading.at))
        still_s = reading.at - since
        if still_s >= self.stall_s:
            return Judgement(State.STALLED, still_s, part)
        if otherwise in (State.FIRST, State.RESTARTED):
            return Judgement(otherwise, still_s, part)
        if not any(work > 0 for work in reading.work.values()):
            return Judgement(State.IDLE)
        if self.queue is not None and reading.waiting is not None and reading.waiting >= self.queue:
            return Judgement(State.SATURATED, still_s, part)
        return Judgement(State.WAITING if still_s > 0 else otherwise, still_s, part)


def _fell(last: Reading, reading: Reading) -> bool:
    """A counter that goes down was set to zero: the engine was started again."""
    return any(
        value < last.steps.get(part, {}).get(name, value)
        for part, steps in reading.steps.items()
        for name, value in steps.items()
    )
