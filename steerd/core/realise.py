"""Realised: the guards once more, on what a traffic system will really serve (decisions.md, section 7, last point).

Systems that know only integers or only membership give other shares than planned. Before a route is written, the receivers' limit
and the floor are checked on those. A route that fails stays as it is, with the guard's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from steerd.core.classes import Shares, carrying
from steerd.core.shares import Inputs, Result
from steerd.core.split import Splitter
from steerd.model.plan import Cause, Drain, Veto
from steerd.model.route import Desired
from steerd.model.rules import Guards

__all__ = ["check_realised"]

_TINY = 1e-9
_ROUNDING = 0.01
"""Utilization past the limit that is taken for rounding: the error of 255 steps is under half of that."""


def check_realised(
    split: Splitter, before: Desired | None, after: Desired, result: Result, inputs: Inputs, drains: Iterable[Drain],
    rules: Guards, now: float,
) -> Veto | None:  # fmt: skip
    """The guard that forbids writing `after` over `before`, or None. The confirmed dead pass, and what a forced drain takes away in
    this very write: one that stands since long is no licence for what automation does later."""
    if before is None or before == after:
        return None
    drains = tuple(drains)
    binding = {d.cause for d in drains if d.fraction > 0 and not d.force} - {Cause.DEAD, Cause.NEW}
    if not binding:
        return None
    old, new = split.realised(before, result), split.realised(after, result)
    if any(d.force and d.fraction > 0 and _carries(new, d.name) < _carries(old, d.name) - _TINY for d in drains):
        return None
    if (
        inputs.demand is not None
        and result.overloaded
        and any(d.cause is Cause.DEAD and d.fraction > 0 for d in drains)
    ):
        inputs = replace(inputs, demand=None)  # past every limit because the dead leave: that is said, and wanted
    return _floor(split, old, new, binding, rules, now) or _capacity(split, old, new, result, inputs, binding, now)


def _carries(shares: Shares, name: str) -> float:
    """The share of an endpoint, zone or region."""
    if name in shares.classes.of:
        return shares.get(name, 0.0)
    inside = sum(s * n for kind, s, n in shares.parts() if name in (kind.zone, kind.region))
    kind_of = shares.classes.kind
    return inside + sum(s for e, s in shares.own.items() if name in (kind_of(e).zone, kind_of(e).region))


def _floor(split: Splitter, old: Shares, new: Shares, binding: set[Cause], rules: Guards, now: float) -> Veto | None:
    if not binding - {Cause.OPERATOR}:
        return None
    stay, were, route = carrying(new), carrying(old), split.route
    if stay >= were or stay >= max(1.0, rules.min_in_rotation * split.size) - _TINY:
        return None
    text = f"{route.key} can only serve {stay} of {split.size} endpoints: fewer than min_in_rotation {rules.min_in_rotation:.0%}"
    return Veto(route.service, route.key, "floor", text, now)


def _capacity(
    split: Splitter, old: Shares, new: Shares, result: Result, inputs: Inputs, binding: set[Cause], now: float,
) -> Veto | None:  # fmt: skip
    if inputs.demand is None or inputs.demand <= 0:
        return None
    route = split.route
    demand = inputs.demand * (split.carried(result.shares) if route.scope is not None else 1.0)
    limit = 1.0 if Cause.DOWN in binding else inputs.max_utilization
    factors = {s.name: s.factor for s in inputs.slots if s.name in split.classes.of}
    over: dict[str, float] = {}
    for name in _candidates(old, new, result.shares, demand, limit):
        capacity = split.classes.kind(name).capacity * factors.get(name, 1.0)
        share = new.get(name, 0.0)
        if capacity <= 0 or share <= old.get(name, 0.0) + _TINY:
            continue
        load = share * demand / capacity
        if load > max(limit, result.shares.get(name, 0.0) * inputs.demand / capacity) + _ROUNDING:
            over[name] = load
    if not over:
        return None
    name = next(n for n in split.classes.names if n in over)
    text = f"{route.key} cannot express the plan: {name} would run at {over[name]:.0%}, over {limit:.0%}"
    return Veto(route.service, route.key, "capacity", text, now)


def _candidates(old: Shares, new: Shares, planned: Mapping[str, float], demand: float, limit: float) -> Iterator[str]:
    """Endpoints that gain and may be over the limit: those that stand apart, and kinds of which any member could be."""
    assert isinstance(planned, Shares)
    yield from {*old.own, *new.own, *planned.own}
    for kind in new.classes.kinds:
        least = min(old.values_of(kind.number), default=0.0)
        room = max(limit * kind.capacity, (planned.each[kind.number] or 0.0) * demand) + _ROUNDING * kind.capacity
        if any(s > least + _TINY and s * demand > room for s in new.values_of(kind.number)):
            yield from kind.members
