"""From a backend service as read and a desired state to the patch of its backends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured
from steerd.providers.marked import fence_in, with_fence
from steerd.providers.records import needs_fence

__all__ = ["Patch", "Seen", "differences", "observed_from", "path_of", "places_of", "plain", "seen_from", "translate"]

WEIGHT_MAX, WEIGHT_LEAST = 100, 10
"""Percent of a backend's capacity: a scaler is 0, or 0.1 to 1.0 (Compute Engine API, Backend.capacityScaler)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One backend service as read."""

    path: str
    fingerprint: str
    description: str
    backends: tuple[Mapping[str, Any], ...]

    @property
    def weights(self) -> dict[str, int]:
        """Group -> percent of its capacity."""
        return {group_of(b): _percent(b) for b in self.backends}

    @property
    def fence(self) -> Fence | None:
        """What the description carries."""
        return fence_in(self.description)


@dataclass(frozen=True, slots=True)
class Patch:
    """The payload of a change: `body` is taken only while the fingerprint in it stands."""

    seen: Seen
    body: Mapping[str, Any]


def _percent(backend: Mapping[str, Any]) -> int:
    """Somebody may have written a fraction of a percent, which is never taken for nothing."""
    scaler = float(backend.get("capacityScaler", 1.0))
    return max(1, round(scaler * 100)) if scaler > 0 else 0


def plain(url: str) -> str:
    """A group's URL from `projects/` on: hosts and API versions differ."""
    return url[url.find("projects/") :] if "projects/" in url else url


def group_of(backend: Mapping[str, Any]) -> str:
    """The group behind a backend."""
    return plain(str(backend.get("group", "")))


def path_of(project: str, route: Route) -> str:
    """Of the backend service in the API."""
    region = route.settings.get("region")
    place = f"regions/{quote(str(region), safe='')}" if region else "global"
    return f"/compute/v1/projects/{quote(project, safe='')}/{place}/backendServices/{quote(route.name, safe='')}"


def places_of(project: str, route: Route) -> set[tuple[str, str]]:
    """What a write of `route` touches: (path in the API, kind). The kind of a group that the API cannot be asked for rights of
    (`testIamPermissions` is there for zonal groups and regional instance groups) is told with its place."""
    region = "region" if route.settings.get("region") else ""
    found = {(path_of(project, route), "regionBackendServices" if region else "backendServices")}
    for group in _names(route).values():
        place, _, kind = group.rpartition("/")[0].rpartition("/")
        asked = "/zones/" in place or kind == "instanceGroups"
        found.add((f"/compute/v1/{group}", kind if asked else f"{kind} of {place}"))
    return found


def seen_from(path: str, found: Mapping[str, Any]) -> Seen:
    """A `BackendService` of the API."""
    return Seen(
        path, str(found.get("fingerprint", "")), str(found.get("description", "")), tuple(found.get("backends") or ())
    )


def _names(route: Route) -> dict[str, str]:
    return {str(k): plain(str(v)) for k, v in (route.settings.get("groups") or {}).items()}


def observed_from(route: Route, seen: Seen | None) -> Observed:
    """What the backends mean for the route's targets. `seen` is None where there is no such backend service."""
    if seen is None:
        return weighing.observe(route, {}, None, None, None)
    return weighing.observe(route, _names(route), seen.weights, seen.fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    standing = observed.token.weights if isinstance(observed.token, Seen) else {}
    return weighing.differences(desired, _names(route), standing)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The patch that turns `observed` into `desired`.

    Raises ValueError on an empty state or a weight that no scaler can express; `Misconfigured` when there is no such backend
    service, a target to be in service has no backend in it, or another fleet steers it.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(f"{route.key}: there is no backend service {route.name}", "compare `backend` and `region`")
    if low := [m for m in desired.members if 0 < m.weight < WEIGHT_LEAST]:
        raise ValueError(
            f"{route.key}: weight {low[0].weight} of {low[0].target} is neither 0 nor {WEIGHT_LEAST} or more"
        )
    names, standing = _names(route), seen.weights
    action = "add its group to the backend service, and to the route's `groups`"
    weights = weighing.wanted(route, desired, names, standing, WEIGHT_MAX, action)
    weighing.check_fleet(route, seen.fence, fence, "take `[steerd ...]` out of the backend service's description")
    changed = weighing.changes(names, standing, weights)
    fence_only = not changed and needs_fence(seen.fence, fence)
    body = {
        "fingerprint": seen.fingerprint,
        "description": with_fence(seen.description, fence),
        "backends": [
            b if standing[group_of(b)] == weights[group_of(b)] else {**b, "capacityScaler": weights[group_of(b)] / 100}
            for b in seen.backends
        ],
    }
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Patch(seen, body),
        nothing=not changed and not fence_only,
        summary="; ".join(changed) or ("fence only" if fence_only else "unchanged"),
    )
