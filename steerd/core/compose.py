"""Compose: amounts by kind become a `Desired`, and a `Desired` is read back by kind.

The members of a route stand in one list, sorted by target. A new state is a copy of the last list with other members in the places
that changed: what stays is the same object, so comparing and hashing it later costs next to nothing either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from steerd.core.classes import Classes, Shares, lone
from steerd.core.quantize import Amounts
from steerd.model.route import Capabilities, Desired, Member, Route, Target

__all__ = ["Composer", "Form"]

_TINY = 1e-9
_WEIGHTS = 8
_REMEMBERED = 4
"""Desired states whose form is kept: what is served, what is planned, and a preview's or two."""


@dataclass(frozen=True, slots=True)
class Form:
    """A desired state by kind. An amount is what the system answers in proportion to: the weight, or where every address is
    answered equally often the number of values; 0 is out.

    `each` has one amount per kind (None: the route knows its endpoints by shared targets, or not at all), `cuts` another one for
    the members of a kind before a name, `own` those of single endpoints, `shared` those of targets of several endpoints.
    """

    each: tuple[int | None, ...]
    cuts: Mapping[int, tuple[str, int]]
    own: Mapping[str, int]
    shared: Mapping[str, int]

    def of(self, kind: int, name: str) -> int:
        """The amount of one endpoint of a kind."""
        if name in self.own:
            return self.own[name]
        cut = self.cuts.get(kind)
        return cut[1] if cut is not None and name < cut[0] else self.each[kind] or 0

    def at(self, target: str, classes: Classes) -> int:
        """The amount of one target."""
        if target in self.shared:
            return self.shared[target]
        return self.of(classes.of[target], target) if target in classes.of else 0


@dataclass(slots=True)
class SharedTarget:
    """A target of several endpoints: how many of each kind, and the values it has for those that carry."""

    target: Target
    kinds: dict[int, int]
    size: int
    carrying: object = None
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class _Lone:
    """The single-endpoint targets of one kind: their places in the route, and their members made so far, by weight."""

    targets: list[Target] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    values: int = 1
    made: dict[int, tuple[list[Member], list[str]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Known:
    desired: Desired
    form: Form
    texts: list[str] | None


class Composer:
    """One route's members. `kinds` are those it has targets for, `target_of` maps endpoints to targets they share."""

    def __init__(self, route: Route, caps: Capabilities, classes: Classes) -> None:
        self._caps, self._classes = caps, classes
        self._counted = caps.membership and caps.dns
        self._lone: dict[int, _Lone] = {}
        self.shared: dict[str, SharedTarget] = {}
        self.target_of: dict[str, str] = {}
        self._place: dict[str, int] = {}
        for place, target in enumerate(sorted(route.targets, key=lambda t: t.key)):
            self._place[target.key] = place
            if lone(target) and target.key in classes.of:
                lot = self._lone.setdefault(classes.of[target.key], _Lone())
                lot.targets.append(target)
                lot.places.append(place)
                lot.values = max(1, len(_values(target)))
                continue
            known = [e for e in target.endpoints if e in classes.of]
            self.target_of.update(dict.fromkeys(known, target.key))
            self.shared[target.key] = SharedTarget(target, Counter(classes.of[e] for e in known), len(target.endpoints))
        self.kinds = frozenset(self._lone) | {k for t in self.shared.values() for k in t.kinds}
        self._members = [Member(key, 0) for key in self._place]
        self._texts = [_text(m) for m in self._members]
        self._form = Form(tuple(0 if k in self._lone else None for k in range(len(classes.kinds))), {}, {}, {})
        self._last: Desired | None = None
        self._known: list[_Known] = []

    # -- amounts -> desired -----------------------------------------------------------------------------------------------

    def compose(self, part: Shares, weights: Amounts) -> Desired:
        """The state with these weights. `part` says which endpoints of a shared target carry, and with it what it serves."""
        before = self._form
        each = tuple(weights.kinds.get(k, 0) if k in self._lone else None for k in range(len(before.each)))
        own = {n: w for n, w in weights.single.items() if n not in self.shared}
        after = Form(each, weights.cuts, own, {})
        members, texts = list(self._members), list(self._texts)
        for kind in self._lone:
            if (before.each[kind], before.cuts.get(kind)) != (after.each[kind], after.cuts.get(kind)):
                self._put_kind(kind, before, after, members, texts)
        for name in {*before.own, *own}:
            self._put(name, self._lone_member(name, after), members, texts)
        amounts: dict[str, int] = {}
        for key, shared in self.shared.items():
            amounts[key] = weight = weights.single.get(key, 0)
            values = self._shared_values(shared, part) if weight > 0 else ()
            if weight > 0 and self._counted:
                amounts[key] = max(1, len(values))
            member = members[self._place[key]]
            if (member.weight, member.values) != (weight, values):
                self._put(key, Member(key, weight, values), members, texts)
        self._form = after
        if self._last is not None and members == self._members:
            return self._last
        self._members, self._texts, self._last = members, texts, Desired(tuple(members))
        self._remember(_Known(self._last, self._answered(after, amounts), texts))
        return self._last

    def _put_kind(self, kind: int, before: Form, after: Form, members: list[Member], texts: list[str]) -> None:
        """Puts in the members of a kind whose weight is another one now."""
        lot, names = self._lone[kind], self._classes.kinds[kind].members
        old_cut, new_cut = before.cuts.get(kind), after.cuts.get(kind)
        old_at = bisect_left(names, old_cut[0]) if old_cut is not None else 0
        new_at = bisect_left(names, new_cut[0]) if new_cut is not None else 0
        edges = sorted({0, old_at, new_at, len(names)})
        for begin, end in pairwise(edges):
            old = old_cut[1] if old_cut is not None and begin < old_at else before.each[kind]
            new = (new_cut[1] if new_cut is not None and begin < new_at else after.each[kind]) or 0
            if old == new:
                continue
            made, lines = self._made(lot, new)
            first = lot.places[begin]
            if lot.places[end - 1] - first == end - 1 - begin:  # side by side in the route
                members[first : first + end - begin] = made[begin:end]
                texts[first : first + end - begin] = lines[begin:end]
            else:
                for at in range(begin, end):
                    members[lot.places[at]], texts[lot.places[at]] = made[at], lines[at]

    def _made(self, lot: _Lone, weight: int) -> tuple[list[Member], list[str]]:
        if weight not in lot.made:
            if len(lot.made) >= _WEIGHTS:
                lot.made.clear()
            made = [Member(t.key, weight, _values(t) if weight > 0 else ()) for t in lot.targets]
            lot.made[weight] = made, [_text(m) for m in made]
        return lot.made[weight]

    def _lone_member(self, name: str, form: Form) -> Member:
        kind = self._classes.of[name]
        lot = self._lone[kind]
        weight = form.of(kind, name)
        at = bisect_left(self._classes.kinds[kind].members, name)
        if weight in lot.made:
            return lot.made[weight][0][at]
        return Member(name, weight, _values(lot.targets[at]) if weight > 0 else ())

    def _put(self, key: str, member: Member, members: list[Member], texts: list[str]) -> None:
        place = self._place[key]
        if members[place] != member:
            members[place], texts[place] = member, _text(member)

    def _shared_values(self, shared: SharedTarget, part: Shares) -> tuple[str, ...]:
        """The values of those of its endpoints that carry; looked up anew only when other ones do."""
        own = [(n, s > _TINY) for n, s in part.own.items() if self.target_of.get(n) == shared.target.key]
        usual = {k: (part.each[k] or 0.0) > _TINY for k in shared.kinds}
        odd = frozenset(n for n, carries in own if carries != usual[self._classes.of[n]])
        carrying = (frozenset(k for k, carries in usual.items() if carries), odd)
        if shared.carrying != carrying:
            of = self._classes.of
            names = frozenset(e for e in shared.target.endpoints if e in of and usual[of[e]] != (e in odd))
            shared.values, shared.carrying = shared.target.values_for(names), carrying
        return shared.values

    def _answered(self, weights: Form, shared: Mapping[str, int]) -> Form:
        """Weights as amounts: how often each is answered."""
        if not self._counted:
            return Form(weights.each, weights.cuts, weights.own, shared)
        each = tuple(None if w is None else w and self._lone[k].values for k, w in enumerate(weights.each))
        own = {n: w and self._lone[self._classes.of[n]].values for n, w in weights.own.items()}
        return Form(each, {}, own, shared)  # membership knows 0 and 1 only, and so no cuts

    # -- desired -> amounts -----------------------------------------------------------------------------------------------

    def form(self, desired: Desired) -> Form:
        """Its amounts by kind. What this composer did not make is read member by member, once."""
        return self._find(desired).form

    def text(self, desired: Desired) -> str:
        """Its members as text."""
        known = self._find(desired)
        if known.texts is None:
            known.texts = [_text(m) for m in desired.members]
        return f"[{', '.join(known.texts)}]"

    def _find(self, desired: Desired) -> _Known:
        for known in self._known:
            if known.desired is desired:
                return known
        counts = {m.target: max(1, len(m.values)) for m in desired.members} if self._counted else {}
        return self._remember(_Known(desired, self.scan(desired.weights, counts), None))

    def _remember(self, known: _Known) -> _Known:
        self._known = [known, *self._known[: _REMEMBERED - 1]]
        return known

    def scan(self, weights: Mapping[str, int], counts: Mapping[str, int]) -> Form:
        """Weights of targets by kind: what most of a kind have, and those that differ. `counts` are numbers of values, where these
        matter."""
        amounts = {t: counts.get(t, w) if w > 0 else 0 for t, w in weights.items()} if counts else weights
        each: list[int | None] = [None] * len(self._classes.kinds)
        own: dict[str, int] = {}
        for kind, lot in self._lone.items():
            mine = {t.key: amounts.get(t.key, 0) for t in lot.targets}
            usual = Counter(mine.values()).most_common(1)[0][0]
            each[kind] = usual
            own.update({key: amount for key, amount in mine.items() if amount != usual})
        shared = {t: a for t, a in amounts.items() if t in self.shared or t not in self._place}
        return Form(tuple(each), {}, own, shared)


def _values(target: Target) -> tuple[str, ...]:
    return target.values_for(frozenset(target.endpoints))


def _text(member: Member) -> str:
    return str((member.target, member.weight, member.values))
