"""Busy or hung: a timeout after the connection stood, on an engine that shows its counters (decisions.md, section 1).

The engine's metrics are read twice, 1 s apart. Movement makes the outcome SATURATED: it works, and has no time for us. None leaves
it FAIL, and so does a scrape that says nothing. Never takes longer than 3 s.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol, runtime_checkable

from probes.outcome import Outcome, Status
from probes.target import Target

__all__ = ["GAP_S", "WITHIN_S", "Moves", "busy_or_hung", "undecided"]

GAP_S = 1.0
WITHIN_S = 3.0


@runtime_checkable
class Moves(Protocol):
    """A probe that can tell whether an engine moves right now."""

    async def moves(self, target: Target, deadline: float, *, gap_s: float = GAP_S) -> bool | None:
        """True when a counter moved between two readings, False when none did, None when that cannot be told."""


def undecided(outcome: Outcome) -> bool:
    """True for an outcome that a look at the engine's counters may change: no answer in time, behind a connection that stood."""
    return outcome.status is Status.FAIL and outcome.unanswered


async def busy_or_hung(outcome: Outcome, probe: Moves, target: Target) -> Outcome:
    """`outcome`, or what it is once the engine's counters were asked. Never raises but for cancellation."""
    if not undecided(outcome):
        return outcome
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    try:
        moving = await probe.moves(target, deadline)
    except Exception as error:  # noqa: BLE001 - a probe's bug must not change what was seen
        return replace(outcome, detail=f"{outcome.detail or ''}; its metrics cannot be asked: {type(error).__name__}")
    if moving is None:
        return replace(outcome, detail=f"{outcome.detail or ''}; its metrics say nothing")
    if not moving:
        return replace(outcome, detail=f"{outcome.detail or ''}; its counters stand still")
    return replace(
        outcome,
        status=Status.SATURATED,
        reason=f"busy: {outcome.reason}, its counters move",
        transport=False,
        unanswered=False,
    )
