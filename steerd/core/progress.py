"""Demand from the engines themselves (`demand: {from: progress}`): the requests that run and wait, over the whole service.

The unit of capacity is then requests at once. Every endpoint that carries traffic must be seen lately by somebody for the sum to
be one; a few that are missing are taken to carry what their capacity says.
"""

from __future__ import annotations

from steerd.core.world import World

__all__ = ["demand_from_progress", "review_demand"]

_EVERY_S = 10.0
_WITHIN_S = 60.0
_SEEN = 0.5
_MOVED = 0.10
"""A new value counts when it is a tenth away from the one in use: a plan that follows every breath of demand is no plan."""


def demand_from_progress(world: World, service: str, now: float) -> float | None:
    """Requests in the service's engines; None when less than half of the capacity in service was seen within 60 s."""
    shares = world.services[service].shares
    members = [e for e in world.service(service).endpoints if shares.get(e.name, 0.0) > 0] or list(
        world.service(service).endpoints
    )
    total = seen = demand = 0.0
    for endpoint in members:
        total += endpoint.capacity
        running = world.readings.median(endpoint.name, "running", now, _WITHIN_S)
        if running is None:
            continue
        waiting = world.readings.median(endpoint.name, "waiting", now, _WITHIN_S)
        seen += endpoint.capacity
        demand += running + (waiting or 0.0)
    return demand * total / seen if total > 0 and seen >= _SEEN * total else None


def review_demand(world: World, now: float) -> None:
    """Looks at the demand of every service that takes it from its engines; comes again every 10 s."""
    again = False
    for spec in world.fleet.services:
        if spec.demand is None or not spec.demand.progress or spec.name not in world.services:
            continue
        again = True
        state = world.services[spec.name]
        value, known = demand_from_progress(world, spec.name, now), state.demand
        if (value == known and value is not None) or (
            value is not None and known and abs(value - known) <= _MOVED * known
        ):
            continue
        state.demand = value
        if value is None:
            text = f"the demand of {spec.name} is unknown (no engine's numbers for a minute): the capacity rule is off"
            world.alerts.set("demand-unknown", spec.name, text, now)
        else:
            world.alerts.clear("demand-unknown", spec.name)
        world.touch(spec.name)
    if again:
        world.timers.at(now + _EVERY_S, "demand", "")
