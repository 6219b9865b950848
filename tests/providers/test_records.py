"""Translations as pure functions: what an update would leave in a zone, for any zone and any plan."""

from __future__ import annotations

from dataclasses import replace

import dns.name
import dns.rdata
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers.asking import Server, parse_server
from steerd.providers.base import Misconfigured, Refused
from steerd.providers.records import canonical, type_of
from steerd.providers.rfc2136.translate import Seen, fence_of, fence_rdata, message, observed_from, rdata_of, translate

V4 = [f"192.0.2.{i}" for i in range(1, 7)]
V6 = [f"2001:db8::{i}" for i in range(1, 4)]
FOREIGN = ["198.51.100.1", "198.51.100.2", "2001:db8:ffff::1"]
ZONES = ("za", "zb", "zc")
FENCE = Fence("acme", 5, 9, "hash")
TARGETS = (
    Target("za", ("e1", "e2"), {"e1": (V4[0], V6[0]), "e2": (V4[1],)}),
    Target("zb", ("e3",), {"e3": (V4[2], V6[1])}),
    Target("zc", ("e4", "e5"), {"e4": (V4[3], V6[2]), "e5": (V4[4],)}),
)
ROUTE = Route(
    key="it/chat",
    service="chat",
    provider="it",
    name="chat.acme.example",
    per="zone",
    targets=TARGETS,
    types=("A", "AAAA"),
)
ORIGIN = dns.name.from_text("acme.example")


def seen(values: set[str], ttl_s: int = 30, txt: tuple[str, ...] = ()) -> Seen:
    by_type = {t: frozenset(rdata_of(t, v) for v in values if type_of(v) == t) for t in ROUTE.types}
    return Seen(
        rrsets=by_type,
        ttls={t: ttl_s for t, rdatas in by_type.items() if rdatas},
        txt=frozenset(dns.rdata.from_text("IN", "TXT", f'"{t}"') for t in txt),
    )


def carried_out(change: object, before: Seen) -> Seen:
    """What a server makes of the update message, by the letter of RFC 2136, section 3.4.2."""
    sets = {**{k: set(v) for k, v in before.rrsets.items()}, "TXT": set(before.txt)}
    ttls, anew = dict(before.ttls), set[str]()
    for rrset in message(ORIGIN, change).update:  # type: ignore[arg-type]  # any change of this provider
        kind = dns.rdatatype.to_text(rrset.rdtype)
        assert rrset.name.to_text() == ("_steerd.chat.acme.example." if kind == "TXT" else "chat.acme.example.")
        if rrset.deleting == dns.rdataclass.ANY:
            assert ttls[kind] != round(ROUTE.ttl_s), "a set is written anew for its TTL only"
            anew.add(kind)
            sets[kind] = set()
            continue  # in the same message, which a server carries out whole (RFC 2136, 3.7)
        if rrset.deleting == dns.rdataclass.NONE:
            sets[kind] -= set(rrset)
        else:
            assert rrset.deleting is None
            anew.discard(kind)
            sets[kind] |= set(rrset)
            ttls[kind] = rrset.ttl
        assert sets[kind], "never empty, not even in between"
    assert not anew, "what was deleted comes back"
    txt = sets.pop("TXT")
    return Seen(
        {k: frozenset(v) for k, v in sets.items()}, {k: t for k, t in ttls.items() if sets.get(k)}, frozenset(txt)
    )


members = st.fixed_dictionaries({z: st.booleans() for z in ZONES}).filter(lambda inside: any(inside.values()))
values = st.sets(st.sampled_from(V4 + V6 + FOREIGN))


@settings(max_examples=1000, deadline=None)
@given(
    before=values, inside=members, ttl_s=st.sampled_from([30, 60]), txt=st.sets(st.sampled_from(["other", FENCE.text]))
)
def test_any_update_leaves_exactly_what_is_desired_and_what_is_foreign(
    before: set[str], inside: dict[str, bool], ttl_s: int, txt: set[str]
) -> None:
    old = seen(before, ttl_s, tuple(sorted(txt)))
    all_endpoints = frozenset(e for t in TARGETS for e in t.endpoints)
    desired = Desired(
        tuple(Member(z, int(inside[z]), ROUTE.target(z).values_for(all_endpoints) if inside[z] else ()) for z in ZONES)
    )
    fence = replace(FENCE, seq=10)
    change = translate(ROUTE, desired, observed_from(ROUTE, old), fence)
    new = carried_out(change, old)
    own = {v for t in TARGETS for vs in t.values.values() for v in vs}
    wanted = {v for m in desired.members for v in m.values}
    served = {v for vs in new.served.values() for v in vs}
    assert served == wanted | (before - own)
    assert new.fence is not None
    assert new.fence.epoch == 5
    assert {r.to_text() for r in new.txt} >= {'"other"'} & {f'"{t}"' for t in txt}
    again = translate(ROUTE, desired, observed_from(ROUTE, new), fence)
    assert again.nothing
    assert change.nothing == (served == before and ttl_s == 30 and FENCE.text in txt) or not before
    assert observed_from(ROUTE, new).weights == {z: int(inside[z]) for z in ZONES}


@given(before=values, txt=st.sets(st.sampled_from(["other", FENCE.text])))
def test_the_prerequisites_name_everything_that_was_read(before: set[str], txt: set[str]) -> None:
    old = seen(before, txt=tuple(txt))
    change = translate(
        ROUTE, Desired((Member("za", 1, (V4[0], V6[0])),)), observed_from(ROUTE, old), replace(FENCE, epoch=6)
    )
    required: dict[str, frozenset[dns.rdata.Rdata]] = {}
    for rrset in message(ORIGIN, change).prerequisite:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        required[kind] = required.get(kind, frozenset()) | frozenset(rrset)
        # An empty set must be absent: class NONE, no data (RFC 2136, 2.4.3).
        assert (rrset.rdclass == dns.rdataclass.NONE) == (not rrset)
    assert required == {**old.rrsets, "TXT": old.txt}


def test_the_last_address_of_a_family_stays() -> None:
    old = seen({V4[0], V6[0]})
    with pytest.raises(Refused, match="without any AAAA"):
        translate(ROUTE, Desired((Member("za", 1, (V4[1],)),)), observed_from(ROUTE, old), FENCE)


def test_a_cname_takes_one_name() -> None:
    route = replace(ROUTE, types=("CNAME",), targets=(Target("za", ("e1",), {"za": ("a.cdn.example",)}),))
    two = Desired((Member("za", 1, ("a.cdn.example",)), Member("zb", 1, ("b.cdn.example",))))
    with pytest.raises(Misconfigured, match="exactly one name"):
        translate(route, two, observed_from(route, Seen()), FENCE)


@pytest.mark.parametrize("fleet", ["acme", "a" * 300, "grün", 'quo"te'])
def test_a_fence_survives_its_record(fleet: str) -> None:
    fence = Fence(fleet, 2**40, 3, "0123456789abcdef")
    back = fence_of(dns.rdata.from_text("IN", "TXT", fence_rdata(fence).to_text()))
    assert back is not None
    assert (back.epoch, back.seq, back.plan) == (fence.epoch, fence.seq, fence.plan)
    assert back.fleet == fleet.encode("ascii", "backslashreplace").decode()


def test_two_fences_count_as_the_newer() -> None:
    both = seen(set(), txt=(FENCE.text, replace(FENCE, epoch=4, seq=99).text, "v=2 fleet=acme", "v=1 epoch=x"))
    assert both.fence == FENCE


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Server("192.0.2.53", 53)),
        ("192.0.2.53:5300", Server("192.0.2.53", 5300)),
        ("[2001:db8::53]:5300", Server("2001:db8::53", 5300)),
        ("[2001:db8::53]", Server("2001:db8::53", 53)),
        ("2001:db8::53", Server("2001:db8::53", 53)),
        ("ns1.example", Server("ns1.example", 53)),
        ("ns1.example:5300", Server("ns1.example", 5300)),
    ],
)
def test_servers_are_read(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize("text", ["", ":53", "ns1:", "ns1:dns", "ns1:65536", "[]:53"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST or HOST:PORT"):
        parse_server(text)


@given(st.sampled_from(["2001:DB8::1", "2001:db8:0:0::1", "A.Example.", "a.example", "192.0.2.1"]))
def test_values_have_one_spelling(value: str) -> None:
    assert canonical(canonical(value)) == canonical(value)
    assert canonical(value) in {"2001:db8::1", "a.example", "192.0.2.1"}
