"""The rules of quantizing once more, target by target and as simply as can be, beside the real ones that go by kinds.

`desired_for` asks both and holds them against each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from steerd.core.classes import Classes, Shares
from steerd.core.quantize import realised
from steerd.core.shares import Result
from steerd.core.split import Splitter
from steerd.model.fleet import Endpoint, Service
from steerd.model.route import Capabilities, Desired, Member, Route

__all__ = ["by_kind", "desired_for", "endpoint_shares", "plainly", "scoped"]

_ENTER = 0.50
_LEAVE = 0.25
_TINY = 1e-9


def desired_for(
    route: Route,
    shares: Mapping[str, float],
    normal: Mapping[str, float],
    caps: Capabilities,
    current: Mapping[str, int],
) -> Desired:
    """What `plainly` says, once the real one has said the same."""
    endpoints = tuple(Endpoint(e, "chat", "z", "http://x", 1.0) for t in route.targets for e in t.endpoints)
    classes = Classes(Service(name="chat", endpoints=endpoints, routes=(route,)), lambda zone: zone)
    plain = plainly(route, shares, normal, caps, current)
    own = {e.name for e in endpoints if len({round(m.get(e.name, 0.0), 12) for m in (shares, normal)}) > 1}
    real = Splitter(route, caps, classes).desired(
        by_kind(classes, shares, own), by_kind(classes, normal, own), dict(current)
    )
    members = frozenset(e.name for e in endpoints)
    inside, fair = scoped(shares, members), scoped(normal, members)
    if inside is None or fair is None:
        assert real is None
    else:
        assert real == plainly(route, inside, fair, caps, current)
    return plain


def by_kind(classes: Classes, shares: Mapping[str, float], apart: set[str] | frozenset[str] = frozenset()) -> Shares:
    """Shares of endpoints by kind: what most of a kind have; the others, and `apart`, stand apart."""
    each, own = [], {e: shares.get(e, 0.0) for e in classes.names if e in apart}
    for kind in classes.kinds:
        usual = Counter(shares.get(e, 0.0) for e in kind.members).most_common(1)[0][0]
        each.append(usual)
        own.update({e: s for e in kind.members if (s := shares.get(e, 0.0)) != usual})
    return Shares(classes, each, own)


def plainly(
    route: Route,
    shares: Mapping[str, float],
    normal: Mapping[str, float],
    caps: Capabilities,
    current: Mapping[str, int],
) -> Desired:
    """What `route` should serve for these endpoint shares (already scoped, summing to 1).

    `normal` are the shares with nothing drained (a membership target's fair share, unless that is under half of its part by
    capacity: then that part is); `current` the weights served now (hysteresis).
    """
    by_target = target_shares(route, shares)
    fair = target_shares(route, normal)
    size = sum(len(t.endpoints) for t in route.targets)
    even = {t.key: len(t.endpoints) / size for t in route.targets}  # all of one capacity, in these tests
    fair = {k: f if f >= _ENTER * even[k] else even[k] for k, f in fair.items()}
    weights = _membership(by_target, fair, current) if caps.membership else _integers(by_target, caps)
    members = []
    for target in sorted(route.targets, key=lambda t: t.key):
        carrying = frozenset(e for e in target.endpoints if shares.get(e, 0.0) > _TINY)
        weight = weights[target.key]
        members.append(Member(target.key, weight, target.values_for(carrying) if weight > 0 else ()))
    return Desired(tuple(members))


def scoped(shares: Mapping[str, float], members: frozenset[str]) -> dict[str, float] | None:
    """The split inside a scope, summing to 1; None when the scope carries nothing (its route then stays as it is)."""
    inside = {n: s for n, s in shares.items() if n in members}
    total = sum(inside.values())
    return {n: s / total for n, s in inside.items()} if total > _TINY else None


def target_shares(route: Route, shares: Mapping[str, float]) -> dict[str, float]:
    """Target key -> share, from shares per endpoint."""
    return {t.key: sum(shares.get(e, 0.0) for e in t.endpoints) for t in route.targets}


def _membership(shares: Mapping[str, float], normal: Mapping[str, float], current: Mapping[str, int]) -> dict[str, int]:
    weights = {}
    for key, share in shares.items():
        fair = normal.get(key, 0.0)
        if fair <= _TINY:
            weights[key] = 1 if share > _TINY else 0
            continue
        enough = _LEAVE if current.get(key, 0) > 0 else _ENTER
        weights[key] = 1 if share >= enough * fair - _TINY else 0
    if not any(weights.values()) and shares:  # never empty: the largest stays in
        weights[max(sorted(shares), key=lambda k: shares[k])] = 1
    return weights


def _integers(shares: Mapping[str, float], caps: Capabilities) -> dict[str, int]:
    """Largest remainder on the scale where the largest share gets the maximum weight; a carrying target gets at least 1."""
    top = max(shares.values(), default=0.0)
    if top <= _TINY:
        return dict.fromkeys(shares, 0)
    wanted = {
        k: (s / top * caps.weight_max if s >= max(caps.minimum - _TINY, _TINY) else 0.0) for k, s in shares.items()
    }
    weights = {k: int(w + _TINY) for k, w in wanted.items()}
    missing = round(round(sum(wanted.values()), 9)) - sum(weights.values())
    for key in sorted(wanted, key=lambda k: (round(weights[k] - wanted[k], 9), k))[: max(0, missing)]:
        if wanted[key] > weights[key] + _TINY:
            weights[key] += 1
    return {k: (max(1, w) if wanted[k] > 0 else 0) for k, w in weights.items()}


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
