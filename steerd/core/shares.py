"""Plan: what share of a service's traffic each endpoint gets (decisions.md, section 7).

    normal shares (everything in service)          by preference per region, inside a region by effective capacity
      -> movers, in order dead, down, gray         each drain takes its fraction of the normal shares of its endpoints away
      -> water-fill over the receivers             first inside the mover's region, then the other regions by preference,
                                                   none above its limit at the current demand
      -> last resort                               endpoints only partly drained (on their way out or back) take what nobody
                                                   else can of a domain that goes out altogether
      -> shortfall                                 what fits nowhere: kept where it is, or spread, by the kind of move

Pure arithmetic on fractions 0..1; capacity and demand share one unit of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from steerd.model.plan import Cause

__all__ = ["Inputs", "Mover", "Result", "Slot", "compute", "fill", "normal_shares"]

_TINY = 1e-12

_ORDER = {Cause.DEAD: 0, Cause.DOWN: 1, Cause.GRAY: 2, Cause.OPERATOR: 2, Cause.NEW: 3}


@dataclass(frozen=True, slots=True)
class Slot:
    """One endpoint as the plan sees it: nominal capacity, and the health factor it is weighed with (1 healthy, 0.5 degraded).
    Or several that are alike, with their capacity together: water rises in all of them as in one."""

    name: str
    zone: str
    region: str
    capacity: float
    factor: float = 1.0

    @property
    def effective(self) -> float:
        return self.capacity * self.factor


@dataclass(frozen=True, slots=True)
class Mover:
    """One drain at work on these endpoints: `fraction` 1.0 takes all of their normal share away."""

    key: str
    cause: Cause
    endpoints: frozenset[str]
    fraction: float
    force: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a plan depends on. `prefer` is region -> weight (any positive scale), None for proportional to capacity.
    `pins` fixes shares of endpoints. `closed` endpoints take nothing beyond their preference, `idle` ones carry nothing now.
    `demand` None switches the capacity rule off."""

    slots: tuple[Slot, ...]
    movers: tuple[Mover, ...] = ()
    prefer: Mapping[str, float] | None = None
    demand: float | None = None
    max_utilization: float = 0.8
    shortfall: Literal["spread", "shed"] = "spread"
    pins: Mapping[str, float] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Result:
    """`shares` sum to 1. `kept` is what could not be moved away, per mover key. `overloaded` tells that receivers were filled
    past 100% of their capacity because the dead cannot keep traffic (`overload-accepted`). `diverted` is the part of the demand
    that the fallback service takes (`steerd.core.fallback`); the shares are of the rest."""

    shares: Mapping[str, float]
    normal: Mapping[str, float]
    kept: dict[str, float]
    overloaded: bool
    notes: tuple[str, ...]
    diverted: float = 0.0


def region_weights(slots: Iterable[Slot], prefer: Mapping[str, float] | None) -> dict[str, float]:
    """Region -> fraction of the service, over regions that have capacity; proportional to nominal capacity by default."""
    capacity: dict[str, float] = {}
    usable: set[str] = set()
    for slot in slots:
        capacity[slot.region] = capacity.get(slot.region, 0.0) + slot.capacity
        if slot.effective > 0:
            usable.add(slot.region)
    weights = {
        r: (capacity[r] if prefer is None else max(0.0, prefer.get(r, 0.0))) for r in sorted(capacity) if r in usable
    }
    total = sum(weights.values())
    if total <= 0:
        weights = {r: capacity[r] for r in sorted(capacity) if r in usable}
        total = sum(weights.values())
    return {r: w / total for r, w in weights.items()} if total > 0 else {}


def normal_shares(inputs: Inputs) -> dict[str, float]:
    """Shares with nothing drained: regions by preference, inside a region by effective capacity, pins as they are, nobody else
    above the limit as long as there is room elsewhere. Sums to 1 (all zeros when nothing has capacity)."""
    weights = region_weights(inputs.slots, inputs.prefer)
    effective: dict[str, float] = {}
    for slot in inputs.slots:
        effective[slot.region] = effective.get(slot.region, 0.0) + slot.effective
    shares = {
        s.name: (weights.get(s.region, 0.0) * s.effective / effective[s.region] if effective[s.region] > 0 else 0.0)
        for s in inputs.slots
    }
    shares = _pin(shares, inputs.pins)
    if inputs.demand is None or inputs.demand <= 0:
        return shares
    free = tuple(s for s in inputs.slots if s.name not in inputs.pins)
    overflow: dict[str, float] = {}
    for slot in free:
        limit = _limit(slot, inputs, inputs.max_utilization)
        if shares[slot.name] > limit + _TINY:
            overflow[slot.region] = overflow.get(slot.region, 0.0) + shares[slot.name] - limit
            shares[slot.name] = limit
    rest = 0.0
    for region in sorted(overflow):
        rest += _place(shares, overflow[region], region, _open(inputs), inputs, inputs.max_utilization)
    if rest > _TINY:  # the whole fleet is over its limit: load it evenly rather than choose a victim
        _spread(shares, rest, _open(inputs) or free)
    return shares


def _open(inputs: Inputs) -> tuple[Slot, ...]:
    """What may take more than its preference."""
    if not inputs.closed and not inputs.pins:
        return inputs.slots
    return tuple(s for s in inputs.slots if s.name not in inputs.closed and s.name not in inputs.pins)


def compute(inputs: Inputs) -> Result:
    """The plan. Endpoints no mover touches only ever gain, and only from movers."""
    normal = normal_shares(inputs)
    moved_by = _assign(inputs.movers)
    shares = dict(normal)
    amounts: dict[str, dict[str, float]] = {}
    for slot in inputs.slots:
        mover = moved_by.get(slot.name)
        if mover is not None and slot.name not in inputs.pins:
            amount = normal[slot.name] * mover.fraction
            shares[slot.name] = normal[slot.name] - amount
            amounts.setdefault(mover.key, {})[slot.name] = amount
    receivers = tuple(s for s in _open(inputs) if s.name not in moved_by and s.effective > 0)
    partly = tuple(
        s
        for s in inputs.slots
        if (m := moved_by.get(s.name)) and m.fraction < 1.0 - _TINY and s.name not in inputs.pins and s.effective > 0
    )
    region_of = {s.name: s.region for s in inputs.slots}
    kept: dict[str, float] = {}
    overloaded = False
    notes: list[str] = ["demand unknown: the capacity rule is off"] if inputs.demand is None else []
    unplaced: list[tuple[Mover, float, tuple[Slot, ...]]] = []

    def finish(mover: Mover, left: float, last_resort: tuple[Slot, ...]) -> None:
        if left := _place_rest(shares, left, mover, receivers, last_resort, inputs):
            _keep(shares, amounts[mover.key], left, inputs.idle)
            kept[mover.key] = left

    # What is forced out goes anyhow: it takes its room first, so that nothing later is pushed past a limit in its name.
    for mover in sorted(inputs.movers, key=lambda m: (0 if m.force else _ORDER[m.cause], m.key)):
        if not amounts.get(mover.key):
            continue
        over, left = _move(shares, amounts[mover.key], mover, receivers, inputs, region_of)
        overloaded = overloaded or over
        if left > _TINY and partly and mover.fraction >= 1.0 - _TINY:
            unplaced.append((mover, left, partly))
        elif left > _TINY:
            finish(mover, left, ())
    for rest in unplaced:  # what partly drained endpoints keep of their own comes before what they take from others
        finish(*rest)
    return Result(shares=shares, normal=normal, kept=kept, overloaded=overloaded, notes=tuple(notes))


def _assign(movers: Iterable[Mover]) -> dict[str, Mover]:
    """Endpoint -> the mover that takes most of it away (of equals, the one with the fewest limits: force has none)."""
    best: dict[str, Mover] = {}
    for mover in sorted(movers, key=lambda m: m.key):
        for endpoint in mover.endpoints:
            known = best.get(endpoint)
            if known is None or _precedence(mover) > _precedence(known):
                best[endpoint] = mover
    return best


def _precedence(mover: Mover) -> tuple[float, bool, int]:
    return mover.fraction, mover.force, -_ORDER[mover.cause]


def _move(
    shares: dict[str, float],
    mine: Mapping[str, float],
    mover: Mover,
    receivers: tuple[Slot, ...],
    inputs: Inputs,
    region_of: Mapping[str, str],
) -> tuple[bool, float]:
    """Places what one mover takes away, within what its kind of move allows. Returns (receivers go past their limit without
    asking, what is left)."""
    by_region: dict[str, float] = {}
    for endpoint, amount in mine.items():
        by_region[region_of[endpoint]] = by_region.get(region_of[endpoint], 0.0) + amount
    left = 0.0
    for region in sorted(by_region):
        left += _place(shares, by_region[region], region, receivers, inputs, inputs.max_utilization)
    over = left > _TINY and _spreads(mover, inputs)  # past max_utilization: said, even where it stays within capacity
    if left > _TINY and _urgent(mover):
        left = _place(shares, left, "", receivers, inputs, 1.0)
    return over, left


def _place_rest(
    shares: dict[str, float],
    left: float,
    mover: Mover,
    receivers: tuple[Slot, ...],
    last_resort: tuple[Slot, ...],
    inputs: Inputs,
) -> float:
    """Places what nobody has room for: with the last receivers, or past every limit. Returns what is to be kept."""
    if last_resort:
        left = _place(shares, left, "", last_resort, inputs, 1.0 if _urgent(mover) else inputs.max_utilization)
    if left > _TINY and _spreads(mover, inputs) and (receivers or last_resort):
        _spread(shares, left, (*receivers, *last_resort))
        return 0.0
    return left if left > _TINY else 0.0


def _urgent(mover: Mover) -> bool:
    return mover.cause in (Cause.DEAD, Cause.DOWN) or mover.force


def _spreads(mover: Mover, inputs: Inputs) -> bool:
    return mover.force or (mover.cause is Cause.DEAD and inputs.shortfall == "spread")


def _place(
    shares: dict[str, float], amount: float, region: str, receivers: Iterable[Slot], inputs: Inputs, utilization: float
) -> float:
    """Pours `amount` into the receivers of `region` first, then into the other regions by preference. Returns what is left."""
    members = tuple(receivers)
    own = [s for s in members if s.region == region]
    left = (
        fill(shares, amount, {s.name: s.effective for s in own}, _limits(own, inputs, utilization)) if own else amount
    )
    others = [s for s in members if s.region != region]
    if left <= _TINY or not others:
        return max(0.0, left)
    weights = region_weights(others, inputs.prefer)
    effective: dict[str, float] = {}
    for slot in others:
        effective[slot.region] = effective.get(slot.region, 0.0) + slot.effective
    parts = {s.name: weights.get(s.region, 0.0) * s.effective / effective[s.region] for s in others}
    left = fill(shares, left, parts, _limits(others, inputs, utilization))
    if left > _TINY:  # regions the preference gives nothing still beat leaving traffic where it fails
        left = fill(shares, left, {s.name: s.effective for s in others}, _limits(others, inputs, utilization))
    return left


def fill(shares: dict[str, float], amount: float, weights: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Water-fill: adds `amount` to `shares` in proportion to `weights`, none above its limit. Returns what did not fit."""
    left = amount
    top = max(weights.values(), default=0.0)
    # Relative to the largest, and not vanishingly small beside it: keeps the divisions below away from overflow.
    open_ = {n: w / top for n, w in weights.items() if w > _TINY * top and shares[n] < limits[n] - _TINY}
    while left > _TINY and open_:
        total = sum(open_.values())
        # Everybody rises together until the first is full; that one leaves, and the rest rise on.
        rise = min(left / total, *((limits[n] - shares[n]) / w for n, w in open_.items()))
        for name, weight in open_.items():
            shares[name] += rise * weight
        left -= rise * total
        open_ = {n: w for n, w in open_.items() if shares[n] < limits[n] - _TINY}
    return max(0.0, left)


def _spread(shares: dict[str, float], amount: float, receivers: Iterable[Slot]) -> None:
    """Past every limit: in proportion to effective capacity."""
    members = tuple(receivers)
    total = sum(s.effective for s in members)
    if total <= 0:
        return
    for slot in members:
        shares[slot.name] += amount * slot.effective / total


def _keep(shares: dict[str, float], mine: Mapping[str, float], left: float, idle: frozenset[str]) -> None:
    """What fits nowhere stays where it is served now: what was out before gets none of it back. Unless all of it was out: then
    demand outgrew the receivers since, and their limit counts for more (only force, and the dead, push them past it)."""
    serving = {e: amount for e, amount in mine.items() if e not in idle} or mine
    total = sum(serving.values())
    for endpoint, amount in serving.items():
        shares[endpoint] += left * amount / total


def _limits(slots: Iterable[Slot], inputs: Inputs, utilization: float) -> dict[str, float]:
    return {s.name: _limit(s, inputs, utilization) for s in slots}


def _limit(slot: Slot, inputs: Inputs, utilization: float) -> float:
    """The largest share that keeps this endpoint at or under `utilization` of its effective capacity; no demand, no limit."""
    if inputs.demand is None or inputs.demand <= 0:
        return float("inf")
    return utilization * slot.effective / inputs.demand


def _pin(shares: dict[str, float], pins: Mapping[str, float]) -> dict[str, float]:
    """Pinned endpoints get exactly their share; everybody else shares the rest in the proportions planned."""
    mine = {n: p for n, p in pins.items() if n in shares}
    if not mine:
        return shares
    fixed = min(1.0, sum(mine.values()))
    free = sum(s for n, s in shares.items() if n not in mine)
    scale = (1.0 - fixed) / free if free > _TINY else 0.0
    pinned = {n: (mine[n] if n in mine else s * scale) for n, s in shares.items()}
    total = sum(pinned.values())
    return {n: s / total for n, s in pinned.items()} if total > 0 else shares
