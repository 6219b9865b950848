"""Ramp: how far a drain has come, step by step (decisions.md, section 9). Pure: a drain in, the next drain out.

DRAINING --steps--> HELD --restore_after healthy, or an operator--> RESTORING --steps--> gone
                      ^------------------ relapse -----------------------'
"""

from __future__ import annotations

from dataclasses import replace

from steerd.model.plan import Cause, Drain, Phase
from steerd.model.rules import Ramp

__all__ = ["begin", "next_at", "relapse", "release", "step", "step_back", "watch"]

_DONE = 1.0 - 1e-9


def begin(drain: Drain, rules: Ramp, now: float) -> Drain:
    """The first step out: at once for the dead and the down, in steps for gray and operator drains (unless `now`)."""
    if drain.cause in (Cause.DEAD, Cause.DOWN, Cause.NEW) or drain.now or not rules.drain_steps:
        return replace(drain, phase=Phase.HELD, fraction=1.0, step_at=now)
    first = min(rules.drain_steps[0], drain.most)
    return replace(
        drain, phase=Phase.HELD if first >= min(_DONE, drain.most) else Phase.DRAINING, fraction=first, step_at=now
    )


def watch(drain: Drain, *, well: bool, now: float) -> Drain:
    """Notes since when the domain has been well."""
    if well and drain.well_since is None:
        return replace(drain, well_since=now)
    if not well and drain.well_since is not None:
        return replace(drain, well_since=None)
    return drain


def relapse(drain: Drain, now: float) -> Drain:
    """Bad again: what was returning goes out again at once, as far as it was meant to; what was on its way out goes on."""
    if drain.phase is Phase.RESTORING:
        return replace(drain, phase=Phase.HELD, fraction=max(drain.fraction, drain.most), step_at=now, well_since=None)
    phase = Phase.DRAINING if drain.fraction < min(_DONE, drain.most - 1e-9) else Phase.HELD
    return replace(drain, phase=phase, well_since=None)


def step_back(drain: Drain, rules: Ramp, now: float) -> Drain:
    """The last step out is taken back, and the drain goes no further: its receivers suffer."""
    smaller = [s for s in rules.drain_steps if s < drain.fraction - 1e-9]
    fraction = smaller[-1] if smaller else 0.0
    return replace(drain, phase=Phase.HELD, fraction=fraction, most=fraction, step_at=now)


def release(drain: Drain, rules: Ramp, now: float) -> Drain:
    """Takes the first restoring step now."""
    first = rules.restore_steps[0] if rules.restore_steps else 1.0
    fraction = min(drain.fraction, max(0.0, 1.0 - first))
    return replace(drain, phase=Phase.RESTORING, fraction=fraction, step_at=now, until=None)


def next_at(drain: Drain, rules: Ramp) -> float | None:
    """When this drain may move next by itself (given that its domain stays well), or None."""
    if drain.phase is Phase.DRAINING:
        return drain.step_at + rules.drain_step_every_s
    if drain.phase is Phase.RESTORING:
        return drain.step_at + rules.restore_step_every_s
    if not drain.automatic:
        return drain.until
    if drain.well_since is None:
        return None
    return drain.well_since + (0.0 if drain.cause is Cause.NEW else rules.restore_after_s)


def step(drain: Drain, rules: Ramp, now: float) -> Drain | None:
    """One step on; None when the domain is fully back. Call when `next_at` has come."""
    if drain.phase is Phase.DRAINING:
        at_once = drain.now or drain.cause is Cause.DOWN  # a down one is here only because velocity cut it
        bigger = [] if at_once else [s for s in rules.drain_steps if s > drain.fraction + 1e-9]
        fraction = min(bigger[0] if bigger else 1.0, drain.most)
        done = fraction >= min(_DONE, drain.most - 1e-9)
        return replace(drain, fraction=fraction, step_at=now, phase=Phase.HELD if done else Phase.DRAINING)
    if drain.phase is Phase.HELD:
        drain = release(drain, rules, now)
        return drain if drain.fraction > 1e-9 else None
    back = 1.0 - drain.fraction
    bigger = [s for s in rules.restore_steps if s > back + 1e-9]
    if not bigger or bigger[0] >= _DONE:
        return None
    return replace(drain, fraction=1.0 - bigger[0], step_at=now)
