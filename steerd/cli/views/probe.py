"""`steerd probe`: what each look found, as JSON and as a table with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from probes.outcome import Layer, Outcome, Status
from steerd.cli.probe_jobs import Done
from steerd.cli.views.paint import grid, health
from steerd.model.vote import Verdict

__all__ = ["facts", "render"]

_STYLES = {Status.PASS: "green", Status.FAIL: "bold red", Status.ERROR: "magenta"}


def facts(name: str, verdict: Verdict, done: Sequence[Done]) -> Mapping[str, Any]:
    """For `--json`: verdict and checks, in the order of the looks; times in seconds."""
    return {
        "target": name,
        "verdict": verdict.value,
        "checks": [
            {
                "name": one.check.name,
                "layer": one.outcome.layer.value,
                "kind": one.check.kind,
                "status": one.outcome.status.value,
                "reason": one.outcome.reason,
                "duration_s": round(one.outcome.duration_s, 6),
                "stages": _stages(one.outcome),
                **_readings(one.outcome),
            }
            for one in done
        ],
    }


def _readings(outcome: Outcome) -> dict[str, dict[str, float]]:
    """What a dependency measured: lag, depth, age. Other layers' readings are for the engine."""
    shown = outcome.readings and outcome.layer is Layer.DEPENDENCY
    return {"readings": dict(outcome.readings)} if shown else {}


def _stages(outcome: Outcome) -> dict[str, float]:
    return {name: round(value, 6) for name, value in outcome.stages.known().items() if name != "total_s"}


def render(name: str, verdict: Verdict, done: Sequence[Done]) -> RenderableType:
    """For people."""
    word = "down" if verdict is Verdict.UNHEALTHY else verdict.value
    table = grid("check", "layer", "result", "took", "stages", right=("took",))
    notes: list[RenderableType] = []
    for one in done:
        outcome = one.outcome
        status = Text(outcome.status.value, style=_STYLES.get(outcome.status, "yellow"))
        stages = "  ".join(f"{key.removesuffix('_s')} {_ms(value)}" for key, value in _stages(outcome).items())
        table.add_row(one.check.name, outcome.layer.value, status, _ms(outcome.duration_s), stages)
        notes += _notes(one)
    head = Text.assemble((name, "bold"), "   ", health(word, text=verdict.value))
    return Group(head, "", table, *([""] if notes else []), *notes)


def _notes(one: Done) -> Iterator[RenderableType]:
    outcome = one.outcome
    if outcome.reason is not None:
        yield Text.assemble((f"{one.check.name}: ", "bold"), outcome.reason)
    if outcome.detail is not None:
        lead = "" if outcome.reason is not None else f"{one.check.name}: "
        yield Padding(Text(lead + outcome.detail, style="dim"), (0, 0, 0, 2))
    if _readings(outcome):
        values = "  ".join(f"{name} {value:g}" for name, value in sorted(outcome.readings.items()))
        yield Text.assemble((f"{one.check.name}: ", "bold"), values, style="dim")
    if one.looks > 1:
        yield Text(f"{one.check.name}: {one.looks} looks, {one.bad} of them did not pass", style="dim")


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
