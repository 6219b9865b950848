"""From a managed resource as read and a desired state to the calls that shift it. Pure.

A resource has one zonal shift at a time: at most one zone of it can be out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.records import check_fence, needs_fence

__all__ = [
    "COMMENT_MAX",
    "RENEW_PART",
    "Call",
    "Calls",
    "Seen",
    "Shift",
    "comment_of",
    "differences",
    "expires_text",
    "observed_from",
    "translate",
]

COMMENT_MAX = 128
"""Characters of a shift's comment (API reference)."""

RENEW_PART = 0.25
"""A shift with less than this part of `expires` left counts as over, so that it is renewed while it still holds."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One shift of the resource. `ending` when it is soon over; `applied` when it is the one in effect; `practice` when
    nobody asked for it (practice runs, autoshift): one of ours takes precedence over it."""

    id: str
    zone_id: str
    comment: str
    applied: bool
    ending: bool = False
    practice: bool = False

    @property
    def fence(self) -> Fence | None:
        """None for a shift that is not steerd's."""
        return None if self.practice else Fence.parse(self.comment)


@dataclass(frozen=True, slots=True)
class Seen:
    """The resource as read: zones and whether traffic goes there (`weights`), and its shifts."""

    resource: str
    weights: Mapping[str, float]
    shifts: tuple[Shift, ...]

    @property
    def own(self) -> Shift | None:
        """The one of steerd."""
        return next((s for s in self.shifts if s.fence is not None), None)

    @property
    def others(self) -> tuple[Shift, ...]:
        """Shifts that people started."""
        return tuple(s for s in self.shifts if s.fence is None and not s.practice)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: start a shift away from `zone_id`, or renew or cancel the one called `shift`."""

    what: Literal["start", "renew", "cancel"]
    zone_id: str
    shift: str = ""


@dataclass(frozen=True, slots=True)
class Calls:
    """The payload of a change, in order: traffic comes back to a zone before it leaves another."""

    seen: Seen
    calls: tuple[Call, ...]


def comment_of(fence: Fence) -> str:
    """What a shift of ours says of itself: the fence. Raises `Misconfigured` when it does not fit."""
    if len(fence.text) > COMMENT_MAX:
        raise Misconfigured(
            f"the fence {fence.text!r} is longer than the {COMMENT_MAX} characters of a comment",
            "use a shorter fleet name",
        )
    return fence.text


def expires_text(seconds: float) -> str:
    """A duration as the API takes it: whole minutes, or hours where there are too many digits."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes}m" if minutes < 10_000 else f"{minutes // 60}h"


def observed_from(route: Route, zone_ids: Mapping[str, str], seen: Seen | None) -> Observed:
    """What the resource's shifts mean for the route's targets. `seen` is None where there is no such resource."""
    if seen is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    own = seen.own
    out = {zone for zone, weight in seen.weights.items() if weight <= 0}
    if own is not None and own.ending:
        out.discard(own.zone_id)  # it is about to be back: said now, so that it is renewed in time
    return Observed(
        weights={t.key: int(zone_ids.get(t.key, "") not in out) for t in route.targets},
        values={t.key: (zone_ids[t.key],) for t in route.targets if t.key in zone_ids},
        fence=own.fence if own else None,
        foreign=tuple(sorted(f"shift {s.id} away from {s.zone_id}: {s.comment}"[:200] for s in seen.others)),
        token=seen,
    )


def differences(zone_ids: Mapping[str, str], desired: Desired, seen: Seen | None) -> list[str]:
    """What is not as desired, one line each. A shift that is soon over still holds."""
    if seen is None:
        return ["there is no such resource"]
    own, found = seen.own, []
    for member in desired.members:
        weight = seen.weights.get(zone_ids.get(member.target, ""))
        if weight is not None and (weight > 0) != (member.weight > 0):
            found.append(f"{member.target} is {'in' if weight > 0 else 'out'}, not {'in' if member.weight else 'out'}")
    if own is not None and not own.applied:
        found.append(f"shift {own.id} is not in effect: another one takes precedence")
    return found


def translate(route: Route, zone_ids: Mapping[str, str], desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The calls that turn `observed` into `desired`.

    Raises ValueError on an empty state; `Misconfigured` for an unknown resource or zone; `Refused` when more than one zone
    would be out, or somebody else's shift stands in the way.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(
            f"{route.key}: {route.settings.get('resource')!r} is no resource that zones can be shifted away from",
            "compare the route's `resource`, and enable zonal shift on it",
        )
    comment_of(fence)
    if seen.own is not None:
        remedy = f"cancel its shift: `aws arc-zonal-shift cancel-zonal-shift --zonal-shift-id {seen.own.id}`"
        check_fence(route, seen.own.fence, fence, remedy)
    away = _away(route, zone_ids, desired, seen)
    calls = _calls(route, seen, away, fence)
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Calls(seen, calls),
        nothing=not calls,
        summary="; ".join(f"{c.what} the shift away from {c.zone_id}" for c in calls) or "unchanged",
    )


def _away(route: Route, zone_ids: Mapping[str, str], desired: Desired, seen: Seen) -> str | None:
    """The zone id to be out, None for none."""
    out = []
    configured = {t.key for t in route.targets if t.endpoints}
    for member in desired.members:
        if member.weight > 0:
            continue
        zone = zone_ids.get(member.target)
        if zone is None and member.target not in configured:
            continue  # it left the config, and its id with it
        if zone is None:
            raise Misconfigured(
                f"{route.key}: the availability zone id of {member.target} is not known",
                "add it to the provider's `zone_ids`: `aws ec2 describe-availability-zones` gives ZoneId by ZoneName",
            )
        if zone in seen.weights:
            out.append(zone)  # a zone the resource is not in has nothing to shift away
    if len(out) > 1:
        raise Refused(
            f"{route.key}: {', '.join(sorted(out))} should be out, and a resource has one zonal shift at a time",
            "drain the region instead, by a route above this load balancer",
        )
    if out and len(seen.weights) < 2:
        raise Refused(
            f"{route.key}: {out[0]} is the resource's only zone", "drain it by a route above this load balancer"
        )
    return out[0] if out else None


def _calls(route: Route, seen: Seen, away: str | None, fence: Fence) -> tuple[Call, ...]:
    own, others = seen.own, seen.others
    if own is not None and own.zone_id == away:
        # A shift soon over is renewed; the first write of an epoch moves the fence.
        return (Call("renew", own.zone_id, own.id),) if own.ending or needs_fence(own.fence, fence) else ()
    back = (Call("cancel", own.zone_id, own.id),) if own is not None else ()
    if not others:
        return (*back, Call("start", away)) if away else back
    if away is not None and all(s.zone_id == away for s in others):
        return back  # somebody shifted it away already: what is wanted is so, for as long as they said
    raise Refused(
        f"{route.key}: {', '.join(f'shift {s.id} away from {s.zone_id}' for s in others)} was started by somebody else",
        "steerd does not end shifts of others: `aws arc-zonal-shift cancel-zonal-shift --zonal-shift-id ID`",
    )
