"""From a profile as read and a desired state to the patch of its endpoints. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured
from steerd.providers.records import needs_fence

__all__ = [
    "Patch",
    "Seen",
    "allows",
    "differences",
    "observed_from",
    "path_of",
    "profiles_path",
    "seen_from",
    "translate",
]

WEIGHT_MAX, WEIGHT_UNSAID = 1000, 1
"""The largest weight, and that of an endpoint which has none (Traffic Manager REST API, EndpointProperties.weight)."""

TAG = "steerd-fence"

_TELLS = ("endpointMonitorStatus",)
"""What changes by itself and cannot be written."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One profile as read, without what changes by itself."""

    path: str
    endpoints: tuple[Mapping[str, Any], ...]
    tags: Mapping[str, str]
    method: str
    ttl_s: float | None = None

    @property
    def weights(self) -> dict[str, int]:
        """Endpoint -> weight; one that is disabled has 0."""
        return {str(e["name"]): _weight(e) for e in self.endpoints}

    @property
    def fence(self) -> Fence | None:
        """What the tag says."""
        return Fence.parse(self.tags.get(TAG, ""))


@dataclass(frozen=True, slots=True)
class Patch:
    """The payload of a change: `body` is to be sent if the profile still is as `seen`."""

    seen: Seen
    body: Mapping[str, Any]


def _weight(endpoint: Mapping[str, Any]) -> int:
    told = endpoint.get("properties") or {}
    return 0 if told.get("endpointStatus") == "Disabled" else int(told.get("weight") or WEIGHT_UNSAID)


def profiles_path(subscription: str, group: str) -> str:
    """Of the profiles of a resource group in Azure Resource Manager."""
    parts = [quote(p, safe="") for p in (subscription, group)]
    return f"/subscriptions/{parts[0]}/resourceGroups/{parts[1]}/providers/Microsoft.Network/trafficmanagerprofiles"


def path_of(subscription: str, group: str, route: Route) -> str:
    """Of the route's profile."""
    return f"{profiles_path(subscription, group)}/{quote(route.name, safe='')}"


def allows(permissions: Sequence[Mapping[str, Any]], action: str) -> bool:
    """Whether roles with these `Permission`s together grant `action`: one of them lists it and does not take it out again.
    `*` stands for any characters, and case does not count. (Azure RBAC, "Understand Azure role definitions".)"""

    def listed(patterns: Sequence[str] | None) -> bool:
        made = (".*".join(re.escape(part) for part in str(p).split("*")) for p in patterns or ())
        return any(re.fullmatch(p, action, re.IGNORECASE) for p in made)

    return any(listed(p.get("actions")) and not listed(p.get("notActions")) for p in permissions)


def seen_from(path: str, found: Mapping[str, Any]) -> Seen:
    """A `Profile` of the API."""
    told = found.get("properties") or {}
    endpoints = tuple(
        {**e, "properties": {k: v for k, v in (e.get("properties") or {}).items() if k not in _TELLS}}
        for e in told.get("endpoints") or ()
    )
    ttl = (told.get("dnsConfig") or {}).get("ttl")
    return Seen(
        path,
        endpoints,
        dict(found.get("tags") or {}),
        str(told.get("trafficRoutingMethod", "")),
        None if ttl is None else float(ttl),
    )


def _names(route: Route) -> dict[str, str]:
    given = route.settings.get("endpoints") or {}
    return {t.key: t.server or t.key for t in route.targets} | {str(k): str(v) for k, v in given.items()}


def observed_from(route: Route, seen: Seen | None) -> Observed:
    """What the profile means for the route's targets. `seen` is None where there is no such profile. Raises `Misconfigured`
    where it does not route by weight."""
    if seen is None:
        return weighing.observe(route, {}, None, None, None)
    if seen.method != "Weighted":
        raise Misconfigured(
            f"{route.key}: the profile {route.name} routes by {seen.method}, where weights have no meaning",
            "set its routing method to Weighted, or nest a weighted profile in it and name that",
        )
    return replace(weighing.observe(route, _names(route), seen.weights, seen.fence, seen), ttl_s=seen.ttl_s)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    standing = observed.token.weights if isinstance(observed.token, Seen) else {}
    return weighing.differences(desired, {m.target: m.target for m in desired.members} | _names(route), standing)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The patch that turns `observed` into `desired`: there is no weight 0, so what is out is disabled and keeps its weight.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when there is no such profile, a target to be
    in service has no endpoint in it, or another fleet steers it.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(f"{route.key}: there is no profile {route.name}", "compare `backend` and `resource_group`")
    names = {m.target: m.target for m in desired.members} | _names(route)
    action = "add the endpoint to the profile (disabled, if it is to be out), or name it in the route's `endpoints`"
    weights = weighing.wanted(route, desired, names, seen.weights, WEIGHT_MAX, action)
    weighing.check_fleet(route, seen.fence, fence, f"delete the profile's tag {TAG}")
    changed = weighing.changes(names, seen.weights, weights)
    fence_only = not changed and needs_fence(seen.fence, fence)
    body = {
        "tags": {**seen.tags, TAG: fence.text},
        "properties": {"endpoints": [_weighed(e, weights[str(e["name"])]) for e in seen.endpoints]},
    }
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Patch(seen, body),
        nothing=not changed and not fence_only,
        summary="; ".join(changed) or ("fence only" if fence_only else "unchanged"),
    )


def _weighed(endpoint: Mapping[str, Any], weight: int) -> Mapping[str, Any]:
    if weight == _weight(endpoint):
        return endpoint
    status = {"endpointStatus": "Enabled", "weight": weight} if weight else {"endpointStatus": "Disabled"}
    return {**endpoint, "properties": {**endpoint["properties"], **status}}
