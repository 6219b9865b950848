"""Realised: the guards once more, on what a traffic system will really serve (decisions.md, section 7, last point).

Systems that know only integers or only membership give other shares than planned. Before a route is written, the receivers' limit
and the floor are checked on those. A route that fails stays as it is, with the guard's name.
"""

from __future__ import annotations

from collections.abc import Iterable

from steerd.core.quantize import realised
from steerd.core.shares import Inputs, Result
from steerd.model.plan import Cause, Drain, Veto
from steerd.model.route import Capabilities, Desired, Route
from steerd.model.rules import Guards

__all__ = ["check_realised", "endpoint_shares"]

_TINY = 1e-9
_ROUNDING = 0.01
"""Utilization past the limit that is taken for rounding: the error of 255 steps is under half of that."""


def endpoint_shares(route: Route, caps: Capabilities, desired: Desired, result: Result) -> dict[str, float]:
    """Endpoint -> the share that the route really gives it: its target's, split inside the target as planned."""
    members_of = {t.key: t.endpoints for t in route.targets}
    shares: dict[str, float] = {}
    for target, share in realised(desired, caps).items():
        members = members_of.get(target, ())
        if not members:
            continue  # a target that left the config: on its way out
        planned = {e: result.shares.get(e, 0.0) for e in members}
        base = planned if sum(planned.values()) > _TINY else {e: result.normal.get(e, 0.0) for e in members}
        total = sum(base.values())
        for endpoint, part in base.items():
            shares[endpoint] = share * (part / total if total > _TINY else 1.0 / len(base))
    return shares


def check_realised(
    route: Route, caps: Capabilities, before: Desired | None, after: Desired, result: Result, inputs: Inputs,
    drains: Iterable[Drain], rules: Guards, now: float,
) -> Veto | None:  # fmt: skip
    """The guard that forbids writing `after` over `before`, or None. The confirmed dead and `force` pass."""
    if before is None or before == after:
        return None
    binding = {d.cause for d in drains if d.fraction > 0 and not d.force} - {Cause.DEAD, Cause.NEW}
    if not binding or any(d.force for d in drains):
        return None
    old = endpoint_shares(route, caps, before, result)
    new = endpoint_shares(route, caps, after, result)
    return _floor(route, old, new, binding, rules, now) or _capacity(route, old, new, result, inputs, binding, now)


def _floor(
    route: Route, old: dict[str, float], new: dict[str, float], binding: set[Cause], rules: Guards, now: float
) -> Veto | None:
    if not binding - {Cause.OPERATOR}:
        return None
    stay, were = (sum(s > _TINY for s in shares.values()) for shares in (new, old))
    members = sum(len(t.endpoints) for t in route.targets)
    if stay >= were or stay >= max(1.0, rules.min_in_rotation * members) - _TINY:
        return None
    text = f"{route.key} can only serve {stay} of {members} endpoints: fewer than min_in_rotation {rules.min_in_rotation:.0%}"
    return Veto(route.service, route.key, "floor", text, now)


def _capacity(
    route: Route, old: dict[str, float], new: dict[str, float], result: Result, inputs: Inputs, binding: set[Cause],
    now: float,
) -> Veto | None:  # fmt: skip
    if inputs.demand is None or inputs.demand <= 0 or result.overloaded:
        return None
    here = sum(result.shares.get(e, 0.0) for e in new)
    demand = inputs.demand * (here if route.scope is not None else 1.0)
    limit = 1.0 if Cause.DOWN in binding else inputs.max_utilization
    for slot in inputs.slots:
        share = new.get(slot.name, 0.0)
        if slot.effective <= 0 or share <= old.get(slot.name, 0.0) + _TINY:
            continue
        planned = result.shares.get(slot.name, 0.0) * inputs.demand / slot.effective
        load = share * demand / slot.effective
        if load > max(limit, planned) + _ROUNDING:
            text = f"{route.key} cannot express the plan: {slot.name} would run at {load:.0%}, over {limit:.0%}"
            return Veto(route.service, route.key, "capacity", text, now)
    return None
