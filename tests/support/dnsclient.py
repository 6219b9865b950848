"""Small DNS questions for tests, synchronous, each with its own timeout."""

from __future__ import annotations

from typing import Literal

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

__all__ = ["ask", "texts", "values"]


def ask(
    host: str,
    port: int,
    name: str,
    kind: str,
    transport: Literal["udp", "tcp"] = "udp",
    *,
    edns: bool = True,
    payload: int = 1232,
    timeout_s: float = 2.0,
) -> dns.message.Message:
    """The whole answer, as it is (a truncated UDP answer too)."""
    query = dns.message.make_query(name, kind, use_edns=0 if edns else False, payload=payload)
    query.flags &= ~dns.flags.RD
    send = dns.query.udp if transport == "udp" else dns.query.tcp
    return send(query, host, timeout=timeout_s, port=port)


def values(host: str, port: int, name: str, kind: str = "A", transport: Literal["udp", "tcp"] = "udp") -> list[str]:
    """Sorted values of one type; TXT without quotes, names without the last dot. Raises on an error rcode."""
    answer = ask(host, port, name, kind, transport)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise AssertionError(f"{name} {kind}: {dns.rcode.to_text(answer.rcode())}")
    return texts(answer, kind)


def texts(answer: dns.message.Message, kind: str) -> list[str]:
    """The values of one type in an answer, sorted."""
    wanted = dns.rdatatype.from_text(kind)
    found = [r.to_text() for rrset in answer.answer if rrset.rdtype == wanted for r in rrset]
    return sorted(t.replace('" "', "").strip('"') if kind == "TXT" else t.rstrip(".") for t in found)
