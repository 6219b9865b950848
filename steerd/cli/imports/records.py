"""DNS zones as the vendors' own tools print them: Route 53 and Cloud DNS.

Sources: Route 53 API reference, ResourceRecordSet; Cloud DNS API reference, ResourceRecordSet (v1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steerd.cli.imports.found import Endpoint, Found, Names, Service, Unreadable, in_url
from steerd.providers.route53.records import plain_name

__all__ = ["Member", "clouddns", "route53", "services_of"]

_ADDRESSES = ("A", "AAAA")
_POLICIES = {
    "Region": "latency",
    "GeoLocation": "geolocation",
    "GeoProximityLocation": "geoproximity",
    "Failover": "failover",
    "CidrRoutingConfig": "CIDR",
    "MultiValueAnswer": "multi-value answers",
}
"""Route 53's routing policies beside weights, by the key that a record set has."""


_CLOUD_POLICIES = {"geo": "geolocation", "primaryBackup": "failover"}
"""Cloud DNS's, by the key of a routing policy."""


def _member(row: Mapping[str, Any], policy: str) -> str:
    """A record set of another policy than weights: its identifier, and what it is chosen by."""
    told = row[policy]
    parts = told.values() if isinstance(told, Mapping) else [told] if isinstance(told, str) else []
    by = " ".join(map(str, parts))
    return f"{row.get('SetIdentifier', '')}: {by}" if by else str(row.get("SetIdentifier", ""))


def _left_out(name: str, kind: str, policy: str, members: Sequence[str]) -> str:
    """The systems know one policy per name, so such records are not steered as they stand."""
    which = f" ({', '.join(members)})" if members else ""
    return (
        f"{name} {kind} is routed by {policy}{which}, which excludes weights: left out. To steer it, give each set a weighted"
        " name of its own, import those, and point the records of this name at them"
    )


@dataclass(slots=True)
class Member:
    """What one part of a record serves: by record type, its values."""

    key: str
    weight: float = 1.0
    values: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Set:
    """One name: its members by key, its TTL in seconds, and the hosted zone of its aliases. `weighted`: the keys are what the
    system tells its records apart by, so that endpoints must be called the same."""

    members: dict[str, Member] = field(default_factory=dict)
    ttl_s: float | None = None
    alias_zone: str | None = None
    weighted: bool = False

    def member(self, key: str) -> Member:
        return self.members.setdefault(key, Member(key))


def route53(text: str, names: Names, zone: str | None = None) -> Found:
    """The answer of ListResourceRecordSets, as `aws route53 list-resource-record-sets` prints it. Raises `Unreadable`."""
    data = _json(text)
    rows = data.get("ResourceRecordSets") if isinstance(data, Mapping) else None
    if not isinstance(rows, list):
        raise Unreadable("no `ResourceRecordSets` stand in it: print them with `aws route53 list-resource-record-sets`")
    sets: dict[str, _Set] = {}
    others: dict[tuple[str, str, str], list[str]] = {}
    notes: list[str] = []
    for row in rows:
        kind, name = row.get("Type"), plain_name(str(row.get("Name", "")))
        alias = row.get("AliasTarget")
        if kind not in (*_ADDRESSES, "CNAME") or not name:
            continue
        policy = next((key for key in _POLICIES if key in row), None)
        if policy is not None:
            others.setdefault((name, kind, _POLICIES[policy]), []).append(_member(row, policy))
            continue
        values = [str(alias["DNSName"]).rstrip(".")] if alias else [r["Value"] for r in row.get("ResourceRecords", [])]
        found = sets.setdefault(name, _Set(weighted="Weight" in row))
        found.ttl_s = row.get("TTL", found.ttl_s)
        if alias:
            found.alias_zone = alias.get("HostedZoneId")
        for value in [None] if "SetIdentifier" in row else values:
            member = found.member(row["SetIdentifier"] if value is None else value)
            member.weight = float(row.get("Weight", member.weight))
            member.values.setdefault("ALIAS" if alias else kind, []).extend(values if value is None else [value])
    notes += [_left_out(*of, members) for of, members in others.items()]
    settings = {"hosted_zone": zone or "SET-ME"}
    if not zone:
        notes.append("write the id of the hosted zone: providers.r53.hosted_zone")
    return Found("r53", "route53", settings, tuple(services_of(sets, names, notes)), tuple(notes))


def clouddns(text: str, names: Names, zone: str | None = None, project: str | None = None) -> Found:
    """Record sets as `gcloud dns record-sets list --zone Z --format json` prints them. Raises `Unreadable`."""
    data = _json(text)
    rows = data.get("rrsets") if isinstance(data, Mapping) else data
    if not isinstance(rows, list):
        raise Unreadable("no list of record sets: print them with `gcloud dns record-sets list --zone Z --format json`")
    sets: dict[str, _Set] = {}
    notes: list[str] = []
    for row in rows:
        kind, name = row.get("type"), str(row.get("name", "")).rstrip(".")
        if kind not in (*_ADDRESSES, "CNAME") or not name:
            continue
        policy = row.get("routingPolicy") or {}
        if other := sorted(set(policy) - {"wrr", "kind", "healthCheck"}):
            where = [str(i.get("location")) for i in (policy.get("geo") or {}).get("items", ()) if i.get("location")]
            notes.append(_left_out(name, kind, " and ".join(_CLOUD_POLICIES.get(o, o) for o in other), where))
            continue
        found = sets.setdefault(name, _Set())
        found.ttl_s = row.get("ttl", found.ttl_s)
        weighted = (policy.get("wrr") or {}).get("items", [])
        items: list[tuple[float, dict[str, Any]]] = [(float(i.get("weight", 1)), i) for i in weighted]
        if not items:
            items = [(1.0, {"rrdatas": row.get("rrdatas", [])})]
        for number, (weight, item) in enumerate(items, 1):
            values = [str(value).rstrip(".") for value in item.get("rrdatas", [])]
            for value in values if len(items) == 1 else [None]:
                member = found.member(value or str(number))
                member.weight = weight
                member.values.setdefault(kind, []).extend([value] if value else values)
    if not (zone and project):
        notes.append("write the project and the managed zone: providers.clouddns")
    settings = {"project": project or "SET-ME", "managed_zone": zone or "SET-ME"}
    return Found("clouddns", "clouddns", settings, tuple(services_of(sets, names, notes)), tuple(notes))


def services_of(sets: Mapping[str, _Set], names: Names, notes: list[str]) -> Iterator[Service]:
    """A service for each name that has something to choose from. Raises `Unreadable` when none has."""
    any_found = False
    for name, found in sets.items():
        kinds = sorted({kind for member in found.members.values() for kind in member.values})
        if len(found.members) < 2:
            continue
        if not set(kinds) <= set(_ADDRESSES) and len(kinds) > 1:
            notes.append(f"{name}: {', '.join(kinds)} stand side by side, which skews the split: left out")
            continue
        called = _called(name, found, names, notes)
        if called is None:
            continue
        any_found = True
        endpoints = tuple(_endpoints(name, found, called, notes))
        route: dict[str, Any] = {"name": name, "type": kinds if len(kinds) > 1 else kinds[0]}
        if found.ttl_s:
            route["ttl"] = f"{int(found.ttl_s)}s"
        if found.alias_zone:
            route["alias_zone"] = found.alias_zone
        yield Service(names.take(name.split(".")[0]), endpoints, route)
    if not any_found:
        raise Unreadable("no name has two addresses or targets to choose from")


def _called(name: str, found: _Set, names: Names, notes: list[str]) -> list[str] | None:
    """The names of the endpoints; None where the records' own identifiers cannot be taken."""
    if not found.weighted:
        return [names.take(name.split(".", maxsplit=1)[0], key) for key in found.members]
    wrong = [key for key in found.members if not names.exactly(key)]
    if wrong:
        notes.append(
            f"{name}: set identifier {wrong[0]!r} is no free name here: rename it in Route 53 and import again; left out"
        )
        return None
    return list(found.members)


def _endpoints(name: str, found: _Set, called: list[str], notes: list[str]) -> Iterator[Endpoint]:
    for endpoint, member in zip(called, found.members.values(), strict=True):
        v4, v6 = (member.values.get(kind, []) for kind in _ADDRESSES)
        other = [value for kind, values in member.values.items() if kind not in _ADDRESSES for value in values]
        if len(v4) > 1 or len(v6) > 1:
            notes.append(f"{name}: {member.key} serves several addresses, an endpoint has one: the first is taken")
        if member.weight == 0:
            notes.append(f"{name}: {member.key} has weight 0 now; it is an ordinary endpoint here")
        host = (v4 or v6 or other)[0]
        yield Endpoint(
            endpoint,
            f"http://{in_url(host)}",
            host,
            address=v4[0] if v4 else None,
            address6=v6[0] if v6 else None,
            weight=member.weight,
            target=other[0] if other else None,
        )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from error
