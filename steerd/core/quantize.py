"""Quantize: shares become what a traffic system can express (decisions.md, section 7, last point).

Weights: integers with the largest share at the system's maximum, so that the error of any share is at most half a step.
Membership: in from 50% of its fair share up, out below 25%, unchanged in between.
"""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.route import Capabilities, Desired, Member, Route

__all__ = ["ENTER", "LEAVE", "desired_for", "realised", "scoped", "target_shares"]

ENTER = 0.50
LEAVE = 0.25
_TINY = 1e-9


def scoped(shares: Mapping[str, float], members: frozenset[str]) -> dict[str, float] | None:
    """The split inside a scope, summing to 1; None when the scope carries nothing (its route then stays as it is)."""
    inside = {n: s for n, s in shares.items() if n in members}
    total = sum(inside.values())
    return {n: s / total for n, s in inside.items()} if total > _TINY else None


def target_shares(route: Route, shares: Mapping[str, float]) -> dict[str, float]:
    """Target key -> share, from shares per endpoint."""
    return {t.key: sum(shares.get(e, 0.0) for e in t.endpoints) for t in route.targets}


def desired_for(
    route: Route,
    shares: Mapping[str, float],
    normal: Mapping[str, float],
    caps: Capabilities,
    current: Mapping[str, int],
) -> Desired:
    """What `route` should serve for these endpoint shares (already scoped, summing to 1).

    `normal` are the shares with nothing drained (a membership target's fair share); `current` the weights served now (hysteresis).
    """
    by_target = target_shares(route, shares)
    fair = target_shares(route, normal)
    weights = _membership(by_target, fair, current) if caps.membership else _integers(by_target, caps)
    members = []
    for target in sorted(route.targets, key=lambda t: t.key):
        carrying = frozenset(e for e in target.endpoints if shares.get(e, 0.0) > _TINY)
        weight = weights[target.key]
        members.append(Member(target.key, weight, target.values_for(carrying) if weight > 0 else ()))
    return Desired(tuple(members))


def realised(desired: Desired, caps: Capabilities) -> dict[str, float]:
    """Target key -> the share that the system will really give it."""
    if caps.membership and caps.dns:
        # Every address is answered equally often, so a target counts once per value.
        counts = {m.target: (max(1, len(m.values)) if m.weight > 0 else 0) for m in desired.members}
    else:
        counts = {m.target: m.weight for m in desired.members}
    total = sum(counts.values())
    return {t: (c / total if total else 0.0) for t, c in counts.items()}


def _membership(shares: Mapping[str, float], normal: Mapping[str, float], current: Mapping[str, int]) -> dict[str, int]:
    weights = {}
    for key, share in shares.items():
        fair = normal.get(key, 0.0)
        if fair <= _TINY:
            weights[key] = 1 if share > _TINY else 0
            continue
        enough = LEAVE if current.get(key, 0) > 0 else ENTER
        weights[key] = 1 if share >= enough * fair - _TINY else 0
    if not any(weights.values()) and shares:  # never empty: the largest stays in
        weights[max(sorted(shares), key=lambda k: shares[k])] = 1
    return weights


def _integers(shares: Mapping[str, float], caps: Capabilities) -> dict[str, int]:
    """Largest remainder on the scale where the largest share gets the maximum weight; a carrying target gets at least 1."""
    top = max(shares.values(), default=0.0)
    if top <= _TINY:
        return dict.fromkeys(shares, 0)
    wanted = {k: (s / top * caps.weight_max if s >= max(caps.minimum, _TINY) else 0.0) for k, s in shares.items()}
    weights = {k: int(w + _TINY) for k, w in wanted.items()}
    missing = round(sum(wanted.values())) - sum(weights.values())
    for key in sorted(wanted, key=lambda k: (weights[k] - wanted[k], k))[: max(0, missing)]:
        if wanted[key] > weights[key] + _TINY:
            weights[key] += 1
    return {k: (max(1, w) if wanted[k] > 0 else 0) for k, w in weights.items()}
