"""One DNS message in, one out (or none). A total function: it raises on no input, whatever the bytes are.

RFC 1035 (messages), 2308 (negative answers), 6891 (EDNS), 8020 (empty non-terminals), 8482 (ANY).
"""

from __future__ import annotations

import struct
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from steerd.providers.embedded.zone import Node, Zone

__all__ = ["UDP_LIMIT", "answer"]

UDP_LIMIT = 1232
"""Bytes of a UDP answer at most, whatever the client offers: what passes unfragmented (DNS flag day 2020)."""

HEADER = 12
MINIMUM_UDP = 512

NONE, ONE = b"\0\0", b"\0\1"
ONE_QUESTION = b"\0\1\0\0\0\0"
CLASS_IN = b"\0\1"
OPT = b"\0\0\x29"
OPT_ANSWER = OPT + struct.pack("!HLH", UDP_LIMIT, 0, 0)

TRANSFERS: Final = (dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.MAILA, dns.rdatatype.MAILB)


def answer(wire: bytes, zone: Zone, *, udp: bool) -> bytes | None:
    """The response to `wire`; None when the only right answer is silence (a response, or less than a header)."""
    if len(wire) < HEADER:
        return None
    ident, flags = struct.unpack("!HH", wire[:4])
    if flags & dns.flags.QR:
        return None  # two servers answering each other's answers would never stop
    if dns.opcode.from_flags(flags) != dns.opcode.QUERY:
        return _header(ident, flags, dns.rcode.NOTIMP)
    if quick := _quick(wire, zone, udp=udp):
        return quick
    try:
        query = dns.message.from_wire(wire, ignore_trailing=True)
    except dns.message.UnknownTSIGKey:
        return _header(ident, flags, dns.rcode.NOTAUTH)
    except (dns.exception.DNSException, ValueError, struct.error):
        return _header(ident, flags, dns.rcode.FORMERR)
    if len(query.question) != 1:
        return _header(ident, flags, dns.rcode.FORMERR)
    response = dns.message.make_response(query, our_payload=UDP_LIMIT)
    if query.edns > 0:
        response.set_rcode(dns.rcode.BADVERS)
    else:
        _fill(response, query.question[0], zone)
    limit = min(max(MINIMUM_UDP, query.payload if query.edns >= 0 else 0), UDP_LIMIT) if udp else 65535
    # The order drawn is the order sent: the first address is the one most clients take.
    return response.to_wire(max_size=limit, prefer_truncation=True, want_shuffle=False)


def _quick(wire: bytes, zone: Zone, *, udp: bool) -> bytes | None:
    """The answer to a plain question for weighted values, without building messages: nearly all questions are that.

    None for everything else, which goes the long way. Both ways give the same answer (a test compares them).
    """
    if wire[2] & 0xFE or wire[3] & 0x4F or wire[4:10] != ONE_QUESTION or wire[10:12] not in (NONE, ONE):
        return None  # only RD, RA, AD and CD may be set
    end = wire.find(b"\0", HEADER)
    question = wire[HEADER : end + 5]
    if end < 0 or len(question) < 6 or question[-2:] != CLASS_IN:
        return None
    choice = zone.ready(question[:-4].lower(), int.from_bytes(question[-4:-2]))
    if choice is None:
        return None
    rest, opt, limit = wire[end + 5 :], b"", MINIMUM_UDP
    if wire[10:12] == ONE:
        if len(rest) < 11 or rest[:3] != OPT or rest[5:7] != NONE or len(rest) != 11 + int.from_bytes(rest[9:11]):
            return None
        opt, limit = OPT_ANSWER, max(MINIMUM_UDP, int.from_bytes(rest[3:5]))
    elif rest:
        return None
    records = choice.pick_wires(zone.answers, zone.rng)
    counts = struct.pack("!HHHH", 1, len(records), 0, 1 if opt else 0)
    made = b"".join((wire[:2], bytes((0x84 | (wire[2] & 0x01), 0)), counts, question, *records, opt))
    return made if len(made) <= (min(limit, UDP_LIMIT) if udp else 65535) else None


def _header(ident: int, flags: int, rcode: dns.rcode.Rcode) -> bytes:
    """A bare header: enough where the question cannot be trusted. Opcode and RD come back as they were."""
    return struct.pack("!HHHHHH", ident, dns.flags.QR | (flags & 0x7900) | int(rcode), 0, 0, 0, 0)


def _fill(response: dns.message.Message, question: dns.rrset.RRset, zone: Zone) -> None:
    name, kind = question.name, question.rdtype
    if question.rdclass != dns.rdataclass.IN or not name.is_subdomain(zone.origin) or kind in TRANSFERS:
        response.set_rcode(dns.rcode.REFUSED)
        return
    node = zone.node(name)
    if zone.pending(name) and (node is None or not (node.weighted or kind in node.fixed)):
        response.set_rcode(dns.rcode.SERVFAIL)
        return
    response.flags |= dns.flags.AA
    if node is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif found := _records(node, name, kind, zone):
        response.answer.append(found)
        return
    response.authority.append(zone.negative_soa)


def _records(node: Node, name: dns.name.Name, kind: dns.rdatatype.RdataType, zone: Zone) -> dns.rrset.RRset | None:
    if kind == dns.rdatatype.ANY:
        # RFC 8482, section 4.2: a small fixed answer, so that ANY is no use for amplification.
        return dns.rrset.from_text(name, 3789, "IN", "HINFO", '"RFC8482" ""') if node.fixed or node.weighted else None
    if fixed := node.fixed.get(kind):
        return fixed
    choice = node.weighted.get(dns.rdatatype.CNAME) or node.weighted.get(kind)
    return choice.pick(zone.answers, zone.rng) if choice else None
