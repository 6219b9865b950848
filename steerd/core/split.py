"""Split: what a route should serve for these shares, worked out by kind (decisions.md, section 7, last point).

    shares by kind -> amounts by kind -> Desired: the last one, with what changed put in

The same target by target, as plainly as can be, is `tests/support/plain_split.py`; tests compare the two.
A target that is one endpoint is treated with its kind; one that stands for several (a zone's record) is its own case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from steerd.core.classes import Classes, Shares
from steerd.core.compose import Composer, Form
from steerd.core.quantize import ENTER, Amounts, Unit, integers, membership
from steerd.core.shares import Result
from steerd.model.route import Capabilities, Desired, Route

__all__ = ["Splitter"]

_TINY = 1e-9


class Splitter:
    """One route's shares -> desired state and back. Remembers what it made, so that a change costs what changed."""

    def __init__(self, route: Route, caps: Capabilities, classes: Classes) -> None:
        self.route, self.caps, self.classes = route, caps, classes
        self.size = sum(len(t.endpoints) for t in route.targets)
        self._composer = Composer(route, caps, classes)
        kinds = classes.kinds
        self._capacity = sum(kinds[k].capacity * len(kinds[k].members) for k in self._composer.kinds)

    def desired(self, shares: Shares, normal: Shares, current: Desired | Mapping[str, int]) -> Desired | None:
        """What the route should serve; None when its part of the service carries nothing (it then stays as it is).

        `normal` are the shares with nothing drained, `current` what is served now: membership has hysteresis.
        """
        part, fair = self._scoped(shares), self._scoped(normal)
        if part is None or fair is None:
            return None
        units = self._units(part, fair)
        if not self.caps.membership:
            return self._composer.compose(part, integers(units, self.caps, self.classes, part.own))
        return self._composer.compose(part, self._members(units, current))

    def form(self, desired: Desired) -> Form:
        """A desired state by kind."""
        return self._composer.form(desired)

    def text(self, desired: Desired) -> str:
        """Its members as text, for the plan's hash."""
        return self._composer.text(desired)

    def carried(self, shares: Mapping[str, float]) -> float:
        """The share of the service that the route's endpoints have together."""
        assert isinstance(shares, Shares)
        return _total(self._there(shares))

    def realised(self, desired: Desired, result: Result) -> Shares:
        """Endpoint -> the share the route will really give it: its target's, split inside the target as planned."""
        form = self._composer.form(desired)
        amounts = Shares(self.classes, form.each, form.own, form.cuts)
        total = _total(amounts) + sum(form.shared.values()) or 1.0
        each: list[float | None] = [None if a is None else a / total for a in form.each]
        own = {name: amount / total for name, amount in form.own.items()}
        for key, target in self._composer.shared.items():
            if not target.size:
                continue  # it left the config, and is on its way out
            base = _base(result.shares, target.kinds)
            if base is None:
                base = _base(result.normal, target.kinds)
            share = form.shared.get(key, 0) / total
            for kind in target.kinds:
                each[kind] = share * (1.0 / target.size if base is None else (base[0].each[kind] or 0.0) / base[1])
            for name, part in (base[0].own if base is not None else {}).items():
                if self._composer.target_of.get(name) == key:
                    own[name] = share * part / base[1] if base is not None else 0.0
        cuts = {kind: (name, amount / total) for kind, (name, amount) in form.cuts.items()}
        return Shares(self.classes, each, own, cuts)

    def _there(self, shares: Shares) -> Shares:
        """The part of `shares` that the route has targets for."""
        each = [s if k in self._composer.kinds else None for k, s in enumerate(shares.each)]
        own = {e: s for e, s in shares.own.items() if each[self.classes.of[e]] is not None}
        return Shares(self.classes, each, own)

    def _scoped(self, shares: Shares) -> Shares | None:
        """The split inside the route, summing to 1; None when it carries nothing."""
        there = self._there(shares)
        total = _total(there)
        if total <= _TINY:
            return None
        each = [None if s is None else s / total for s in there.each]
        return Shares(self.classes, each, {e: s / total for e, s in there.own.items()})

    def _units(self, part: Shares, fair: Shares) -> list[Unit]:
        """What gets an amount: kinds, endpoints that stand apart, targets of several endpoints."""
        units = []
        shared: dict[str, list[float]] = {key: [0.0, 0.0] for key in self._composer.shared}
        for name, share in part.own.items():
            key = self._composer.target_of.get(name)
            if key is None:
                units.append(Unit(name, None, share, fair.get(name, 0.0)))
            else:
                shared[key][0] += share
                shared[key][1] += fair.get(name, 0.0)
        for kind, share, count in part.parts():
            usual = fair.each[kind.number] or 0.0
            key = self._composer.target_of.get(kind.members[0])
            if key is None and count:
                units.append(Unit("", kind.number, share, usual, count))
            elif key is not None:
                shared[key][0] += share * count
                shared[key][1] += usual * count
        units += [Unit(key, None, share, usual) for key, (share, usual) in shared.items()]
        return [replace(u, fair=self._fair(u)) for u in units] if self.caps.membership else units

    def _fair(self, unit: Unit) -> float:
        """What half of must be reached to be a member. Members are all answered alike, so that a part far below the one by capacity
        (a trickle, a small preference) cannot be expressed: its half is nothing, and the part by capacity is the measure."""
        kinds = self.classes.kinds
        if unit.kind is not None:
            even = kinds[unit.kind].capacity
        elif unit.key in self._composer.shared:
            even = sum(kinds[k].capacity * n for k, n in self._composer.shared[unit.key].kinds.items())
        else:
            even = self.classes.kind(unit.key).capacity
        even = even / self._capacity if self._capacity > 0 else 0.0
        return unit.fair if unit.fair >= ENTER * even else even

    def _members(self, units: list[Unit], current: Desired | Mapping[str, int]) -> Amounts:
        now = self._composer.form(current) if isinstance(current, Desired) else self._composer.scan(current, {})
        names = {u.key for u in units if u.kind is None}
        standing = {
            u.kind: {n: now.of(u.kind, n) for n in self.classes.kinds[u.kind].members if n not in names}
            for u in units
            if u.kind is not None and not (u.share >= u.fair or u.share <= _TINY)
        }
        single = {u.key: now.at(u.key, self.classes) for u in units if u.kind is None}
        return membership(units, single, standing, self.classes)


def _total(shares: Shares) -> float:
    return sum(s * n for _, s, n in shares.parts()) + sum(shares.own.values())


def _base(shares: Mapping[str, float], kinds: Mapping[int, int]) -> tuple[Shares, float] | None:
    """Shares to split a target by, and their sum inside it; None when they give it nothing."""
    assert isinstance(shares, Shares)
    total = sum(s * n for kind, s, n in shares.parts() if kind.number in kinds)
    total += sum(s for e, s in shares.own.items() if shares.classes.of[e] in kinds)
    return (shares, total) if total > _TINY else None
