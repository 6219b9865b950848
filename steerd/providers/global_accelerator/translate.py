"""From an endpoint group as read and a desired state to its whole new list of endpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.named import joined, names_of

__all__ = ["Endpoints", "Seen", "accelerator_of", "differences", "observed_from", "translate"]

WEIGHT_MAX, WEIGHT_UNSAID, ENDPOINTS_MAX = 255, 128, 10
"""The largest weight; the one an endpoint has where none was given; endpoints of a group (API reference, quotas)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a group. `keeps_ip` is client IP preservation, None where it is not said."""

    id: str
    weight: int
    keeps_ip: bool | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint group as read. Health and its reasons are left out: they change by themselves."""

    group: str
    endpoints: tuple[Endpoint, ...]

    @property
    def weights(self) -> dict[str, int]:
        """Endpoint id -> weight."""
        return {e.id: e.weight for e in self.endpoints}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The payload of a change: `configurations` replace the group's, if it still is as `seen`."""

    seen: Seen
    configurations: tuple[Mapping[str, Any], ...]


def seen_from(group: Mapping[str, Any]) -> Seen:
    """An `EndpointGroup` of the API."""
    endpoints = (
        Endpoint(str(e["EndpointId"]), int(e.get("Weight", WEIGHT_UNSAID)), e.get("ClientIPPreservationEnabled"))
        for e in group.get("EndpointDescriptions", ())
    )
    return Seen(str(group["EndpointGroupArn"]), tuple(sorted(endpoints, key=lambda e: e.id)))


def accelerator_of(group: str) -> str:
    """The accelerator's ARN, which that of the endpoint group begins with."""
    return group.partition("/listener/")[0]


def ids_of(route: Route) -> dict[str, str]:
    """Target -> endpoint id."""
    return names_of(route, "endpoints")


def observed_from(route: Route, seen: Seen | None, fence: Fence | None) -> Observed:
    """What the group means for the route's targets. `seen` is None where there is no such group."""
    if seen is None:
        return weighing.observe(route, {}, None, None, None)
    return weighing.observe(route, ids_of(route), seen.weights, fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    standing = observed.token.weights if isinstance(observed.token, Seen) else {}
    return weighing.differences(desired, ids_of(route), standing)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The list of endpoints that turns `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when there is no such group or a target
    to be in service has no endpoint, or two have one; `Refused` when there would be too many.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(f"{route.key}: there is no such endpoint group", "compare `endpoint_group` with its ARN")
    ids, standing = ids_of(route), seen.weights
    wanted = joined(route, desired, ids, standing, WEIGHT_MAX, "endpoints", "endpoint id")
    if len(wanted) > ENDPOINTS_MAX:
        raise Refused(
            f"{route.key}: the group would have {len(wanted)} endpoints, it takes {ENDPOINTS_MAX}",
            "put load balancers before the instances, or use `per: zone`",
        )
    changed = sorted(e for e, weight in wanted.items() if standing.get(e) != weight)
    names = {endpoint: target for target, endpoint in ids.items()}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Endpoints(
            seen, tuple(_configuration(route, e, w, seen, names.get(e)) for e, w in sorted(wanted.items()))
        ),
        nothing=not changed,
        summary="; ".join(f"{names[e]} {standing.get(e, 'absent')} -> {wanted[e]}" for e in changed) or "unchanged",
    )


def _configuration(route: Route, endpoint: str, weight: int, seen: Seen, target: str | None) -> dict[str, Any]:
    """What is not said here would be set to its default."""
    made: dict[str, Any] = {"EndpointId": endpoint, "Weight": weight}
    stood = next((e for e in seen.endpoints if e.id == endpoint), None)
    if stood is not None and stood.keeps_ip is not None:
        made["ClientIPPreservationEnabled"] = stood.keeps_ip
    attachment = (route.settings.get("attachments") or {}).get(target)
    return {**made, "AttachmentArn": str(attachment)} if attachment else made
