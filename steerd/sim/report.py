"""What a run showed, for people: a line when it passed, and the timeline around each failure when it did not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from steerd.sim.run import Result

__all__ = ["lines"]

_BEFORE_S, _AFTER_S = 90.0, 15.0
_MOST = 40
_WIDTH = 160


def lines(result: Result) -> Iterator[str]:
    """Plain text."""
    name = result.scenario.name
    facts = f"{_span(result.scenario.duration_s)} simulated, {result.writes} writes"
    for what, times in (("detected", result.detected_s), ("drained", result.drained_s)):
        if times:
            facts += f", {what} " + ", ".join(f"{n} after {s:.1f} s" for n, s in times.items())
    speed = f", {result.scenario.duration_s / result.wall_s:.0f} x real time" if result.wall_s else ""
    if result.passed:
        yield f"passed  {name} (seed {result.seed}): {facts}{speed}"
        return
    yield f"FAILED  {name} (seed {result.seed}): {facts}{speed}"
    moments = []
    for failure in result.failures:
        yield f"  expected {failure}"
        moments.append(failure.at)
    for problem in result.problems:
        yield f"  {problem}"
    for violation in result.violations:
        yield f"  invariant {violation['invariant']} at {violation['at']:.1f} s: {violation['text']} ({violation['rule']})"
        moments.append(violation["at"])
    yield from _timeline(result, moments)


def _timeline(result: Result, moments: list[float]) -> Iterator[str]:
    """What happened around these moments; every fault is shown."""
    rows = result.recorder.timeline
    near = [r for r in rows if any(m - _BEFORE_S <= r["at"] <= m + _AFTER_S for m in moments)]
    shown = [r for r in rows if r in near[-_MOST:] or r["kind"].startswith("fault")]
    if not shown:
        return
    yield "  what happened:"
    last: float | None = None
    for row in shown[: _MOST * 2]:
        if last is not None and row["at"] - last > _BEFORE_S:
            yield "      ..."
        last = row["at"]
        yield f"  {_row(row)}"


def _row(row: dict[str, Any]) -> str:
    text = f"{row['at']:>10.2f} s  {row['kind']:<12} {row['of']}: {row['text']}"
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _span(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
