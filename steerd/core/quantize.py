"""Quantize: shares become what a traffic system can express (decisions.md, section 7, last point).

Weights: integers with the largest share at the system's maximum, so that the error of any share is at most half a step.
Membership: in from 50% of its fair share up, out below 25%, unchanged in between. What the plan gives less than half of its part
by capacity (a trickle) has that part as its fair share: it is out until it carries in earnest.

Endpoints that are alike are one unit: only the remainder tells some of them from the others. The same rules target by target are
`tests/support/plain_split.py`, and tests compare the two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from steerd.core.classes import Classes
from steerd.model.route import Capabilities, Desired

__all__ = ["ENTER", "Amounts", "Unit", "integers", "membership", "realised"]

ENTER = 0.50
_LEAVE = 0.25
_TINY = 1e-9
_SAME = 9
"""Digits: remainders closer than this are equal, and go by name. Sums of shares are no more exact than that."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What gets one amount: a target by its key, or the `count` members of a kind that do not stand apart (`key` empty).

    `share` and `fair` (the share with nothing drained) are those of one.
    """

    key: str
    kind: int | None
    share: float
    fair: float
    count: int = 1


@dataclass(slots=True)
class Amounts:
    """Weights per unit: of kinds, of the members of a kind before a name, and of single targets."""

    kinds: dict[int, int] = field(default_factory=dict)
    cuts: dict[int, tuple[str, int]] = field(default_factory=dict)
    single: dict[str, int] = field(default_factory=dict)

    def put(self, unit: Unit, amount: int) -> None:
        if unit.kind is None:
            self.single[unit.key] = amount
        else:
            self.kinds[unit.kind] = amount


def integers(units: Sequence[Unit], caps: Capabilities, classes: Classes, apart: Iterable[str]) -> Amounts:
    """Largest remainder on the scale where the largest share gets the maximum weight; what carries gets at least 1.

    `apart` are the endpoints that are units of their own.
    """
    found = Amounts()
    top = max((u.share for u in units), default=0.0)
    if top <= _TINY:
        for unit in units:
            found.put(unit, 0)
        return found
    least = max(caps.minimum - _TINY, _TINY)  # a share that is the minimum may be a rounding error below it
    wanted = [u.share / top * caps.weight_max if u.share >= least else 0.0 for u in units]
    weights = [int(w + _TINY) for w in wanted]
    missing = round(round(sum(w * u.count for w, u in zip(wanted, units, strict=True)), _SAME))
    missing -= sum(w * u.count for w, u in zip(weights, units, strict=True))
    for at, unit in enumerate(units):
        found.put(unit, max(1, weights[at]) if wanted[at] > 0 else 0)
    order = sorted((round(weights[at] - wanted[at], _SAME), at) for at in range(len(units)))
    for _, lot in groupby(order, key=lambda item: item[0]):
        if missing <= 0:
            break
        block = [at for _, at in lot if wanted[at] > weights[at] + _TINY]
        count = sum(units[at].count for at in block)
        bound = _first_without([units[at] for at in block], missing, classes, apart) if count > missing else None
        missing -= count
        for at in block:
            unit = units[at]
            if bound is None or (unit.kind is None and unit.key < bound):
                found.put(unit, max(1, weights[at] + 1))
            elif unit.kind is not None:
                found.cuts[unit.kind] = (bound, max(1, weights[at] + 1))
    return found


def _first_without(block: Sequence[Unit], more: int, classes: Classes, apart: Iterable[str]) -> str:
    """The first name in order that gets none of the `more` that are left, among targets with equal remainders."""
    names = classes.merged(tuple(sorted(u.kind for u in block if u.kind is not None)))
    single = sorted(u.key for u in block if u.kind is None)
    kinds = {u.kind for u in block}
    others = [n for n in apart if classes.of[n] in kinds]
    if single:
        gone = set(others)
        return sorted([*(n for n in names if n not in gone), *single])[more]
    at = more
    for place in sorted(bisect_left(names, n) for n in others):
        if place > at:
            break
        at += 1
    return names[at]


def membership(
    units: Sequence[Unit], now: Mapping[str, int], standing: Mapping[int, Mapping[str, int]], classes: Classes
) -> Amounts:
    """In from half of its fair share up, out below a quarter, unchanged in between; never empty: the largest stays in.

    `now` is target -> amount served, for single targets; `standing` the same for members of the kinds halfway, but those apart.
    """
    found = Amounts()
    for unit in units:
        if unit.fair <= _TINY:
            found.put(unit, 1 if unit.share > _TINY else 0)
        elif unit.share >= ENTER * unit.fair - _TINY:
            found.put(unit, 1)
        elif unit.share < _LEAVE * unit.fair - _TINY:
            found.put(unit, 0)
        elif unit.kind is None:
            found.put(unit, 1 if now.get(unit.key, 0) > 0 else 0)
        else:  # as each of them stands: only here are the members of a kind told apart
            found.put(unit, 0)
            found.single.update({name: 1 for name, amount in standing[unit.kind].items() if amount > 0})
    if units and not any(found.kinds.values()) and not any(found.single.values()):
        apart = {u.key for u in units if u.kind is None}
        top = max(u.share for u in units)
        found.single[min(_first_of(u, classes, apart) for u in units if u.share == top)] = 1
    return found


def _first_of(unit: Unit, classes: Classes, apart: Collection[str]) -> str:
    """The first target of a unit by name."""
    return unit.key if unit.kind is None else next(n for n in classes.kinds[unit.kind].members if n not in apart)


def realised(desired: Desired, caps: Capabilities) -> dict[str, float]:
    """Target key -> the share that the system will really give it."""
    if caps.membership and caps.dns:
        # Every address is answered equally often, so a target counts once per value.
        counts = {m.target: (max(1, len(m.values)) if m.weight > 0 else 0) for m in desired.members}
    else:
        counts = {m.target: m.weight for m in desired.members}
    total = sum(counts.values())
    return {t: (c / total if total else 0.0) for t, c in counts.items()}
