"""Classes: the endpoints of a service that are alike, and shares kept by class instead of by endpoint.

    endpoints --(zone, capacity, how each route names them)--> kinds     once per config
    shares = one number per kind + the endpoints that stand apart        a view: reads like {endpoint: share}

Endpoints that are alike get equal shares, so a plan for ten thousand of them is a plan for a few kinds and for those that are
drained, pinned or weighed one by one. Nothing here is ever changed in place: what was published may be kept and compared.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from steerd.model.fleet import Service
from steerd.model.route import Route, Target

__all__ = [
    "Classes",
    "Kind",
    "Shares",
    "carrying",
    "differing",
    "gather",
    "kind_of_slot",
    "lone",
    "share_in",
    "slot_name",
    "spread",
]

_TINY = 1e-9
_REMEMBERED = 16
_MARK = "*"
"""Begins the name of a slot that stands for a kind; no endpoint's name can."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Endpoints that no rule tells apart. `capacity` is that of one, `members` are sorted by name."""

    number: int
    zone: str
    region: str
    capacity: float
    members: tuple[str, ...]


class Classes:
    """The kinds of one service. `of` maps an endpoint to the number of its kind; `names` keeps the order of the config."""

    def __init__(self, service: Service, region_of_zone: Callable[[str], str]) -> None:
        self.service = service
        self.names = tuple(e.name for e in service.endpoints)
        marks = [_marks(route) for route in service.routes]
        found: dict[tuple[object, ...], list[str]] = {}
        for e in service.endpoints:
            key = (e.zone, e.capacity, *(mark.get(e.name) for mark in marks))
            found.setdefault(key, []).append(e.name)
        kinds = []
        self.of: dict[str, int] = {}
        for number, (key, members) in enumerate(found.items()):
            zone, capacity = str(key[0]), float(key[1])  # type: ignore[arg-type]  # the two first parts of the key
            kinds.append(Kind(number, zone, region_of_zone(zone), capacity, tuple(sorted(members))))
            self.of.update(dict.fromkeys(members, number))
        self.kinds = tuple(kinds)
        self._merged: dict[tuple[int, ...], tuple[str, ...]] = {}

    def kind(self, endpoint: str) -> Kind:
        """The kind of `endpoint`. Raises KeyError."""
        return self.kinds[self.of[endpoint]]

    def merged(self, kinds: tuple[int, ...]) -> tuple[str, ...]:
        """The members of several kinds, sorted by name."""
        if len(kinds) == 1:
            return self.kinds[kinds[0]].members
        if kinds not in self._merged:
            if len(self._merged) >= _REMEMBERED:
                self._merged.clear()
            self._merged[kinds] = tuple(sorted(n for k in kinds for n in self.kinds[k].members))
        return self._merged[kinds]


def lone(target: Target) -> bool:
    """The target is one endpoint and called like it."""
    return target.endpoints == (target.key,)


def _marks(route: Route) -> dict[str, object]:
    """Endpoint -> how the route names it: a target it shares with others, or the number of values of its own."""
    return {
        e: len(t.values_for(frozenset(t.endpoints))) if lone(t) else t.key for t in route.targets for e in t.endpoints
    }


class Shares(Mapping[str, float]):
    """Endpoint -> share (0..1), by kind.

    `each` has one share per kind, None where the kind has no part in this. `own` are the endpoints that stand apart. A cut of a
    kind (name, share) gives that other share to its members before the name: integers do not always come out even.
    """

    __slots__ = ("_apart", "classes", "cuts", "each", "own")

    def __init__(
        self,
        classes: Classes,
        each: Sequence[float | None],
        own: Mapping[str, float],
        cuts: Mapping[int, tuple[str, float]] | None = None,
    ) -> None:
        self.classes = classes
        self.each = tuple(each)
        self.own = own
        self.cuts = cuts or {}
        self._apart: dict[int, list[str]] = {}
        for name in own:
            self._apart.setdefault(classes.of[name], []).append(name)

    def __getitem__(self, name: str) -> float:
        if name in self.own:
            return self.own[name]
        number = self.classes.of[name]
        share = self.each[number]
        if share is None:
            raise KeyError(name)
        cut = self.cuts.get(number)
        return cut[1] if cut is not None and name < cut[0] else share

    def __iter__(self) -> Iterator[str]:
        if None not in self.each:
            return iter(self.classes.names)
        of, each = self.classes.of, self.each
        return (n for n in self.classes.names if each[of[n]] is not None)

    def __len__(self) -> int:
        if None not in self.each:
            return len(self.classes.names)
        return sum(len(k.members) for k, share in zip(self.classes.kinds, self.each, strict=True) if share is not None)

    def __repr__(self) -> str:
        return repr(dict(self))

    def parts(self) -> Iterator[tuple[Kind, float, int]]:
        """(kind, share of one, how many) of those that do not stand apart."""
        for kind, share in zip(self.classes.kinds, self.each, strict=True):
            if share is None:
                continue
            apart = self._apart.get(kind.number, ())
            count = len(kind.members) - len(apart)
            cut = self.cuts.get(kind.number)
            if cut is not None:
                before = bisect_left(kind.members, cut[0]) - sum(name < cut[0] for name in apart)
                yield kind, cut[1], before
                count -= before
            yield kind, share, count

    def values_of(self, number: int) -> tuple[float, ...]:
        """The shares that members of a kind have, but for those that stand apart; none where it has no part in this."""
        share, cut = self.each[number], self.cuts.get(number)
        return () if share is None else (share,) if cut is None else (share, cut[1])


def slot_name(kind: Kind) -> str:
    """What a kind is called in the share arithmetic, where it stands for all of its members but those apart."""
    return f"{_MARK}{kind.number}"


def kind_of_slot(name: str) -> int | None:
    """The number of the kind that a slot stands for; None for a single endpoint."""
    return int(name[len(_MARK) :]) if name.startswith(_MARK) else None


def spread(classes: Classes, totals: Mapping[str, float]) -> Shares:
    """Shares of slots (kinds, and endpoints that stand apart) as shares of endpoints."""
    own = {name: share for name, share in totals.items() if kind_of_slot(name) is None}
    left = {k.number: len(k.members) for k in classes.kinds}
    each: list[float | None] = [None] * len(classes.kinds)
    for name in own:
        left[classes.of[name]] -= 1
        each[classes.of[name]] = 0.0  # of the kind itself nobody may be left
    for name, share in totals.items():
        if (number := kind_of_slot(name)) is not None:
            each[number] = share / left[number]
    return Shares(classes, each, own)


def gather(classes: Classes, shares: Mapping[str, float]) -> Shares:
    """Shares known by endpoint (those of a former config, or a stored state) by kind: what most members have is their kind's, the
    others stand apart. Endpoints of which nothing is known carry nothing. O(endpoints)."""
    each: list[float | None] = []
    own: dict[str, float] = {}
    for kind in classes.kinds:
        found = {e: shares.get(e, 0.0) for e in kind.members}
        most = Counter(found.values()).most_common(1)[0][0]
        each.append(most)
        own.update({e: s for e, s in found.items() if s != most})
    return Shares(classes, each, own)


def carrying(shares: Mapping[str, float]) -> int:
    """How many endpoints have a share."""
    if not isinstance(shares, Shares):
        return sum(s > _TINY for s in shares.values())
    return sum(n for _, s, n in shares.parts() if s > _TINY) + sum(s > _TINY for s in shares.own.values())


def share_in(shares: Mapping[str, float], members: Iterable[str], *, region: str) -> float:
    """The share of a region, whose `members` they are."""
    if not isinstance(shares, Shares):
        return sum(shares.get(e, 0.0) for e in members)
    total = sum(s * n for kind, s, n in shares.parts() if kind.region == region)
    return total + sum(s for e, s in shares.own.items() if shares.classes.kind(e).region == region)


def differing(before: Mapping[str, float], after: Mapping[str, float], by: float) -> list[str]:
    """Endpoints whose shares differ by more than `by`, sorted. Kinds whose shares cannot are not looked into."""
    names: Iterable[str] = {*before, *after} if not _alike(before, after) else _suspects(before, after, by)
    return sorted(n for n in names if abs(before.get(n, 0.0) - after.get(n, 0.0)) > by)


def _alike(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    return isinstance(before, Shares) and isinstance(after, Shares) and before.classes is after.classes


def _suspects(before: Mapping[str, float], after: Mapping[str, float], by: float) -> set[str]:
    assert isinstance(before, Shares)
    assert isinstance(after, Shares)
    found = {*before.own, *after.own}
    for kind in after.classes.kinds:
        old, new = before.values_of(kind.number) or (0.0,), after.values_of(kind.number) or (0.0,)
        if any(abs(a - b) > by for a in old for b in new):
            found.update(kind.members)
    return found
