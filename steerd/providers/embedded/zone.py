"""The zone as it is answered from: record sets compiled to ready-made RRsets, and the weighted choice among them.

Nothing here does I/O. The random generator is handed in, so that tests and the simulator are repeatable.
"""

from __future__ import annotations

import random
import struct
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset

from steerd.providers.embedded.translate import RecordSet
from steerd.providers.records import FENCE_LABEL

__all__ = ["Apex", "Choice", "Node", "Zone"]

NEGATIVE_TTL_S = 5
"""How long resolvers may remember that a name or type is missing (RFC 2308): short, a record may be about to come."""

MAX_SERIAL = 2**32

OWNER_POINTER = 0xC000 | 12
"""A compressed name that points to the question, which stands right after the header."""


@dataclass(frozen=True, slots=True)
class Apex:
    """What stands at the top of the zone. Names are texts, `address` the address of `ns` where it is in the zone."""

    zone: str
    ns: str
    contact: str
    ttl_s: int
    address: str | None = None


class Choice:
    """The weighted values of one name and type. Weights are > 0 and need no sum."""

    def __init__(self, name: dns.name.Name, ttl_s: int, kind: str, values: dict[str, float]) -> None:
        self._name, self._ttl_s = name, ttl_s
        texts = sorted(values)
        self._rdatas = [dns.rdata.from_text("IN", kind, f"{v}." if kind == "CNAME" else v) for v in texts]
        # Ready-made per value: the usual answer holds a single one.
        self._single = [dns.rrset.from_rdata(name, ttl_s, r) for r in self._rdatas]
        self._weights = [values[v] for v in texts]
        self._cumulative = list(accumulate(self._weights))
        self._alone = kind == "CNAME"
        self._wires = [_wire(r, ttl_s) for r in self._rdatas]

    def pick(self, count: int, rng: random.Random) -> dns.rrset.RRset:
        """`count` values at most, drawn by weight without replacement; the first drawn stands first."""
        drawn = self._draw(count, rng)
        if len(drawn) == 1:
            return self._single[drawn[0]]
        return dns.rrset.from_rdata_list(self._name, self._ttl_s, [self._rdatas[i] for i in drawn])

    def pick_wires(self, count: int, rng: random.Random) -> list[bytes]:
        """The same draw as finished answer records, their owner a pointer to the question."""
        return [self._wires[i] for i in self._draw(count, rng)]

    def _draw(self, count: int, rng: random.Random) -> list[int]:
        if count == 1 or len(self._weights) == 1 or self._alone:
            return [bisect(self._cumulative, rng.random() * self._cumulative[-1], 0, len(self._cumulative) - 1)]
        # Efraimidis and Spirakis (2006): the largest u^(1/w) are a weighted draw without replacement.
        keyed = sorted(((rng.random() ** (1.0 / w), i) for i, w in enumerate(self._weights)), reverse=True)
        return [i for _, i in keyed[:count]]


def _wire(rdata: dns.rdata.Rdata, ttl_s: int) -> bytes:
    data = rdata.to_wire()
    assert data is not None, "to_wire without a file returns bytes"
    return struct.pack("!HHHLH", OWNER_POINTER, rdata.rdtype, rdata.rdclass, ttl_s, len(data)) + data


@dataclass(slots=True)
class Node:
    """One name: fixed RRsets by type, weighted ones by type. Both empty: a name that only has names below it."""

    fixed: dict[dns.rdatatype.RdataType, dns.rrset.RRset]
    weighted: dict[dns.rdatatype.RdataType, Choice]


class Zone:
    """All names of the zone. `expected` names are known to be routes: until written they are answered with SERVFAIL,
    because a resolver would remember an NXDOMAIN.
    """

    def __init__(self, apex: Apex, answers: int, rng: random.Random) -> None:
        self.origin = dns.name.from_text(apex.zone)
        self.answers = answers
        self.rng = rng
        self.serial = 1
        self.records: dict[str, RecordSet] = {}
        self._apex = apex
        self._nodes: dict[dns.name.Name, Node] = {}
        self._expected: set[dns.name.Name] = set()
        self._pending: frozenset[dns.name.Name] = frozenset()
        self._ready: dict[bytes, dict[int, Choice]] = {}
        self.load((), 1)

    def expect(self, names: Iterable[str]) -> None:
        """These names are routes, written or not."""
        self._expected.update(dns.name.from_text(n) for n in names)
        self._note_pending()

    def put(self, record: RecordSet, serial: int) -> None:
        """Serve `record` in place of whatever stood at its name; costs what that one name costs."""
        self.records[record.name] = record
        self.serial = serial % MAX_SERIAL or 1
        self._set_apex()
        self._set_record(record)
        self._note_pending()

    def load(self, records: Iterable[RecordSet], serial: int) -> None:
        """Serve exactly these."""
        self.records = {r.name: r for r in records}
        self.serial = serial % MAX_SERIAL or 1
        self._nodes = {}
        self._ready = {}
        self._set_apex()
        for record in self.records.values():
            self._set_record(record)
        self._note_pending()

    def node(self, name: dns.name.Name) -> Node | None:
        """What stands at `name`; None when the name does not exist."""
        return self._nodes.get(name)

    def ready(self, wire_name: bytes, kind: int) -> Choice | None:
        """The weighted values of `kind` at a name in wire format and lower case; None where there is more to say."""
        found = self._ready.get(wire_name)
        return found.get(kind) if found else None

    def pending(self, name: dns.name.Name) -> bool:
        """True when `name` may well have records and only is not known yet."""
        return name in self._pending or (not self.records and name not in self._nodes)

    @property
    def negative_soa(self) -> dns.rrset.RRset:
        """The same for the authority section of negative answers, with their TTL (RFC 2308, section 3)."""
        return self._negative_soa

    def _note_pending(self) -> None:
        pending = set()
        for name in self._expected:
            if name.to_text(omit_final_dot=True).lower() in self.records:
                continue
            pending.add(name)
            above = name
            while above != self.origin and (above := above.parent()) != self.origin:
                pending.add(above)
        self._pending = frozenset(pending)

    def _set_record(self, record: RecordSet) -> None:
        name = dns.name.from_text(record.name)
        weighted = {}
        for kind in ("A", "AAAA", "CNAME"):
            if values := record.values(kind):
                weighted[dns.rdatatype.from_text(kind)] = Choice(name, record.ttl_s, kind, values)
        self._at(name).weighted = weighted
        wire = name.to_wire()
        assert wire is not None, "to_wire without a file returns bytes"
        self._ready[wire.lower()] = {int(kind): choice for kind, choice in weighted.items()}
        self._fix(dns.name.from_text(f"{FENCE_LABEL}.{record.name}"), record.ttl_s, "TXT", _quoted(record.fence.text))

    def _set_apex(self) -> None:
        apex, origin = self._apex, self.origin
        contact = _mailbox(apex.contact)
        soa = f"{apex.ns}. {contact}. {self.serial} 3600 600 1209600 {NEGATIVE_TTL_S}"
        self._fix(origin, apex.ttl_s, "SOA", soa)
        self._fix(origin, apex.ttl_s, "NS", f"{apex.ns}.")
        self._negative_soa = dns.rrset.from_text(origin, min(apex.ttl_s, NEGATIVE_TTL_S), "IN", "SOA", soa)
        ns = dns.name.from_text(apex.ns)
        if apex.address and ns.is_subdomain(origin):
            self._fix(ns, apex.ttl_s, "AAAA" if ":" in apex.address else "A", apex.address)

    def _fix(self, name: dns.name.Name, ttl_s: int, kind: str, text: str) -> None:
        self._at(name).fixed[dns.rdatatype.from_text(kind)] = dns.rrset.from_text(name, ttl_s, "IN", kind, text)

    def _at(self, name: dns.name.Name) -> Node:
        """The node at `name`, made with every name between it and the apex (empty non-terminals exist: RFC 8020)."""
        above = name
        while above != self.origin and above not in self._nodes:
            self._nodes[above] = Node({}, {})
            above = above.parent()
        return self._nodes.setdefault(name, Node({}, {}))


def _mailbox(contact: str) -> str:
    local, at, domain = contact.rstrip(".").partition("@")
    return f"{local.replace('.', chr(92) + '.')}.{domain}" if at else contact.rstrip(".")


def _quoted(text: str) -> str:
    safe = text.encode("ascii", "backslashreplace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{safe[i : i + 200]}"' for i in range(0, len(safe), 200))
