"""A real DNS client for the demo: asks steerd's own name server over UDP and counts the answers."""

from __future__ import annotations

import socket
import time
from collections import Counter

import dns.exception
import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype

__all__ = ["ask", "split"]

_ANSWER_WITHIN_S = 1.0


def ask(name: str, port: int, sock: socket.socket | None = None) -> str | None:
    """One A query; the first address of the answer, or None when there is none (yet)."""
    own = sock is None
    sock = sock if sock is not None else _open(port)
    try:
        query = dns.message.make_query(name, dns.rdatatype.A)
        query.flags &= ~dns.flags.RD
        sock.send(query.to_wire())
        until = time.monotonic() + _ANSWER_WITHIN_S
        while (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            answer = dns.message.from_wire(sock.recv(4096))
            if query.is_response(answer):
                found = answer.get_rrset(answer.answer, query.question[0].name, dns.rdataclass.IN, dns.rdatatype.A)
                return None if found is None else str(next(iter(found)))
    except (OSError, dns.exception.DNSException):
        return None  # refused, late or damaged: to the demo all of them mean "no answer"
    finally:
        if own:
            sock.close()
    return None


def split(name: str, port: int, count: int = 1000) -> Counter[str]:
    """Address -> how many of `count` answers named it; "no answer" for the rest."""
    with _open(port) as sock:
        return Counter(ask(name, port, sock) or "no answer" for _ in range(count))


def _open(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    return sock
