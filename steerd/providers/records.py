"""What DNS providers share, all of it pure: which values a route owns, which it wants, and what is served of them.

Values are texts: an IPv4 address (type A), an IPv6 address (AAAA), or a name (CNAME), in the form `canonical` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Misconfigured, Refused

__all__ = [
    "FENCE_LABEL",
    "as_desired",
    "canonical",
    "check_fence",
    "check_weighted",
    "fence_name",
    "keep_type",
    "needs_fence",
    "observe",
    "own_values",
    "summary",
    "ttl_of",
    "type_of",
    "wanted_values",
]

FENCE_LABEL = "_steerd"
"""The fence of record `www.example.` is a TXT at `_steerd.www.example.` (ha.md, fencing)."""

Served = Mapping[str, frozenset[str]]
"""Record type -> values served."""


def type_of(value: str) -> str:
    """The record type that carries `value`."""
    try:
        return "A" if isinstance(ip_address(value), IPv4Address) else "AAAA"
    except ValueError:
        return "CNAME"


def canonical(value: str) -> str:
    """One spelling per value: compressed addresses; names in lower case without the last dot."""
    try:
        return str(ip_address(value))
    except ValueError:
        return value.rstrip(".").lower()


def fence_name(name: str) -> str:
    """Where the fence of record `name` stands."""
    return f"{FENCE_LABEL}.{name}"


def ttl_of(route: Route) -> int:
    """The TTL to write, whole seconds."""
    return max(0, round(route.ttl_s))


def wanted_values(route: Route, desired: Desired) -> dict[str, frozenset[str]]:
    """Record type -> values to serve, for every type of the route.

    Raises ValueError when nothing would be served, `Misconfigured` when a target in service has no value of the route's
    types, or a CNAME would need two.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    wanted: dict[str, set[str]] = {t: set() for t in route.types}
    for member in desired.members:
        if member.weight <= 0:
            continue
        fitting = [v for v in map(canonical, member.values) if type_of(v) in wanted]
        if not fitting:
            raise Misconfigured(
                f"{route.key}: target {member.target} has no value for {' or '.join(route.types)}",
                "give its endpoints `address` (A) or `address6` (AAAA), or the route `targets`",
            )
        for value in fitting:
            wanted[type_of(value)].add(value)
    names = wanted.get("CNAME", set())
    if names and (len(names) > 1 or any(wanted[t] for t in wanted if t != "CNAME")):
        raise Misconfigured(
            f"{route.key}: a CNAME holds exactly one name, the plan wants {', '.join(sorted(names))}",
            "use `type: A`, or `mode: active-passive` so that one target serves at a time",
        )
    return {t: frozenset(v) for t, v in wanted.items()}


def check_weighted(route: Route, desired: Desired) -> None:
    """As `wanted_values`, for systems that answer by weight: those can choose among several CNAMEs."""
    if route.types != ("CNAME",):
        wanted_values(route, desired)
        return
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    for member in desired.members:
        if member.weight > 0:
            wanted_values(route, Desired((member,)))


def own_values(route: Route, desired: Desired) -> frozenset[str]:
    """All values that are the route's own to add and delete: its targets' and those the desired state names.

    A target that has left the config is taken out by a member of weight 0 that names its values.
    """
    of_targets = {canonical(v) for t in route.targets for vs in t.values.values() for v in vs}
    return frozenset(of_targets | {canonical(v) for m in desired.members for v in m.values})


def observe(route: Route, served: Served, ttls: Mapping[str, int], fence: Fence | None, token: object) -> Observed:
    """What `served` means for the route's targets by membership: a target with a served value weighs 1."""
    everything = frozenset(v for values in served.values() for v in values)
    own = {t.key: frozenset(canonical(v) for vs in t.values.values() for v in vs) for t in route.targets}
    values = {key: tuple(sorted(mine & everything)) for key, mine in own.items()}
    known = frozenset(v for mine in own.values() for v in mine)
    return Observed(
        weights={key: 1 if found else 0 for key, found in values.items()},
        values=values,
        fence=fence,
        exists=bool(everything),
        ttl_s=float(min(ttls.values())) if ttls else None,
        foreign=tuple(sorted(everything - known)),
        token=token,
    )


def as_desired(route: Route, desired: Desired, served: Served, ttls: Mapping[str, int]) -> bool:
    """True when `served` already is what `desired` asks for, foreign values aside."""
    own = own_values(route, desired)
    wanted = wanted_values(route, desired)
    return all(
        served.get(t, frozenset()) & own == wanted[t] and ttls.get(t, ttl_of(route)) == ttl_of(route)
        for t in route.types
    )


def needs_fence(observed: Fence | None, fence: Fence) -> bool:
    """True when the fence must be written even if the values already are as desired.

    The first write of a new epoch replaces the fence, so that what an earlier leader still has in flight no longer
    matches (ha.md). Within one epoch an unchanged record is left alone.
    """
    return observed is None or observed.fleet != fence.fleet or observed.epoch < fence.epoch


def check_fence(route: Route, observed: Fence | None, fence: Fence, remedy: str | None = None) -> None:
    """Raises `Misconfigured` when another fleet steers this record. A newer fence is a matter for `apply`.

    `remedy` is what to do where that fleet is gone; for a fence in DNS, to delete its TXT."""
    if observed is not None and observed.fleet != fence.fleet:
        raise Misconfigured(
            f"{route.key}: {route.name} is steered by fleet {observed.fleet!r}, this is {fence.fleet!r}",
            f"each has one fleet: if that one is gone, {remedy or f'delete the TXT at {fence_name(route.name)}'}",
        )


def keep_type(route: Route, kind: str, before: frozenset[str], after: frozenset[str]) -> None:
    """Raises `Refused` when the last value of one type would go: its clients would get an empty answer."""
    if before and not after and kind != "CNAME":
        raise Refused(
            f"{route.key}: the plan leaves {route.name} without any {kind} record",
            f"give a target that stays in service an address of type {kind}, or take {kind} out of the route's type",
        )


def summary(name: str, added: frozenset[str], removed: frozenset[str], *, fence_only: bool) -> str:
    """One line for humans: `www.example.: +203.0.113.1 -203.0.113.2`."""
    if fence_only:
        return f"{name}: fence only"
    parts = [f"+{v}" for v in sorted(added)] + [f"-{v}" for v in sorted(removed)]
    return f"{name}: {' '.join(parts) or 'TTL'}"
