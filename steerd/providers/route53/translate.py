"""From the record sets as read and a desired state to one conditional change batch. Pure.

Route 53 carries a batch out whole or not at all, and refuses a DELETE that does not repeat the record set exactly as it
stands. The fence's TXT is deleted and created in every batch, so a batch made from an older reading fails whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steerd.model.route import Desired, Fence, Member, Observed, Route
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.batch import Batch, fence_in, txt_text, txt_value
from steerd.providers.records import canonical, check_fence, fence_name, needs_fence, ttl_of, type_of
from steerd.providers.route53.records import (
    RecordSet,
    identifier,
    kinds_of,
    plain_name,
    same,
    values_in,
)

__all__ = ["Seen", "check_route", "condition_keys", "observed_from", "translate"]

WEIGHT_MAX, GROUP_MAX = 255, 100
"""The largest weight; weighted records of one name and type (Route 53 quotas)."""

BATCH_RECORDS, BATCH_CHARS = 1000, 32_000
"""`ResourceRecord` elements and characters of their values in one batch (Route 53 quotas)."""

_POLICIES = ("Region", "Failover", "GeoLocation", "MultiValueAnswer", "CidrRoutingConfig", "GeoProximityLocation")
_TYPES = ("A", "AAAA", "CNAME")


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands in the zone: the address and CNAME record sets of the name, and the TXT at the fence's name."""

    records: tuple[RecordSet, ...] = ()
    txt: RecordSet | None = None

    @property
    def fence(self) -> Fence | None:
        """The newest fence of ours."""
        return fence_in(r["Value"] for r in (self.txt or {}).get("ResourceRecords", ()))


def check_route(route: Route) -> None:
    """Raises `Misconfigured` when the route is not one this provider can write."""
    if alien := [t for t in route.types if t not in (*_TYPES, "ALIAS")]:
        raise Misconfigured(
            f"{route.key}: type {', '.join(alien)} has no weighted records here", "use A, AAAA, CNAME or ALIAS"
        )
    if route.settings.get("set"):
        raise Misconfigured(
            f"{route.key}: Route 53 cannot hold two weighted groups under one name (`set: {route.settings['set']}`)",
            "give each set a name of its own, and point a geolocation alias at them",
        )
    if long := [t.key for t in route.targets if len(t.key) > 128]:
        raise Misconfigured(
            f"{route.key}: {long[0]!r} is longer than the 128 characters of a set identifier", "shorten it"
        )


def condition_keys(route: Route) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What IAM compares a batch of this route with: condition key -> (type, values). (Route 53 guide, "Specifying conditions".)"""
    names = (plain_name(route.name), plain_name(fence_name(route.name)))
    types = {*kinds_of(route), "TXT"}
    given = {
        "NormalizedRecordNames": tuple(n.replace("*", "\\052") for n in names),
        "RecordTypes": tuple(sorted(types)),
        "Actions": ("CREATE", "DELETE"),
    }
    return {f"route53:ChangeResourceRecordSets{key}": ("stringList", values) for key, values in given.items()}


def observed_from(route: Route, seen: Seen) -> Observed:
    """What the record sets mean for the route's targets. Raises `Misconfigured` where the name is not ours to weigh."""
    kinds = kinds_of(route)
    for record in seen.records:
        if record["Type"] not in kinds and "CNAME" in (*kinds, record["Type"]):
            raise Misconfigured(
                f"{route.key}: {route.name} holds {record['Type']} records, which exclude type {', '.join(kinds)}",
                "delete them or change the route's type: steerd does not replace records of others",
            )
        policy = next((p for p in _POLICIES if p in record), None)
        if record["Type"] in kinds and policy:
            raise Misconfigured(
                f"{route.key}: {route.name} {record['Type']} has routing policy {policy}, which cannot be mixed with weights",
                "give the weighted records a name of their own, and point those of the policy at it by alias",
            )
    standing = [r for r in seen.records if r["Type"] in kinds]
    weights, values, known = {}, {}, set()
    for target in route.targets:
        own = frozenset(canonical(v) for vs in target.values.values() for v in vs)
        mine = [r for r in standing if identifier(r) == target.key or (not identifier(r) and values_in(r) & own)]
        known |= {id(r) for r in mine}
        found = {r["Type"]: int(r["Weight"]) if identifier(r) else 1 for r in mine}
        missing = (
            {t for t in kinds if any(type_of(v) == t for v in own)} - found.keys()
            if found and kinds != ("A",)
            else set()
        )
        weights[target.key] = 0 if missing else min(found.values(), default=0)
        values[target.key] = tuple(sorted({v for r in mine for v in values_in(r) if identifier(r) or v in own}))
    ttls = [int(r["TTL"]) for r in standing if "TTL" in r]
    return Observed(
        weights=weights,
        values=values,
        fence=seen.fence,
        exists=bool(standing),
        ttl_s=float(min(ttls)) if ttls else None,
        foreign=tuple(sorted({_words(r) for r in standing if id(r) not in known})),
        token=seen,
    )


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The batch that turns `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` or `Refused` where the state cannot be
    written as weighted records.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    for member in desired.members:
        if not 0 <= member.weight <= WEIGHT_MAX:
            raise ValueError(f"{route.key}: weight {member.weight} of {member.target} is not from 0 to {WEIGHT_MAX}")
    check_route(route)
    seen = observed.token if isinstance(observed.token, Seen) else Seen()
    check_fence(route, seen.fence, fence)
    changes: list[Mapping[str, Any]] = []
    served: dict[str, frozenset[str] | None] = {}
    for kind in kinds_of(route):
        group = _group(route, kind, desired, seen)
        changes += group.changes
        served[kind] = group.served
    same_records = not changes
    if not same_records or needs_fence(seen.fence, fence):
        changes += _fence_changes(route, seen, fence)
    _check_size(route, changes)
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Batch(seen.fence, tuple(changes), served),
        nothing=not changes,
        summary=_summary(route, changes, fence_only=same_records),
    )


@dataclass(slots=True)
class _Group:
    """One type's weighted group."""

    changes: list[Mapping[str, Any]]
    served: frozenset[str] | None


def _group(route: Route, kind: str, desired: Desired, seen: Seen) -> _Group:
    standing = {identifier(r): r for r in seen.records if r["Type"] == kind}
    simple = standing.pop("", None)
    members = {m.target: m for m in desired.members}
    keys = sorted({t.key for t in route.targets} | members.keys())
    configured = {t.key for t in route.targets}
    wanted = {
        key: record
        for key in keys
        if (record := _record(route, kind, members.get(key) or Member(key, 0), standing.get(key), key in configured))
    }
    foreign = [r for key, r in standing.items() if key not in keys]
    if simple is not None and (strange := values_in(simple) - _own_values(route, desired)):
        raise Refused(
            f"{route.key}: {route.name} {kind} is a simple record with {', '.join(sorted(strange))}, no target of this route",
            "delete it or list it under the route's `targets`: steerd does not replace records of others",
        )
    _check_group(route, kind, wanted, foreign, stood=[*standing.values(), *([simple] if simple else [])])
    gone = [
        standing[key] for key in keys if key in standing and not (key in wanted and same(standing[key], wanted[key]))
    ]
    new = [wanted[key] for key in keys if key in wanted and not (key in standing and same(standing[key], wanted[key]))]
    changes: list[Mapping[str, Any]] = [
        {"Action": "DELETE", "ResourceRecordSet": dict(r)} for r in ([simple] if simple else []) + gone
    ]
    changes += [{"Action": "CREATE", "ResourceRecordSet": dict(r)} for r in new]
    serving = [r for r in wanted.values() if r["Weight"] > 0] + foreign
    if any(
        "AliasTarget" in r and r["Weight"] > 0 for r in serving
    ):  # ours or somebody else's: it answers with what its target has
        return _Group(changes, None)
    return _Group(changes, frozenset(v for r in serving for v in values_in(r)))


def _record(route: Route, kind: str, member: Member, standing: RecordSet | None, configured: bool) -> RecordSet | None:  # noqa: FBT001  the callers' own word
    """The record set a member should have, or None for none. One at weight 0 stays as it is, for its way back."""
    ttl = ttl_of(route)
    if member.weight == 0:
        if standing is None or not configured:
            return None
        return {**standing, "Weight": 0, **({"TTL": ttl} if "TTL" in standing else {})}
    alias = route.types == ("ALIAS",)
    values = sorted({canonical(v) for v in member.values if (type_of(v) == "CNAME" if alias else type_of(v) == kind)})
    if not values:
        wanted = "name" if alias or kind == "CNAME" else " or ".join(kinds_of(route)) + " value"
        if not any(type_of(v) in kinds_of(route) for v in member.values):
            raise Misconfigured(
                f"{route.key}: target {member.target} has no {wanted}",
                "give its endpoints `address` (A) or `address6` (AAAA), or the route `targets`",
            )
        return None
    if (alias or kind == "CNAME") and len(values) > 1:
        raise Misconfigured(
            f"{route.key}: {member.target} is {', '.join(values)}: a weighted {route.types[0]} holds exactly one name",
            "give the target one name under the route's `targets`",
        )
    # A health check somebody hung on the record stays on it.
    kept = {k: standing[k] for k in ("HealthCheckId",) if standing and k in standing}
    base = {"Name": f"{route.name}.", "Type": kind, "SetIdentifier": member.target, "Weight": member.weight, **kept}
    if not alias:
        dotted = [f"{v}." if kind == "CNAME" else v for v in values]
        return {**base, "TTL": ttl, "ResourceRecords": [{"Value": v} for v in dotted]}
    zone = (route.settings.get("alias_zones") or {}).get(member.target) or route.settings.get("alias_zone")
    if not zone:
        raise Misconfigured(
            f"{route.key}: the hosted zone of {member.target}'s ALIAS target is not known",
            "set the route's `alias_zone` (for a load balancer, its CanonicalHostedZoneId), or `alias_zones` by target",
        )
    health = bool((standing or {}).get("AliasTarget", {}).get("EvaluateTargetHealth", False))
    target = {"HostedZoneId": str(zone), "DNSName": f"{values[0]}.", "EvaluateTargetHealth": health}
    return {**base, "AliasTarget": target}


def _check_group(
    route: Route, kind: str, wanted: Mapping[str, RecordSet], foreign: list[RecordSet], stood: list[RecordSet]
) -> None:
    # All weights 0 is not "nothing": Route 53 then answers with all of them equally.
    if stood and not any(r["Weight"] > 0 for r in wanted.values()):
        raise Refused(
            f"{route.key}: the plan leaves {route.name} without any {kind} record in service",
            f"give a target that stays in service a value of type {kind}, or take {kind} out of the route's type",
        )
    if len(wanted) + len(foreign) > GROUP_MAX:
        raise Refused(
            f"{route.key}: {route.name} {kind} would have {len(wanted) + len(foreign)} weighted records, of {GROUP_MAX} possible",
            "use `per: zone`, or split the route",
        )
    others = {r["TTL"] for r in foreign if "TTL" in r} - {ttl_of(route)}
    if others and any("TTL" in r for r in wanted.values()):
        raise Refused(
            f"{route.key}: {route.name} has weighted records of others with TTL {min(others)}, and one TTL holds for all",
            f"set the route's `ttl: {min(others)}s`, or change theirs to {ttl_of(route)}",
        )


def _own_values(route: Route, desired: Desired) -> frozenset[str]:
    of_targets = {canonical(v) for t in route.targets for vs in t.values.values() for v in vs}
    return frozenset(of_targets | {canonical(v) for m in desired.members for v in m.values})


def _fence_changes(route: Route, seen: Seen, fence: Fence) -> list[Mapping[str, Any]]:
    old = seen.txt
    others = [r for r in (old or {}).get("ResourceRecords", ()) if Fence.parse(txt_text(r["Value"])) is None]
    new = {
        "Name": f"{fence_name(route.name)}.",
        "Type": "TXT",
        "TTL": old["TTL"] if old and others else ttl_of(route),
        "ResourceRecords": [*others, {"Value": txt_value(fence.text)}],
    }
    delete = [{"Action": "DELETE", "ResourceRecordSet": dict(old)}] if old else []
    return [*delete, {"Action": "CREATE", "ResourceRecordSet": new}]


def _check_size(route: Route, changes: list[Mapping[str, Any]]) -> None:
    values = [r["Value"] for c in changes for r in c["ResourceRecordSet"].get("ResourceRecords", ())]
    if len(values) > BATCH_RECORDS or sum(map(len, values)) > BATCH_CHARS:
        raise Refused(
            f"{route.key}: one batch would hold {len(values)} values, Route 53 takes {BATCH_RECORDS} of"
            f" {BATCH_CHARS} characters together",
            "use fewer values per target (a load balancer's name), or split the route",
        )


def _words(record: RecordSet) -> str:
    return (
        f"{identifier(record)}: {', '.join(sorted(values_in(record)))}"
        if identifier(record)
        else ", ".join(sorted(values_in(record)))
    )


def _summary(route: Route, changes: list[Mapping[str, Any]], *, fence_only: bool) -> str:
    if fence_only:
        return f"{route.name}: fence only"
    # Each record that changes stands twice: as it is (DELETE) and as it will be (CREATE).
    before: dict[tuple[str, str], Any] = {}
    after: dict[tuple[str, str], Any] = {}
    for change in changes:
        record = change["ResourceRecordSet"]
        if record["Type"] != "TXT":
            side = before if change["Action"] == "DELETE" else after
            side[identifier(record) or "simple record", record["Type"]] = record.get("Weight", "in")
    parts = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, "absent"), after.get(key, "absent")
        parts.append(f"{key[0]} {key[1]} {old} -> {new}" if old != new else f"{key[0]} {key[1]} {new}, values or TTL")
    return f"{route.name}: {'; '.join(parts)}"
