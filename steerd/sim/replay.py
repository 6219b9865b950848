"""Replay: a coordinator's recorded inputs, fed to the core of today. Where it would now decide differently is told.

A ring holds inputs only. What was decided then is read off them: a provider's answer names the decision that was applied, and
what was observed afterwards is what it wrote. A decision that today's core does not make, or makes otherwise, differs. So does
one that only today's core makes: every write asked for is answered, and nothing recorded answers this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steerd.coordinator.ring import RecordedEvent, read
from steerd.core.effects import Apply, Effect, Record
from steerd.core.engine import Engine
from steerd.core.events import ApplyFinished, Event, LeadershipChanged, VerifyFinished
from steerd.model.route import Desired, Observed

__all__ = ["Difference", "Replayed", "replay", "told"]

_ENGINE = "replay"
_ANSWERED_S = 60.0
"""By then a write asked for has its answer: a call's deadline, the queue before it, and a wide margin."""


@dataclass(frozen=True, slots=True)
class Difference:
    """At `at` (seconds of the Unix epoch), for `route`: what was done then, and what would be done now."""

    at: float
    route: str
    decision: str
    then: str
    now: str


@dataclass(slots=True)
class Replayed:
    """Everything a replay shows."""

    events: int = 0
    applies: int = 0
    starts: int = 0
    differences: list[Difference] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "events": self.events,
            "applies": self.applies,
            "starts": self.starts,
            "differences": [
                {"at": d.at, "route": d.route, "decision": d.decision, "then": d.then, "now": d.now}
                for d in self.differences
            ],
            "decided": [{"at": at, "text": text} for at, text in self.notes],
        }


def replay(path: Path) -> Replayed:
    """Feed everything at `path` to a new engine. Raises FileNotFoundError, or ValueError when it is no ring file."""
    found = Replayed()
    engine: Engine | None = None
    asked: _Asked = {}
    open_: dict[tuple[str, str], tuple[float, Apply]] = {}
    now = 0.0
    for recorded in read(path):
        event = recorded.event
        if recorded.starts or engine is None or (isinstance(event, LeadershipChanged) and not event.leading):
            _unanswered(found, open_, now)
        if recorded.starts or engine is None:
            engine = Engine(_ENGINE)
            asked = {}
            found.starts += 1
        now = recorded.now
        _compare(found, recorded, asked)
        if isinstance(event, ApplyFinished | VerifyFinished):
            open_.pop((event.route, event.decision), None)
        for effect in engine.step(event, now):
            _note(found, effect, now, asked)
            if isinstance(effect, Apply) and effect.attempt == 1:
                open_[effect.route, effect.decision] = now, effect
        found.events += 1
    _unanswered(found, open_, now)
    found.differences.sort(key=lambda d: d.at)
    return found


_Asked = dict[tuple[str, str], Apply]
"""(route, decision) -> the write that today's core asked for."""


def _unanswered(found: Replayed, open_: dict[tuple[str, str], tuple[float, Apply]], now: float) -> None:
    """What nobody recorded an answer to was not asked for then, unless the recording ended, or the lead was lost, before one
    could come."""
    for (route, decision), (at, apply) in open_.items():
        if now - at > _ANSWERED_S:
            found.differences.append(Difference(at, route, decision, "nothing", _desired(apply.desired)))
    open_.clear()


def _note(found: Replayed, effect: Effect, now: float, asked: _Asked) -> None:
    if isinstance(effect, Apply):
        found.applies += 1
        asked[effect.route, effect.decision] = effect
    elif isinstance(effect, Record) and effect.kind == "decision":
        found.notes.append((now, effect.text))


def _compare(found: Replayed, recorded: RecordedEvent, asked: _Asked) -> None:
    """What came back then, against what today's core asked for."""
    event = recorded.event
    done = _done(event)
    if done is None:
        return
    route, decision, observed = done
    apply = asked.get((route, decision))
    if apply is None:
        text = _weights(observed) if observed is not None else "written"
        if not any(d.route == route and d.decision == decision for d in found.differences):
            found.differences.append(Difference(recorded.now, route, decision, text, "no such write"))
    elif observed is not None and isinstance(event, VerifyFinished) and event.in_sync:
        then, today = _weights(observed), _desired(apply.desired)
        if then != today:
            found.differences.append(Difference(recorded.now, route, decision, then, today))


def _done(event: Event) -> tuple[str, str, Observed | None] | None:
    if isinstance(event, ApplyFinished) and event.result in ("applied", "unchanged"):
        return event.route, event.decision, event.observed
    if isinstance(event, VerifyFinished):
        return event.route, event.decision, event.observed
    return None


def _weights(observed: Observed) -> str:
    return " ".join(f"{k}={w}" for k, w in sorted(observed.weights.items()) if w > 0)


def _desired(desired: Desired) -> str:
    return " ".join(f"{m.target}={m.weight}" for m in sorted(desired.members, key=lambda m: m.target) if m.weight > 0)


def told(found: Replayed) -> Iterator[str]:
    """For people."""
    yield f"{found.events} events, {found.applies} writes asked for, {len(found.differences)} decided differently"
    for d in found.differences:
        yield f"  {d.at:.3f} {d.route} (decision {d.decision}): then {d.then}; now {d.now}"
