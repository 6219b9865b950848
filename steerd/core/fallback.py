"""Fallback: another service takes what this one cannot (decisions.md, section 7, shortfall).

steerd moves traffic between places of one service; between services the callers' own gateway does, when this one is full.
What steerd does about it: the drain goes further than the survivors' room, by as much as the fallback has room for, and the
fallback's own plan counts with the demand that comes on top.

    what does not fit under max_utilization -> the fallback, up to its room -> the shortfall rule for the rest
"""

from __future__ import annotations

from dataclasses import replace

from steerd.core.shares import Inputs, Result, compute
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Cause

__all__ = ["compute_with_fallback", "divert", "end_spills", "room_in"]

_TINY = 1e-9
_ROUNDS = 8


def compute_with_fallback(inputs: Inputs, room: float | None) -> Result:
    """`compute`, with `room` (demand units) in the fallback service; None when there is no fallback or its room is not known."""
    result = compute(inputs)
    if room is None or room <= _TINY or not inputs.demand:
        return result
    if not result.kept and not result.overloaded and not _over(inputs, result):
        return result
    strict = replace(
        inputs, movers=tuple(replace(m, cause=Cause.GRAY, force=False) for m in inputs.movers), shortfall="shed"
    )
    diverted, most = 0.0, room / inputs.demand
    for _ in range(_ROUNDS):  # what leaves makes room for the rest, and receivers may have been over their limit before
        short = sum(compute(replace(strict, demand=inputs.demand * (1.0 - diverted))).kept.values())
        if short <= _TINY or diverted >= most - _TINY:
            break
        diverted = min(diverted + (1.0 - diverted) * short, most)
    if diverted <= _TINY or diverted >= 1.0 - _TINY:
        return result
    rest = compute(replace(inputs, demand=inputs.demand * (1.0 - diverted)))
    return replace(rest, diverted=diverted)


def _over(inputs: Inputs, result: Result) -> bool:
    """Receivers were filled past `max_utilization`, as the down are allowed to."""
    demand = inputs.demand or 0.0
    limit = inputs.max_utilization + _TINY
    moved = {e for m in inputs.movers for e in m.endpoints}
    return any(
        s.effective > 0 and result.shares[s.name] * demand > limit * s.effective
        for s in inputs.slots
        if s.name not in moved and result.shares[s.name] > result.normal[s.name] + _TINY
    )


def room_in(world: World, service: str, fallback: str, demand: float | None) -> float | None:
    """Demand units that `fallback` can take of `service` under `max_utilization`; None while its own `demand` is not known."""
    state = world.services.get(fallback)
    if state is None or demand is None:
        return None
    out: set[str] = set()
    for drain in world.drains.of_service(fallback, world.domains):
        out |= world.domains.members(fallback, drain.name)
    capacity = sum(
        e.capacity
        for e in world.service(fallback).endpoints
        if e.name not in out and world.board.states[e.name].health in (Health.HEALTHY, Health.SATURATED)
    )
    own = demand - state.spill.get(service, 0.0)
    return max(0.0, world.fleet.guards.max_utilization * capacity - own)


def end_spills(world: World) -> None:
    """A new config: demand of services that do not name this one as their fallback any longer is not its own."""
    for name, state in world.services.items():
        state.spill = {
            source: amount
            for source, amount in state.spill.items()
            if source in world.services and world.service(source).fallback == name
        }


def divert(world: World, service: str, result: Result, demand: float | None, now: float) -> None:
    """Tells the fallback's plan, and the human, what comes on top of its own demand."""
    fallback = world.service(service).fallback
    state = world.services.get(fallback) if fallback is not None else None
    if fallback is None or state is None:
        world.alerts.clear("fallback-used", service)
        return
    amount = result.diverted * (demand or 0.0)
    if abs(state.spill.get(service, 0.0) - amount) > _TINY:
        state.spill = (
            {**state.spill, service: amount}
            if amount > _TINY
            else {k: v for k, v in state.spill.items() if k != service}
        )
        world.touch(fallback)
    if amount > _TINY:
        text = f"{result.diverted:.0%} of {service} ({amount:g} of demand) has no room and belongs on its fallback {fallback}"
        world.alerts.set("fallback-used", service, text, now)
    else:
        world.alerts.clear("fallback-used", service)
