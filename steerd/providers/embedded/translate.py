"""From a desired state to a record set of the embedded server, and back to what it means for a route. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from steerd.model.route import Desired, Fence, Member, Observed, Route
from steerd.providers.base import Change, Misconfigured
from steerd.providers.records import (
    canonical,
    check_fence,
    check_weighted,
    keep_type,
    needs_fence,
    summary,
    ttl_of,
    type_of,
)

__all__ = ["TYPES", "RecordSet", "Write", "check_route", "observed_from", "translate"]

TYPES = ("A", "AAAA", "CNAME")


@dataclass(frozen=True, slots=True)
class RecordSet:
    """Everything served at one name. `members` are sorted by target, those with weight 0 included."""

    route: str
    name: str
    ttl_s: int
    members: tuple[Member, ...]
    fence: Fence

    def values(self, kind: str) -> dict[str, float]:
        """Value of type `kind` -> its weight: a member's weight is shared evenly by its values of that type."""
        found: dict[str, float] = {}
        for member in self.members:
            fitting = [v for v in member.values if type_of(v) == kind] if member.weight > 0 else []
            for value in fitting:
                found[value] = found.get(value, 0.0) + member.weight / len(fitting)
        return found


@dataclass(frozen=True, slots=True)
class Write:
    """The payload of a change: `new` replaces `old` if `old` still stands (None: nothing stood there)."""

    old: RecordSet | None
    new: RecordSet


def check_route(route: Route, zone: str) -> None:
    """Raises `Misconfigured` when this zone cannot hold the route's record."""
    name = canonical(route.name)
    if name != zone and not name.endswith(f".{zone}"):
        raise Misconfigured(
            f"{route.key}: {route.name} is not in zone {zone}", "use the provider entry of the zone that holds it"
        )
    if alien := [t for t in route.types if t not in TYPES]:
        raise Misconfigured(
            f"{route.key}: the embedded server has no type {', '.join(alien)}", f"use {', '.join(TYPES)}"
        )
    if "CNAME" in route.types and (len(route.types) > 1 or name == zone):
        raise Misconfigured(
            f"{route.key}: a CNAME cannot stand beside other records, nor at the top of the zone", "use `type: A`"
        )


def observed_from(route: Route, record: RecordSet | None) -> Observed:
    """What a record set means for the route's targets."""
    if record is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    weights = {t.key: 0 for t in route.targets}
    weights.update({m.target: m.weight for m in record.members})
    return Observed(
        weights=weights,
        values={m.target: m.values for m in record.members if m.weight > 0},
        fence=record.fence,
        ttl_s=float(record.ttl_s),
        token=record,
    )


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The record set that serves `desired`, conditional on the one that was read.

    Raises ValueError on an empty state; `Misconfigured` or `Refused` where it cannot be written as records.
    """
    old = observed.token if isinstance(observed.token, RecordSet) else None
    check_weighted(route, desired)
    check_fence(route, old.fence if old else None, fence)
    members = tuple(
        Member(m.target, m.weight, tuple(sorted({canonical(v) for v in m.values if type_of(v) in route.types})))
        for m in sorted(desired.members, key=lambda m: m.target)
    )
    new = RecordSet(route.key, canonical(route.name), ttl_of(route), members, fence)
    same = old is not None and (old.ttl_s, _served(old)) == (new.ttl_s, _served(new))
    before, after = (_shown(r) if r else frozenset() for r in (old, new))
    for kind in route.types:
        was = frozenset(old.values(kind)) if old else frozenset()
        keep_type(route, kind, was, frozenset(new.values(kind)))
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Write(old, new),
        nothing=same and not needs_fence(old.fence if old else None, fence),
        summary=summary(route.name, after - before, before - after, fence_only=same),
    )


def _served(record: RecordSet) -> tuple[Member, ...]:
    return tuple(m for m in record.members if m.weight > 0)


def _shown(record: RecordSet) -> frozenset[str]:
    return frozenset(f"{m.target}={m.weight}" for m in record.members)
