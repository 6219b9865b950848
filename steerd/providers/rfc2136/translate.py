"""From what stands in the zone and what is desired to one conditional update message. Pure.

The update is fenced twice: its prerequisites name the exact record sets and the exact TXT fence as they were read, so
the server itself refuses the whole update when anybody wrote in between (RFC 2136, section 2.4.2 and 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.update

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.records import (
    as_desired,
    canonical,
    check_fence,
    fence_name,
    keep_type,
    needs_fence,
    observe,
    own_values,
    summary,
    ttl_of,
    wanted_values,
)

__all__ = ["TYPES", "Seen", "Update", "check_route", "idle_message", "message", "observed_from", "translate"]

TYPES = ("A", "AAAA", "CNAME")

Rdatas = frozenset[dns.rdata.Rdata]


@dataclass(frozen=True, slots=True)
class Seen:
    """Exactly what the server answered: record sets of the route's types, their TTLs, the TXT at the fence's name."""

    rrsets: Mapping[str, Rdatas] = field(default_factory=dict)
    ttls: Mapping[str, int] = field(default_factory=dict)
    txt: Rdatas = frozenset()

    @property
    def served(self) -> dict[str, frozenset[str]]:
        """Type -> values, in canonical texts."""
        return {kind: frozenset(canonical(r.to_text()) for r in rdatas) for kind, rdatas in self.rrsets.items()}

    @property
    def fence(self) -> Fence | None:
        """The newest fence of ours among the TXT records."""
        fences = [f for f in map(fence_of, self.txt) if f is not None]
        return max(fences, key=lambda f: (f.epoch, f.seq), default=None)


@dataclass(frozen=True, slots=True)
class Update:
    """The payload of a change. `seen` becomes the prerequisites; `add` and `delete` are type -> values.

    `anew` are the types whose whole set is written again, for the sake of its TTL.
    """

    name: str
    seen: Seen
    add: Mapping[str, frozenset[str]]
    delete: Mapping[str, frozenset[str]]
    ttl_s: int
    anew: frozenset[str] = frozenset()


def check_route(route: Route, zone: dns.name.Name) -> dns.name.Name:
    """The route's absolute name. Raises `Misconfigured` when this zone cannot hold it or the types are not ours."""
    name = dns.name.from_text(route.name)
    if not name.is_subdomain(zone):
        raise Misconfigured(
            f"{route.key}: {route.name} is not in zone {zone}", "use the provider entry of the zone that holds it"
        )
    if alien := [t for t in route.types if t not in TYPES]:
        raise Misconfigured(
            f"{route.key}: type {', '.join(alien)} cannot be written by dynamic update", f"use {', '.join(TYPES)}"
        )
    return name


def fence_of(rdata: dns.rdata.Rdata) -> Fence | None:
    """The fence a TXT record carries, or None when it is not one of ours."""
    if not isinstance(rdata, dns.rdtypes.ANY.TXT.TXT):
        return None
    return Fence.parse(b"".join(rdata.strings).decode("ascii", "replace"))


def fence_rdata(fence: Fence) -> dns.rdata.Rdata:
    """The TXT record of a fence, cut into strings of at most 255 bytes."""
    text = fence.text.encode("ascii", "backslashreplace")
    strings = tuple(text[i : i + 255] for i in range(0, len(text), 255))
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)


def observed_from(route: Route, seen: Seen) -> Observed:
    """What the record sets mean for the route's targets."""
    return observe(route, seen.served, seen.ttls, seen.fence, seen)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The update that turns `observed` into `desired`.

    Raises ValueError on an empty state; `Misconfigured` or `Refused` where the state cannot be written as records.
    """
    wanted = wanted_values(route, desired)
    seen = observed.token if isinstance(observed.token, Seen) else Seen()
    check_fence(route, seen.fence, fence)
    own = own_values(route, desired)
    served = seen.served
    add: dict[str, frozenset[str]] = {}
    delete: dict[str, frozenset[str]] = {}
    anew = frozenset(t for t, ttl_s in seen.ttls.items() if t in route.types and ttl_s != ttl_of(route))
    for kind in route.types:
        before = served.get(kind, frozenset())
        foreign = before - own
        if kind == "CNAME" and wanted[kind] and foreign:
            raise Refused(
                f"{route.key}: {route.name} is a CNAME to {', '.join(sorted(foreign))}, no target of this route",
                "delete it or list it under the route's `targets`: steerd does not replace records of others",
            )
        keep_type(route, kind, before, foreign | wanted[kind])
        add[kind] = wanted[kind] | (foreign if kind in anew else frozenset())
        delete[kind] = (before & own) - wanted[kind]
    added = frozenset(v for kind, vs in add.items() for v in vs - served.get(kind, frozenset()))
    same = as_desired(route, desired, served, seen.ttls)
    removed = frozenset(v for vs in delete.values() for v in vs)
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Update(route.name, seen, {} if same else add, {} if same else delete, ttl_of(route), anew),
        nothing=same and not needs_fence(seen.fence, fence),
        summary=summary(route.name, added, removed, fence_only=same),
    )


def message(zone: dns.name.Name, change: Change) -> dns.update.UpdateMessage:
    """The unsigned update message of a change whose payload is an `Update`."""
    update: Update = change.payload
    name = dns.name.from_text(update.name)
    place = dns.name.from_text(fence_name(update.name))
    made = dns.update.UpdateMessage(zone)
    for kind, rdatas in update.seen.rrsets.items():
        if rdatas:
            made.present(name, *rdatas)
        else:
            made.absent(name, kind)
    if update.seen.txt:
        made.present(place, *update.seen.txt)
    else:
        made.absent(place, "TXT")
    # A set has one TTL. Adding to it changes that on BIND and not on Knot, so a set of another TTL is written anew, which no client
    # sees half done: an update is atomic (RFC 2136, 3.7).
    for kind in sorted(update.anew if update.add else ()):
        if kind != "CNAME":
            made.delete(name, kind)
    # Additions first: a server carries the section out in order (RFC 2136, 3.4.2): the set is never empty in between.
    for kind, values in update.add.items():
        if values:
            made.add(name, update.ttl_s, *(rdata_of(kind, v) for v in sorted(values)))
    for kind, values in update.delete.items():
        # A CNAME is replaced by adding its successor (RFC 2136, 3.4.2.2).
        if values and kind != "CNAME" and kind not in update.anew:
            made.delete(name, *(rdata_of(kind, v) for v in sorted(values)))
    new = fence_rdata(change.fence)
    made.add(place, update.ttl_s, new)
    if stale := [r for r in update.seen.txt if fence_of(r) is not None and r != new]:
        made.delete(place, *stale)
    return made


_NOWHERE = {"A": "192.0.2.{}", "AAAA": "2001:db8::{}", "CNAME": "nowhere-{}.invalid", "TXT": "steerd-rights-{}"}
"""Values nobody serves: addresses kept for documentation, a name that never resolves, a text that is no fence."""


def idle_message(zone: dns.name.Name, name: str, kind: str, standing: Rdatas) -> dns.update.UpdateMessage:
    """The unsigned update that asks for a right and changes nothing: it deletes a record that is not among `standing`, on condition
    that the set is exactly `standing`."""
    owner = dns.name.from_text(name)
    absent = (rdata_of(kind, _NOWHERE[kind].format(n)) for n in range(255))
    made = dns.update.UpdateMessage(zone)
    if standing:
        made.present(owner, *standing)
    else:
        made.absent(owner, kind)
    made.delete(owner, next(rdata for rdata in absent if rdata not in standing))
    return made


def rdata_of(kind: str, value: str) -> dns.rdata.Rdata:
    """One record of a type; names are absolute."""
    return dns.rdata.from_text("IN", kind, f"{value}." if kind == "CNAME" else value)
