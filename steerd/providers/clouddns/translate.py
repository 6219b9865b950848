"""From the record sets as read and a desired state to one conditional change. Pure.

Cloud DNS carries a change out whole or not at all, and refuses a deletion that does not repeat the record set exactly as it
stands. The fence's TXT is deleted and added in every change, so one made from an older reading fails whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.batch import Batch, fence_in, txt_text, txt_value
from steerd.providers.records import (
    canonical,
    check_fence,
    check_weighted,
    fence_name,
    keep_type,
    needs_fence,
    own_values,
    ttl_of,
    type_of,
)

__all__ = ["Seen", "check_route", "observed_from", "translate"]

WEIGHT_MAX, ITEMS_MAX = 1000, 100
"""The largest weight; items of one policy (Cloud DNS, routing policies and quotas)."""

TYPES = ("A", "AAAA", "CNAME")

RecordSet = Mapping[str, Any]
"""One `ResourceRecordSet` as the API gives it. A deletion must repeat it exactly, so it is kept whole."""


class Seen:
    """What stands in the zone: the address and CNAME record sets of the name by type, and the TXT at the fence's name."""

    def __init__(self, records: Mapping[str, RecordSet], txt: RecordSet | None) -> None:
        self.records, self.txt = dict(records), txt

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and (self.records, self.txt) == (other.records, other.txt)

    __hash__ = None  # type: ignore[assignment]  # it holds what the API gave

    @property
    def fence(self) -> Fence | None:
        """The newest fence of ours."""
        return fence_in((self.txt or {}).get("rrdatas", ()))


def check_route(route: Route) -> None:
    """Raises `Misconfigured` when the route is not one this provider can write."""
    if alien := [t for t in route.types if t not in TYPES]:
        raise Misconfigured(f"{route.key}: type {', '.join(alien)} is not written here", "use A, AAAA or CNAME")
    if route.settings.get("set"):
        raise Misconfigured(
            f"{route.key}: Cloud DNS cannot combine weights with a geolocation policy (`set: {route.settings['set']}`)",
            "give each set a name of its own, and point a geolocation record's CNAMEs at them",
        )


def _items(route: Route, record: RecordSet | None) -> list[Mapping[str, Any]]:
    """The weighted items of a record set; a simple one is one item of weight 1 for each of its values."""
    if record is None:
        return []
    policy = record.get("routingPolicy")
    if not policy:
        return [{"weight": 1, "rrdatas": [v]} for v in record.get("rrdatas", ())]
    if "wrr" not in policy:
        kinds = ", ".join(k for k in ("geo", "primaryBackup") if k in policy) or "unknown"
        raise Misconfigured(
            f"{route.key}: {route.name} {record['type']} has a policy ({kinds}) that cannot be mixed with weights",
            "give the weighted records a name of their own",
        )
    return list(policy["wrr"].get("items", ()))


def _values(item: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(canonical(str(v)) for v in item.get("rrdatas", ()))


def _is_ours(item: Mapping[str, Any], own: frozenset[str]) -> bool:
    """Items have no names: one is ours when it answers with our values only, and by no health-checked balancer."""
    return bool(_values(item)) and _values(item) <= own and not item.get("healthCheckedTargets")


def observed_from(route: Route, seen: Seen) -> Observed:
    """What the record sets mean for the route's targets. Raises `Misconfigured` where the name is not ours to weigh."""
    for kind in seen.records:
        if kind not in route.types and "CNAME" in (kind, *route.types):
            raise Misconfigured(
                f"{route.key}: {route.name} holds {kind} records, which exclude type {', '.join(route.types)}",
                "delete them or change the route's type: steerd does not replace records of others",
            )
    items = {t: _items(route, seen.records.get(t)) for t in route.types}
    weights, values, known = {}, {}, set()
    for target in route.targets:
        own = frozenset(canonical(v) for vs in target.values.values() for v in vs)
        found: dict[str, float] = {}
        served: set[str] = set()
        for kind, listed in items.items():
            mine = [i for i in listed if _is_ours(i, own)]
            known |= {id(i) for i in mine}
            served |= {v for i in mine if i.get("weight", 0) > 0 for v in _values(i)}
            if any(type_of(v) == kind for v in own):
                found[kind] = sum(float(i.get("weight", 0)) for i in mine)
        weights[target.key] = _whole(min(found.values(), default=0.0))
        values[target.key] = tuple(sorted(served))
    ttls = [int(r["ttl"]) for t, r in seen.records.items() if t in route.types]
    foreign = [i for listed in items.values() for i in listed if id(i) not in known]
    return Observed(
        weights=weights,
        values=values,
        fence=seen.fence,
        exists=bool(ttls),
        ttl_s=float(min(ttls)) if ttls else None,
        foreign=tuple(sorted(", ".join(sorted(_values(i))) or "health-checked targets" for i in foreign)),
        token=seen,
    )


def _whole(weight: float) -> int:
    """Somebody may have written a fraction, which is never taken for nothing."""
    return max(1, round(weight)) if weight > 0 else 0


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The change that turns `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` or `Refused` where the state cannot be
    written as weighted records.
    """
    check_weighted(route, desired)
    for member in desired.members:
        if not 0 <= member.weight <= WEIGHT_MAX:
            raise ValueError(f"{route.key}: weight {member.weight} of {member.target} is not from 0 to {WEIGHT_MAX}")
    check_route(route)
    seen: Seen = observed.token
    check_fence(route, seen.fence, fence)
    deletions: list[RecordSet] = []
    additions: list[RecordSet] = []
    served: dict[str, frozenset[str]] = {}
    told: list[str] = []
    for kind in route.types:
        old = seen.records.get(kind)
        new = _record(route, kind, desired, old)
        served[kind] = frozenset(v for i in _items(route, new) if i.get("weight", 0) > 0 for v in _values(i))
        keep_type(route, kind, frozenset(v for i in _items(route, old) for v in _values(i)), served[kind])
        if not _same(old, new):
            deletions += [old] if old is not None else []
            additions += [new] if new is not None else []
            told.append(f"{kind} {_words(route, old)} -> {_words(route, new)}")
    if told or needs_fence(seen.fence, fence):
        deletions += [seen.txt] if seen.txt is not None else []
        additions.append(_fence_record(route, seen, fence))
    changes = {"deletions": [dict(r) for r in deletions], "additions": [dict(r) for r in additions]}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Batch(seen.fence, ({k: v for k, v in changes.items() if v},), served),
        nothing=not additions and not deletions,
        summary=f"{route.name}: {'; '.join(told) or 'fence only'}",
    )


def _record(route: Route, kind: str, desired: Desired, old: RecordSet | None) -> RecordSet | None:
    """The record set of one type as it should be; items of others stay, items of ours at weight 0 go."""
    own = own_values(route, desired)
    standing = _items(route, old)
    others = [i for i in standing if not _is_ours(i, own)]
    policy = (old or {}).get("routingPolicy")
    if others and not policy:
        strange = sorted({v for i in others for v in _values(i)})
        raise Refused(
            f"{route.key}: {route.name} {kind} is a simple record with {', '.join(strange)}, no target of this route",
            "delete it or list it under the route's `targets`: steerd does not replace records of others",
        )
    items: list[Mapping[str, Any]] = []
    for member in sorted(desired.members, key=lambda m: m.target):
        values = sorted({canonical(v) for v in member.values if type_of(v) == kind})
        if member.weight > 0 and values:
            items.append({"weight": member.weight, "rrdatas": [f"{v}." if kind == "CNAME" else v for v in values]})
    if len(items) + len(others) > ITEMS_MAX:
        raise Refused(
            f"{route.key}: {route.name} {kind} would have {len(items) + len(others)} weighted items, of {ITEMS_MAX}",
            "use `per: zone`, or split the route",
        )
    if not items and not others:
        return None
    if others and old is not None and int(old["ttl"]) != ttl_of(route):
        raise Refused(
            f"{route.key}: {route.name} {kind} has items of others with TTL {old['ttl']}, and one TTL holds for all",
            f"set the route's `ttl: {old['ttl']}s`, or change theirs to {ttl_of(route)}",
        )
    wrr = {"wrr": {"items": [*others, *items]}}
    kept = {k: v for k, v in (policy or {}).items() if k == "healthCheck"}
    return {"name": f"{route.name}.", "type": kind, "ttl": ttl_of(route), "routingPolicy": {**kept, **wrr}}


def _same(old: RecordSet | None, new: RecordSet | None) -> bool:
    if old is None or new is None:
        return old is new
    if "routingPolicy" not in old or int(old["ttl"]) != new["ttl"]:
        return False

    def plain(record: RecordSet) -> list[tuple[float, list[str], str]]:
        items = record["routingPolicy"]["wrr"].get("items", ())
        return sorted(
            (float(i.get("weight", 0)), sorted(_values(i)), str(i.get("healthCheckedTargets"))) for i in items
        )

    return plain(old) == plain(new)


def _fence_record(route: Route, seen: Seen, fence: Fence) -> RecordSet:
    old = seen.txt or {}
    others = [v for v in old.get("rrdatas", ()) if Fence.parse(txt_text(v)) is None]
    ttl = int(old["ttl"]) if others else ttl_of(route)
    return {
        "name": f"{fence_name(route.name)}.",
        "type": "TXT",
        "ttl": ttl,
        "rrdatas": [*others, txt_value(fence.text)],
    }


def _words(route: Route, record: RecordSet | None) -> str:
    parts = [
        f"{'+'.join(sorted(_values(i))) or 'health-checked'} {i.get('weight', 0):g}" for i in _items(route, record)
    ]
    return ", ".join(parts) or "absent"
