"""The DNS protocol of the embedded server, on its pure `answer` function."""

from __future__ import annotations

import random
import struct
from collections import Counter

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.model.route import Fence, Member
from steerd.providers.embedded import answer as answer_module
from steerd.providers.embedded.answer import answer
from steerd.providers.embedded.translate import RecordSet
from steerd.providers.embedded.zone import Apex, Zone
from tests.support.dnsclient import texts

FENCE = Fence("acme", 3, 7, "abc")


def record(name: str, *members: Member, ttl_s: int = 30) -> RecordSet:
    return RecordSet(f"it/{name}", name, ttl_s, members, FENCE)


def make_zone(answers: int = 1, seed: int = 1) -> Zone:
    zone = Zone(
        Apex("acme.example", "ns.acme.example", "dns.ops@acme.example", 300, "127.0.0.1"), answers, random.Random(seed)
    )
    zone.put(
        record(
            "chat.acme.example",
            Member("za", 60, ("192.0.2.1", "2001:db8::1")),
            Member("zb", 30, ("192.0.2.2", "192.0.2.3")),
            Member("zc", 0, ("192.0.2.4",)),
            Member("zd", 10, ("192.0.2.5",)),
        ),
        10,
    )
    zone.put(record("deep.down.acme.example", Member("za", 1, ("192.0.2.9",))), 11)
    zone.put(record("alias.acme.example", Member("za", 3, ("a.cdn.example",)), Member("zb", 1, ("b.cdn.example",))), 12)
    many = tuple(Member(f"z{i}", i + 1, (f"198.51.100.{i}",)) for i in range(100))
    zone.put(record("many.acme.example", *many), 13)
    zone.expect(["pending.acme.example", "chat.acme.example", "x.soon.acme.example"])
    return zone


ZONE = make_zone()


def without_quick_way(zone: Zone) -> Zone:
    zone._ready = {}
    return zone


ZONES = {n: (make_zone(n), without_quick_way(make_zone(n))) for n in (1, 3, 64)}


def ask(query: dns.message.Message, zone: Zone = ZONE, *, udp: bool = True) -> dns.message.Message:
    response = answer(query.to_wire(), zone, udp=udp)
    assert response is not None
    made = dns.message.from_wire(response)
    assert made.id == query.id
    assert made.flags & dns.flags.QR
    assert not made.flags & dns.flags.RA
    return made


def query(
    name: str, kind: str = "A", rdclass: str = "IN", *, use_edns: int | None = None, payload: int | None = None
) -> dns.message.Message:
    return dns.message.make_query(name, kind, rdclass, use_edns=use_edns, payload=payload)


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "found", "authoritative"),
    [
        ("acme.example", "SOA", "NOERROR", ["ns.acme.example. dns\\.ops.acme.example. 13 3600 600 1209600 5"], True),
        ("acme.example", "NS", "NOERROR", ["ns.acme.example"], True),
        ("ns.acme.example", "A", "NOERROR", ["127.0.0.1"], True),
        ("CHAT.Acme.example", "AAAA", "NOERROR", ["2001:db8::1"], True),
        ("chat.acme.example", "TXT", "NOERROR", [], True),
        ("_steerd.chat.acme.example", "TXT", "NOERROR", [FENCE.text], True),
        ("deep.down.acme.example", "A", "NOERROR", ["192.0.2.9"], True),
        ("down.acme.example", "A", "NOERROR", [], True),
        ("nobody.acme.example", "A", "NXDOMAIN", [], True),
        ("nobody.acme.example", "ANY", "NXDOMAIN", [], True),
        ("pending.acme.example", "A", "SERVFAIL", [], False),
        ("soon.acme.example", "A", "SERVFAIL", [], False),
        ("acme.example", "A", "NOERROR", [], True),
        ("example", "A", "REFUSED", [], False),
        ("acme.example.net", "A", "REFUSED", [], False),
        (".", "NS", "REFUSED", [], False),
        ("acme.example", "AXFR", "REFUSED", [], False),
    ],
)
def test_each_kind_of_answer(name: str, kind: str, rcode: str, found: list[str], authoritative: bool) -> None:
    response = ask(query(name, kind))
    assert dns.rcode.to_text(response.rcode()) == rcode
    assert texts(response, kind) == found
    assert bool(response.flags & dns.flags.AA) == authoritative
    # A negative answer carries the SOA, whose TTL says how long it may be remembered (RFC 2308).
    negative = authoritative and not found
    assert [r.rdtype for r in response.authority] == ([dns.rdatatype.SOA] if negative else [])
    if negative:
        assert response.authority[0].ttl == 5


def test_before_anything_is_known_nothing_is_denied() -> None:
    zone = Zone(Apex("acme.example", "ns.acme.example", "h@acme.example", 300), 1, random.Random(1))
    assert ask(query("chat.acme.example"), zone).rcode() == dns.rcode.SERVFAIL
    assert ask(query("acme.example", "SOA"), zone).rcode() == dns.rcode.NOERROR
    zone.put(record("chat.acme.example", Member("za", 1, ("192.0.2.1",))), 2)
    assert ask(query("chat.acme.example"), zone).rcode() == dns.rcode.NOERROR
    assert ask(query("other.acme.example"), zone).rcode() == dns.rcode.NXDOMAIN


def test_any_gets_hinfo() -> None:
    response = ask(query("chat.acme.example", "ANY"))
    assert [r.rdtype for r in response.answer] == [dns.rdatatype.HINFO]


def test_other_classes_are_refused() -> None:
    assert ask(query("chat.acme.example", rdclass="CH")).rcode() == dns.rcode.REFUSED
    assert ask(query("version.bind", "TXT", "CH")).rcode() == dns.rcode.REFUSED


def test_a_cname_answers_every_type() -> None:
    for kind in ("A", "AAAA", "CNAME", "TXT"):
        response = ask(query("alias.acme.example", kind))
        assert texts(response, "CNAME") in (["a.cdn.example"], ["b.cdn.example"])
        assert len(response.answer) == 1


def test_ttl_and_question_come_back_as_they_are() -> None:
    question = query("ChAt.AcMe.ExAmPlE")
    response = ask(question)
    assert response.question[0].name.to_text() == "ChAt.AcMe.ExAmPlE."  # resolvers compare the case (0x20)
    assert response.answer[0].ttl == 30


def test_answers_follow_the_weights() -> None:
    zone = make_zone(seed=42)
    counted = Counter(texts(ask(query("chat.acme.example"), zone), "A")[0] for _ in range(4000))
    shares = {value: n / 4000 for value, n in counted.items()}
    # 4000 draws: five standard deviations of a share of 0.6 are 0.039. A member shares its weight among its values.
    wanted = {"192.0.2.1": 0.6, "192.0.2.2": 0.15, "192.0.2.3": 0.15, "192.0.2.5": 0.1}
    assert shares.keys() == wanted.keys()
    assert all(abs(shares[v] - w) < 0.04 for v, w in wanted.items()), shares


def test_several_answers_are_distinct_and_the_first_follows_the_weights() -> None:
    zone = make_zone(answers=3, seed=7)
    first: Counter[str] = Counter()
    for _ in range(1500):
        rrset = ask(query("chat.acme.example"), zone).answer[0]
        assert len(rrset) == 3
        first[next(iter(rrset)).to_text()] += 1
    assert abs(first["192.0.2.1"] / 1500 - 0.6) < 0.065


def test_more_answers_than_values_gives_all() -> None:
    assert len(ask(query("chat.acme.example"), make_zone(answers=50)).answer[0]) == 4


@pytest.mark.parametrize(
    ("edns", "payload", "limit"), [(-1, 0, 512), (0, 512, 512), (0, 1000, 1000), (0, 65535, 1232), (0, 0, 512)]
)
def test_what_does_not_fit_is_truncated_over_udp_and_whole_over_tcp(edns: int, payload: int, limit: int) -> None:
    zone = make_zone(answers=64)
    question = (
        query("many.acme.example", use_edns=edns, payload=payload)
        if edns >= 0
        else query("many.acme.example", use_edns=-1)
    )
    wire = answer(question.to_wire(), zone, udp=True)
    assert wire is not None
    assert len(wire) <= limit
    # 64 addresses take 16 bytes each.
    assert bool(dns.message.from_wire(wire).flags & dns.flags.TC) == (limit < 1100)
    whole = ask(question, zone, udp=False)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 64


def test_edns_is_answered_only_where_asked() -> None:
    assert ask(query("chat.acme.example", use_edns=0)).edns == 0
    assert ask(query("chat.acme.example", use_edns=0)).payload == 1232
    assert ask(query("chat.acme.example", use_edns=-1)).edns == -1
    assert ask(query("chat.acme.example", use_edns=1)).rcode() == dns.rcode.BADVERS


def test_what_is_no_query() -> None:
    question = query("chat.acme.example")
    question.flags |= dns.flags.QR
    assert answer(question.to_wire(), ZONE, udp=True) is None
    assert answer(b"", ZONE, udp=True) is None
    assert answer(b"\0" * 11, ZONE, udp=True) is None
    update = dns.update.UpdateMessage("acme.example")
    update.add("x", 5, "A", "192.0.2.1")
    assert ask(update).rcode() == dns.rcode.NOTIMP
    two = query("chat.acme.example")
    two.question.append(two.question[0])
    assert ask(two).rcode() == dns.rcode.FORMERR
    none = answer(struct.pack("!HHHHHH", 77, 0, 0, 0, 0, 0), ZONE, udp=True)
    assert none is not None
    assert dns.message.from_wire(none).rcode() == dns.rcode.FORMERR


def test_a_signed_query_is_told_that_the_key_is_unknown() -> None:
    question = query("chat.acme.example")
    question.use_tsig({dns.name.from_text("k"): b"secret"})
    wire = answer(question.to_wire(), ZONE, udp=True)
    assert wire is not None
    assert wire[3] & 0x0F == dns.rcode.NOTAUTH


names = st.sampled_from(
    [
        "chat.acme.example",
        "CHAT.acme.example",
        "alias.acme.example",
        "many.acme.example",
        "nobody.acme.example",
        "acme.example",
        "pending.acme.example",
        "x.example",
    ]
)
kinds = st.sampled_from(["A", "AAAA", "CNAME", "TXT", "SOA", "ANY"])


@given(
    name=names,
    kind=kinds,
    edns=st.booleans(),
    payload=st.integers(0, 65535),
    cookie=st.booleans(),
    udp=st.booleans(),
    seed=st.integers(0, 9),
)
def test_the_quick_way_gives_what_the_long_way_gives(
    name: str, kind: str, edns: bool, payload: int, cookie: bool, udp: bool, seed: int
) -> None:
    options: list[dns.edns.Option] = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")] if cookie else []
    question = dns.message.make_query(
        name, kind, use_edns=0 if edns else -1, payload=payload, options=options if edns else None
    )
    wire = question.to_wire()
    for answers in (1, 3, 64):
        quick_zone, long_zone = ZONES[answers]
        quick_zone.rng.seed(seed)
        quick = answer_module._quick(wire, quick_zone, udp=udp)
        if quick is None:
            continue
        long_zone.rng.seed(seed)
        long = answer(wire, long_zone, udp=udp)
        assert long is not None
        one, other = dns.message.from_wire(quick), dns.message.from_wire(long)
        assert one.to_text() == other.to_text()


def test_the_usual_question_goes_the_quick_way() -> None:
    for use_edns in (-1, 0):
        assert answer_module._quick(query("chat.acme.example", use_edns=use_edns).to_wire(), ZONE, udp=True)


@given(st.binary(max_size=600), st.booleans())
def test_random_bytes_never_raise(wire: bytes, udp: bool) -> None:
    response = answer(wire, ZONE, udp=udp)
    if response is not None:
        assert response[:2] == wire[:2]
        assert response[2] & 0x80
        dns.message.from_wire(response)


@given(
    name=names,
    kind=kinds,
    edits=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 80),
    tail=st.binary(max_size=20),
)
def test_damaged_queries_never_raise(name: str, kind: str, edits: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    wire = bytearray(query(name, kind, use_edns=0).to_wire())
    for at, value in edits:
        if at < len(wire):
            wire[at] = value
    damaged = bytes(wire[: len(wire) - cut % 30]) + tail
    response = answer(damaged, ZONE, udp=True)
    if response is not None:
        assert len(response) <= 1232
        assert response[2] & 0x80
        dns.message.from_wire(response, ignore_trailing=True)
