"""From what stands at a name and what is desired to one PATCH of record sets. Pure.

The fence (a TXT) changes in the same PATCH as the records, which PowerDNS carries out in one transaction. It does not compare:
`apply` does that right before it writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import records
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.powerdns import lua
from steerd.providers.powerdns.lua import Group
from steerd.providers.records import canonical, fence_name

__all__ = [
    "TYPES",
    "Patch",
    "RRset",
    "Seen",
    "absolute",
    "check_route",
    "observed_from",
    "read_rrsets",
    "served",
    "translate",
]

TYPES = ("A", "AAAA", "CNAME")


@dataclass(frozen=True, slots=True)
class RRset:
    """One record set: (content, disabled) as the API gives them, in its order. A disabled record is kept and not served."""

    ttl_s: int
    records: tuple[tuple[str, bool], ...]

    @property
    def live(self) -> tuple[str, ...]:
        """Contents that are served."""
        return tuple(text for text, disabled in self.records if not disabled)


@dataclass(frozen=True, slots=True)
class Seen:
    """Exactly what the API gave for the route's name (by type) and for the fence's TXT."""

    rrsets: Mapping[str, RRset] = field(default_factory=dict)
    txt: RRset | None = None

    @property
    def plain(self) -> dict[str, frozenset[str]]:
        """Type -> values of plain records."""
        return {t: frozenset(map(canonical, self.rrsets[t].live)) if t in self.rrsets else frozenset() for t in TYPES}

    @property
    def groups(self) -> dict[str, tuple[Group, ...]]:
        """Type -> weighted groups of the LUA record that answers for it. Raises `Misconfigured`."""
        found: dict[str, tuple[Group, ...]] = {}
        for text in self.rrsets["LUA"].live if "LUA" in self.rrsets else ():
            kind = lua.type_in(text)
            if kind not in TYPES:
                continue
            groups = lua.parse(text)
            if groups is None or kind in found:
                raise Misconfigured(
                    f"a LUA record that steerd did not write answers for {kind}: {text[:120]}",
                    "delete it: steerd does not replace a script of others",
                )
            found[kind] = groups
        return found

    @property
    def fence(self) -> Fence | None:
        """The newest fence of ours among the TXT records."""
        fences = [f for f in map(fence_of, self.txt.live if self.txt else ()) if f is not None]
        return max(fences, key=lambda f: (f.epoch, f.seq), default=None)


@dataclass(frozen=True, slots=True)
class Patch:
    """The payload of a change: `rrsets` as the API takes them; `seen` is compared right before they are sent."""

    seen: Seen
    rrsets: tuple[Mapping[str, Any], ...]


def absolute(name: str) -> str:
    """A name as the API wants it."""
    return f"{canonical(name)}."


def check_route(route: Route, zone: str) -> None:
    """Raises `Misconfigured` when this zone cannot hold the route's record."""
    name = canonical(route.name)
    if name != zone and not name.endswith(f".{zone}"):
        raise Misconfigured(
            f"{route.key}: {route.name} is not in zone {zone}", "use the provider entry of the zone that holds it"
        )
    if alien := [t for t in route.types if t not in TYPES]:
        raise Misconfigured(f"{route.key}: type {', '.join(alien)} cannot be written here", f"use {', '.join(TYPES)}")


def fence_of(text: str) -> Fence | None:
    """The fence a TXT content carries, or None when it is not one of ours."""
    return Fence.parse(text.replace('" "', "").strip('"'))


def fence_text(fence: Fence) -> str:
    """The TXT content of a fence, cut into strings of at most 255 bytes."""
    text = fence.text.encode("ascii", "backslashreplace").decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{text[i : i + 255]}"' for i in range(0, len(text), 255))


def read_rrsets(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, RRset]:
    """Type -> record set at `name`, from the `rrsets` of a zone. Raises KeyError, TypeError or ValueError on nonsense."""
    found: dict[str, RRset] = {}
    for row in rows:
        if canonical(str(row["name"])) != canonical(name) or not row["records"]:
            continue
        kind, standing = str(row["type"]), found.get(str(row["type"]))
        own = {(str(r["content"]), bool(r.get("disabled"))) for r in row["records"]}
        ttl_s = standing.ttl_s if standing else int(row["ttl"])
        found[kind] = RRset(ttl_s, tuple(sorted(own | set(standing.records if standing else ()))))
    return found


def observed_from(route: Route, seen: Seen, *, weighted: bool) -> Observed:
    """What the record sets mean for the route's targets. Raises `Misconfigured` on records that exclude the route's."""
    _check_clash(route, seen, weighted=weighted)
    ttls = {t: seen.rrsets[t].ttl_s for t in route.types if t in seen.rrsets}
    plain = {t: values for t, values in seen.plain.items() if t in route.types}
    groups = {t: g for t, g in (seen.groups.items() if weighted else ()) if t in route.types}
    if not groups:
        return records.observe(route, plain, ttls, seen.fence, seen)
    both = {t: plain.get(t, frozenset()) | {v for g in groups.get(t, ()) for v in g.values} for t in route.types}
    told = records.observe(route, both, {**ttls, "LUA": seen.rrsets["LUA"].ttl_s}, seen.fence, seen)
    return Observed(
        weights={key: _weight(groups, set(values)) for key, values in told.values.items()},
        values=told.values,
        fence=told.fence,
        exists=told.exists,
        ttl_s=told.ttl_s,
        foreign=told.foreign,
        token=seen,
    )


def _weight(groups: Mapping[str, tuple[Group, ...]], own: set[str]) -> int:
    """The weight of the groups that hold values of a target; the smaller where its types differ."""
    found = [sum(g.weight for g in gs if own & set(g.values)) for gs in groups.values()]
    return min((w for w in found if w > 0), default=0)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence, *, weighted: bool) -> Change:
    """The PATCH that turns `observed` into `desired`.

    Raises ValueError on an empty state; `Misconfigured` or `Refused` where it cannot be written as records.
    """
    seen = observed.token if isinstance(observed.token, Seen) else Seen()
    _check_clash(route, seen, weighted=weighted)
    if weighted:
        records.check_weighted(route, desired)
    else:
        records.wanted_values(route, desired)
    records.check_fence(route, seen.fence, fence)
    wanted = _weighted_sets(route, desired, seen) if weighted else _plain_sets(route, desired, seen)
    changed = {t: rrset for t, rrset in wanted.items() if _differ(rrset, seen.rrsets.get(t))}
    rows = [_row(route.name, t, rrset) for t, rrset in sorted(changed.items())]
    kept = tuple((t, d) for t, d in (seen.txt.records if seen.txt else ()) if fence_of(t) is None)
    mark = RRset(records.ttl_of(route), (*kept, (fence_text(fence), False)))
    before = {f"{t}={w}" for t, w in observed.weights.items()}
    after = {f"{m.target}={m.weight}" for m in desired.members}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Patch(seen, (*rows, _row(fence_name(route.name), "TXT", mark))),
        nothing=not rows and not records.needs_fence(seen.fence, fence),
        summary=records.summary(route.name, frozenset(after - before), frozenset(before - after), fence_only=not rows),
    )


def _plain_sets(route: Route, desired: Desired, seen: Seen) -> dict[str, RRset]:
    """Type -> the whole record set by membership: values wanted, values of others, and what is disabled."""
    wanted, own, found = records.wanted_values(route, desired), records.own_values(route, desired), {}
    for kind in route.types:
        before = seen.plain[kind]
        foreign = before - own
        if kind == "CNAME" and wanted[kind] and foreign:
            raise _foreign(route, foreign, "is a CNAME to")
        records.keep_type(route, kind, before, foreign | wanted[kind])
        found[kind] = RRset(
            records.ttl_of(route), (*((_text(kind, v), False) for v in foreign | wanted[kind]), *_disabled(seen, kind))
        )
    return found


def _weighted_sets(route: Route, desired: Desired, seen: Seen) -> dict[str, RRset]:
    """The LUA record set, and an empty plain one where addresses of ours stand: both together would be answered."""
    own, groups = records.own_values(route, desired), seen.groups
    found: dict[str, RRset] = {}
    script = []
    for kind in route.types:
        plain = seen.plain[kind]
        foreign = plain - own
        if foreign and kind not in groups:
            # Beside a weighted answer they would be in every answer: a split nobody asked for.
            raise _foreign(route, foreign, f"has plain {kind} records:")
        if plain & own:
            found[kind] = RRset(
                seen.rrsets[kind].ttl_s, (*((_text(kind, v), False) for v in foreign), *_disabled(seen, kind))
            )
        foreign_groups = _others(groups.get(kind, ()), own)
        mine = [
            Group(m.weight, values)
            for m in sorted(desired.members, key=lambda m: m.target)
            if m.weight > 0 and (values := _fitting(m.values, kind))
        ]
        before = plain | {v for g in groups.get(kind, ()) for v in g.values}
        records.keep_type(route, kind, before, foreign | {v for g in (*mine, *foreign_groups) for v in g.values})
        if mine or foreign_groups:
            script.append(lua.content(kind, (*mine, *foreign_groups)))
    # Scripts for other types, and disabled ones, are not ours.
    others = [
        (t, d) for t, d in (seen.rrsets["LUA"].records if "LUA" in seen.rrsets else ())
        if d or lua.type_in(t) not in route.types
    ]  # fmt: skip
    found["LUA"] = RRset(records.ttl_of(route), (*((t, False) for t in script), *others))
    return found


def _others(groups: Iterable[Group], own: frozenset[str]) -> list[Group]:
    """What somebody else added to the choice. A value inside of a group of ours keeps its part of the weight."""
    found = []
    for group in groups:
        foreign = tuple(v for v in group.values if v not in own)
        if foreign:
            found.append(Group(max(1, group.weight * len(foreign) // len(group.values)), foreign))
    return found


def _fitting(values: Iterable[str], kind: str) -> tuple[str, ...]:
    return tuple(sorted({canonical(v) for v in values if records.type_of(canonical(v)) == kind}))


def _disabled(seen: Seen, kind: str) -> tuple[tuple[str, bool], ...]:
    return tuple(r for r in (seen.rrsets[kind].records if kind in seen.rrsets else ()) if r[1])


def _text(kind: str, value: str) -> str:
    return f"{value}." if kind == "CNAME" else value


def _differ(wanted: RRset, standing: RRset | None) -> bool:
    """True when the record set must be written; spelling and order do not count."""
    if standing is None or not standing.records:
        return bool(wanted.records)
    if not wanted.records:
        return True
    return wanted.ttl_s != standing.ttl_s or _sense(wanted) != _sense(standing)


def _sense(rrset: RRset) -> list[tuple[Any, ...]]:
    found = []
    for text, disabled in rrset.records:
        groups = lua.parse(text)
        found.append((disabled, lua.type_in(text), repr(sorted(groups))) if groups else (disabled, canonical(text), ""))
    return sorted(found)


def _row(name: str, kind: str, rrset: RRset) -> dict[str, Any]:
    """One entry of the API's `rrsets`. REPLACE with no records deletes, so the empty set says so outright."""
    row: dict[str, Any] = {"name": absolute(name), "type": kind}
    if not rrset.records:
        return {**row, "changetype": "DELETE"}
    body = [{"content": text, "disabled": disabled} for text, disabled in sorted(rrset.records)]
    return {**row, "ttl": rrset.ttl_s, "changetype": "REPLACE", "records": body}


def served(seen: Seen) -> dict[str, frozenset[str]]:
    """Type -> every value that may be answered: plain ones and those of weighted groups."""
    groups = seen.groups
    return {t: seen.plain[t] | {v for g in groups.get(t, ()) for v in g.values} for t in TYPES}


def _check_clash(route: Route, seen: Seen, *, weighted: bool) -> None:
    kinds = served(seen)
    clash = [k for k, v in kinds.items() if v and k not in route.types and "CNAME" in (k, *route.types)]
    if clash:
        raise Misconfigured(
            f"{route.key}: {route.name} holds {clash[0]} records, which exclude type {', '.join(route.types)}",
            "delete them or change the route's type: steerd does not replace records of others",
        )
    if not weighted and (scripts := sorted(seen.groups)):
        raise Misconfigured(
            f"{route.key}: {route.name} holds a LUA record for {', '.join(scripts)}",
            "set `lua: true` for this provider, or delete it: steerd does not write plain records beside it",
        )


def _foreign(route: Route, foreign: Iterable[str], what: str) -> Refused:
    return Refused(
        f"{route.key}: {route.name} {what} {', '.join(sorted(foreign))}, no target of this route",
        "delete it or list it under the route's `targets`: steerd does not replace records of others",
    )
