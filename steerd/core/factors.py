"""Factors: endpoints that are saturated or degraded weigh less (decisions.md, section 7).

    degraded    0.5 of its capacity; where the receivers have no room for that, 0.75, else all of it with `capacity-short`
    saturated   0.7, only if the receivers stay under their limit; held 5 min against oscillation

Neither is urgent: an endpoint must have been so for 10 s, so that one cause seen at slightly different times is told from
several. A zone that is degraded as a whole is drained instead (section 9). Pins, freezes and a global diagnosis hold all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from steerd.core.shares import Inputs, compute
from steerd.core.world import ServiceState, World
from steerd.model.health import Health
from steerd.model.plan import Cause, Veto

__all__ = ["STEADY_S", "Offer", "fits", "review_factors"]

STEADY_S = 10.0
_HELD_S = {Health.SATURATED: 300.0}
_TRIES = {Health.DEGRADED: (0.5, 0.75), Health.SATURATED: (0.7,)}
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Offer:
    """Endpoints that should weigh less, and how much less at the most."""

    health: Health
    endpoints: tuple[str, ...]


def review_factors(world: World, service: str, inputs: Inputs, now: float) -> list[Veto]:
    """Brings the service's factors up to date. `inputs` is the plan's, with the factors that stand.

    Returns what was stopped. Changes of factors are in `ServiceState.factors`, which the plan's fingerprint holds.
    """
    state = world.services[service]
    diagnosis = world.diagnoser.services.get(service)
    if world.freeze is not None or (diagnosis is not None and diagnosis.everywhere):
        return []
    _release(world, service, state, now)
    waits: list[str] = []
    vetoes: list[Veto] = []
    for offer in _offers(world, service, state, inputs, now):
        veto = _weigh(world, service, state, inputs, offer, now)
        if veto is not None:
            vetoes.append(veto)
        if veto is not None and veto.guard == "capacity":
            waits.append(veto.text)
    if waits:
        world.alerts.set("capacity-short", f"{service}/weights", waits[0], now)
    elif not world.board.dim.get(service):
        world.alerts.clear("capacity-short", f"{service}/weights")
    return vetoes


def _release(world: World, service: str, state: ServiceState, now: float) -> None:
    """Endpoints that are well again weigh fully again, once they were held long enough."""
    for name in sorted(state.factors):
        factor, since = state.factors[name]
        known = world.board.states.get(name)
        if known is None:
            del state.factors[name]
            continue
        if known.health in (Health.UNKNOWN, Health.DEGRADED, Health.SATURATED, Health.DOWN):
            continue
        held = _HELD_S[Health.SATURATED] if factor in _TRIES[Health.SATURATED] else world.fleet.guards.dwell_s
        ready = max(since + held, known.since + STEADY_S)
        if now < ready:
            world.timers.at(ready, "service", service)
            continue
        del state.factors[name]
        world.last_change[f"{service}/{name} in"] = now
        world.state_changed = True
        world.record("weigh", name, "weighs fully again", now, service=service, factor=1.0)


def _offers(world: World, service: str, state: ServiceState, inputs: Inputs, now: float) -> list[Offer]:
    """What should weigh less than it does: dim for long enough, not pinned, not drained, not turned a moment ago."""
    out: set[str] = set()
    for drain in world.drains.of_service(
        service, world.domains
    ):  # also one that stopped at nothing: its receivers suffer
        out |= world.domains.members(service, drain.name)
    found: dict[Health, list[str]] = {Health.DEGRADED: [], Health.SATURATED: []}
    for name in sorted(world.board.dim.get(service, ())):
        known = world.board.states[name]
        if name in out or name in inputs.pins or not known.decided:
            continue
        factor, since = state.factors.get(name, (1.0, float("-inf")))
        if factor <= min(_TRIES[known.health]) + _TINY:
            continue
        turned = world.last_change.get(f"{service}/{name} in", float("-inf"))
        held = _HELD_S.get(known.health, world.fleet.guards.dwell_s)
        ready = max(known.since + STEADY_S, turned + held)
        if since > float("-inf"):  # weighs less already, not as little as it might: try again after a while
            ready = max(ready, since + world.fleet.guards.dwell_s)
        if now < ready:
            world.timers.at(ready, "service", service)
            continue
        found[known.health].append(name)
    return [Offer(health, tuple(names)) for health, names in found.items() if names]


def _weigh(world: World, service: str, state: ServiceState, inputs: Inputs, offer: Offer, now: float) -> Veto | None:
    capacity = {s.name: s.capacity for s in inputs.slots}
    total = sum(capacity.values())
    if total <= 0:
        return None  # nothing can take what they would give up
    for factor in _TRIES[offer.health]:
        changes = {n: factor for n in offer.endpoints if factor < state.factors.get(n, (1.0, 0.0))[0] - _TINY}
        if not changes:
            return None
        part = sum(capacity[n] * (state.factors.get(n, (1.0, 0.0))[0] - f) for n, f in changes.items()) / total
        if part > world.velocity.room(service, now) + _TINY:
            world.timers.at(world.velocity.frees_at(service, now), "service", service)
            text = f"{part:.0%} of the capacity of {service} would weigh less: max_removed leaves less room than that"
            return Veto(service, offer.endpoints[0], "velocity", text, now)
        if not fits(inputs, changes):
            continue
        for name, value in changes.items():
            state.factors[name] = (value, now)
            world.state_changed = True
            text = f"{offer.health.word}: weighs {value:.0%} of its capacity"
            world.record("weigh", name, text, now, service=service, factor=value)
        world.velocity.took(service, part, now)
        return None
    if offer.health is not Health.DEGRADED:
        return None  # saturated only where there is room: nothing is wrong otherwise
    world.timers.at(now + world.fleet.guards.dwell_s, "service", service)
    text = f"the others have no room for half the traffic of {', '.join(offer.endpoints[:3])}"
    return Veto(service, offer.endpoints[0], "capacity", text, now)


def fits(inputs: Inputs, changes: Mapping[str, float]) -> bool:
    """Whether everybody who would get more stays under `max_utilization` of effective capacity. With the demand unknown the
    capacity rule is off, but somebody who is not to weigh less himself must be there to receive."""
    slots = tuple(replace(s, factor=changes.get(s.name, s.factor)) for s in inputs.slots)
    gone = {e for m in inputs.movers if m.fraction >= 1.0 and m.cause is not Cause.NEW for e in m.endpoints}
    if not any(s.factor >= 1.0 and s.name not in gone for s in slots):
        return False
    if inputs.demand is None or inputs.demand <= 0:
        return True
    before, after = compute(inputs), compute(replace(inputs, slots=slots))
    if sum(after.kept.values()) > sum(before.kept.values()) + 1e-6 or (after.overloaded and not before.overloaded):
        return False
    limit = inputs.max_utilization + 1e-6
    return all(
        after.shares[s.name] <= before.shares[s.name] + 1e-6
        or after.shares[s.name] * inputs.demand <= limit * s.effective
        for s in slots
    )
