"""From a load balancer and its pools as read and a desired state to the calls that bring it about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured
from steerd.providers.marked import fence_in, with_fence
from steerd.providers.named import check_apart, names_of
from steerd.providers.records import needs_fence

__all__ = [
    "Call",
    "Plan",
    "Seen",
    "differences",
    "last_page",
    "observed_from",
    "pools_path",
    "seen_from",
    "translate",
    "users_of",
    "zone_path",
]

WEIGHT_MAX, WEIGHT_UNSAID = 100, 1.0
"""The largest weight in percent, and that of a pool which is given none (API reference, random_steering.default_weight)."""

WEIGHED = ("random", "least_outstanding_requests", "least_connections")
"""Steering policies that heed `random_steering`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One load balancer as read. `pools` are its default pools, `disabled` those of them that are disabled; `steering` is its
    `random_steering`. What changes by itself (health, dates) is left out."""

    path: str
    description: str
    enabled: bool
    policy: str
    pools: tuple[str, ...]
    steering: Mapping[str, Any]
    disabled: frozenset[str] = frozenset()

    @property
    def written(self) -> dict[str, int]:
        """Pool -> weight in percent, whether the pool is enabled or not."""
        given = self.steering.get("pool_weights") or {}
        unsaid = self.steering.get("default_weight")
        unsaid = WEIGHT_UNSAID if unsaid is None else unsaid
        return {p: _percent(given.get(p, unsaid)) for p in self.pools}

    @property
    def weights(self) -> dict[str, int]:
        """Pool -> weight in percent; one that is disabled takes nothing."""
        return {p: 0 if p in self.disabled else w for p, w in self.written.items()}

    @property
    def fence(self) -> Fence | None:
        """What the description carries."""
        return fence_in(self.description)

    @property
    def split(self) -> tuple[object, ...]:
        """What must stand as we wrote it between two of our calls. The words of the description may change."""
        return self.fence, self.enabled, self.policy, self.pools, self.written


@dataclass(frozen=True, slots=True)
class Call:
    """One PATCH. `what` says it to people; `pool` is the id of the pool it is of, None where it is of the load balancer."""

    path: str
    body: Mapping[str, Any]
    what: str
    pool: str | None = None

    def after(self, seen: Seen) -> Seen:
        """What stands once it was carried out."""
        if self.pool is not None:
            return replace(
                seen, disabled=seen.disabled - {self.pool} if self.body["enabled"] else seen.disabled | {self.pool}
            )
        return replace(seen, description=self.body["description"], steering=self.body["random_steering"])


@dataclass(frozen=True, slots=True)
class Plan:
    """The payload of a change: `calls` in this order, if the load balancer still is as `seen`."""

    seen: Seen
    calls: tuple[Call, ...]


def _percent(weight: float) -> int:
    """Somebody may have written a fraction of a percent, which is never taken for nothing."""
    return max(1, round(weight * 100)) if weight > 0 else 0


def zone_path(zone_id: str) -> str:
    """Of a zone's load balancers in the API."""
    return f"/zones/{quote(zone_id, safe='')}/load_balancers"


def pools_path(account_id: str) -> str:
    """Of an account's pools in the API."""
    return f"/accounts/{quote(account_id, safe='')}/load_balancers/pools"


def last_page(info: Mapping[str, Any], page: int, rows: int, total: int) -> bool:
    """Whether nothing follows page number `page` of a list, on which `rows` stood, of `total` so far. `info` is the API's
    `result_info`, every part of which is optional; an answer without any is no page, but the whole list."""
    if info.get("total_pages") is not None:
        return page >= int(info["total_pages"])
    if info.get("total_count") is not None:
        return total >= int(info["total_count"])
    return info.get("per_page") is None or rows < int(info["per_page"])


def seen_from(path: str, found: Mapping[str, Any], pools: Iterable[Mapping[str, Any]]) -> Seen:
    """A `LoadBalancer` of the API at `path`, and the account's `Pool`s."""
    used = tuple(str(p) for p in found.get("default_pools") or ())
    return Seen(
        path=path,
        description=str(found.get("description") or ""),
        enabled=found.get("enabled") is not False,
        policy=str(found.get("steering_policy") or ""),
        pools=used,
        steering=dict(found.get("random_steering") or {}),
        disabled=frozenset(str(p["id"]) for p in pools if p.get("enabled") is False).intersection(used),
    )


def users_of(pool: str, found: Mapping[str, Any], references: Iterable[Mapping[str, Any]]) -> list[str]:
    """Who else needs `pool` than the weights of the load balancer `found`: its own fallback, and others that refer to it.
    `references` are the API's, of all zones of the account; what the pool itself refers to (its monitor) is among them."""
    others = {
        f"{r.get('resource_type') or 'what is called'} {r.get('resource_name') or r.get('resource_id')}".replace(
            "_", " "
        )
        for r in references
        if r.get("reference_type") != "referral" and r.get("resource_id") != found.get("id")
    }
    return [*(["its own fallback"] if found.get("fallback_pool") == pool else []), *sorted(others)]


def observed_from(route: Route, seen: Seen | None) -> Observed:
    """What the load balancer means for the route's targets. `seen` is None where there is no such load balancer. Raises
    `Misconfigured` where it does not steer by weight."""
    if seen is None:
        return weighing.observe(route, {}, None, None, None)
    if seen.policy not in WEIGHED:
        raise Misconfigured(
            f"{route.key}: the load balancer {route.name} steers by {seen.policy or 'off'!r}, where weights have no meaning",
            "set its steering policy to `random`",
        )
    return weighing.observe(route, names_of(route, "pools"), seen.weights, seen.fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    seen = observed.token if isinstance(observed.token, Seen) else None
    names, standing = names_of(route, "pools"), seen.weights if seen is not None else {}
    wrong = weighing.differences(desired, names, standing)
    if seen is not None:
        wrong += [f"the load balancer {route.name} is disabled"] if not seen.enabled else []
        out = {names[m.target]: m.target for m in desired.members if m.weight == 0 and m.target in names}
        wrong += [f"the pool of {out[p]} is not disabled" for p in _to_disable(route, seen, out)]
    return wrong


def _to_disable(route: Route, seen: Seen, out: Iterable[str]) -> list[str]:
    """Of the pools `out` that are to take nothing, those to be disabled too."""
    return sorted((set(seen.pools) & set(out)) - seen.disabled) if route.settings.get("disable_pools") else []


def translate(route: Route, pools: str, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The calls that turn `observed` into `desired`; `pools` is the path of the account's pools.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when there is no such load balancer, a target
    to be in service has no pool in it, two have one, or another fleet steers it.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(
            f"{route.key}: there is no load balancer {route.name}", "compare its hostname, and `zone_id`"
        )
    names, standing, written = names_of(route, "pools"), seen.weights, seen.written
    check_apart(route, names, "pools")
    action = "add its pool to the load balancer's default pools, and to the route's `pools`"
    wanted = weighing.wanted(route, desired, names, standing, WEIGHT_MAX, action)
    weighing.check_fleet(route, seen.fence, fence, "take `[steerd ...]` out of the load balancer's description")
    own = {names[m.target] for m in desired.members if m.target in names and names[m.target] in standing}
    weighed = {p: wanted[p] / 100 for p in sorted(own) if written[p] != wanted[p]}
    enabled = sorted(p for p in own & seen.disabled if wanted[p] > 0)
    disabled = _to_disable(route, seen, (p for p in own if wanted[p] == 0))
    fence_only = not (weighed or enabled or disabled) and needs_fence(seen.fence, fence)
    targets = {name: target for target, name in names.items()}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Plan(seen, tuple(_calls(seen, pools, targets, fence, weighed, enabled, disabled))),
        nothing=not (weighed or enabled or disabled or fence_only),
        summary=_summary(seen, names, wanted, weighed, disabled) or ("fence only" if fence_only else "unchanged"),
    )


def _calls(
    seen: Seen,
    pools: str,
    targets: Mapping[str, str],
    fence: Fence,
    weighed: Mapping[str, float],
    enabled: Sequence[str],
    disabled: Sequence[str],
) -> Iterable[Call]:
    """What adds comes before what takes, so that wherever they stop, what served still does: pools that come in get their
    weights while they are disabled, which moves nothing, and are enabled; then the other weights are written."""

    def steer(given: Mapping[str, float], new: Iterable[str]) -> Call:
        weights = {**(seen.steering.get("pool_weights") or {}), **given}
        body = {
            "description": with_fence(seen.description, fence),
            "random_steering": {**seen.steering, "pool_weights": weights},
        }
        named = ", ".join(sorted(targets[p] for p in new))
        return Call(seen.path, body, f"the weights of {named}" if named else "the fence")

    def turn(pool: str, *, on: bool) -> Call:
        what = f"{'enabling' if on else 'disabling'} the pool of {targets[pool]}"
        return Call(f"{pools}/{quote(pool, safe='')}", {"enabled": on}, what, pool)

    early = {p: w for p, w in weighed.items() if p in enabled}
    if enabled:
        yield steer(early, early)
        yield from (turn(p, on=True) for p in enabled)
    if not enabled or len(early) < len(weighed):
        yield steer(weighed, weighed.keys() - early.keys())
    yield from (turn(p, on=False) for p in disabled)


def _summary(
    seen: Seen, names: Mapping[str, str], wanted: Mapping[str, int], weighed: Iterable[str], disabled: Iterable[str]
) -> str:
    targets, standing, written = {name: target for target, name in names.items()}, seen.weights, seen.written
    lines = sorted(weighing.changes(names, standing, wanted))
    lines += [
        f"{targets[p]} {written[p]} -> {wanted[p]} while its pool is disabled"
        for p in weighed
        if standing[p] == wanted[p]
    ]
    return "; ".join([*lines, *(f"the pool of {targets[p]} is disabled" for p in disabled)])
