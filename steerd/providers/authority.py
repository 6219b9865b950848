"""The authoritative servers of a zone, and one question to each of them: what every DNS provider verifies by.

A write counts once every server of the zone answers with it, over UDP and over TCP: clients use both, and a firewall or a full
listener may break one only.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import dns.flags
import dns.message

from steerd.providers.asking import EDNS_PAYLOAD, Server, addresses, ask, remaining_s
from steerd.providers.base import ProviderError, Unreachable

__all__ = ["TRANSPORTS", "Lookup", "Transport", "answer", "question", "servers_of"]

Transport = Literal["udp", "tcp"]

TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp")

UDP_TRIES = 3
"""A lost datagram must not look like a server out of sync."""

Lookup = Callable[[str], Awaitable[list[str] | None]]
"""Addresses of a name server as the zone itself has them; None for a name outside of the zone."""


def question(name: str, kind: str) -> dns.message.Message:
    """A query as a resolver would send it to an authoritative server."""
    query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_PAYLOAD)
    query.flags &= ~dns.flags.RD
    return query


async def answer(
    query: dns.message.Message, server: Server, transport: Transport, deadline: float, timeout_s: float
) -> dns.message.Message:
    """The whole answer of one server: UDP is tried `UDP_TRIES` times, and TCP where it comes truncated."""
    if transport == "tcp":
        return await ask(query, server, "tcp", deadline, timeout_s)
    for attempt in range(UDP_TRIES):
        try:
            found = await ask(query, server, "udp", deadline, timeout_s / UDP_TRIES)
        except Unreachable:
            if attempt == UDP_TRIES - 1:
                raise
            continue
        if found.flags & dns.flags.TC:
            return await ask(query, server, "tcp", deadline, timeout_s)  # as every resolver would
        return found
    raise AssertionError("the loop above returns or raises")


async def servers_of(
    targets: Iterable[str], lookup: Lookup, deadline: float, timeout_s: float
) -> tuple[list[Server], list[str]]:
    """The servers behind the names of NS records, and remarks on those that cannot be asked from here."""
    servers: list[Server] = []
    notes: list[str] = []
    for target in sorted(targets):
        try:
            found = await lookup(target)
            if found is None:
                found = await addresses(target, 53, remaining_s(deadline, timeout_s))
            usable = [a for a in found if await _has_way_to(a)]
            if not usable:
                raise Unreachable(f"{target} has no address that can be reached from here")
        except ProviderError as error:
            notes.append(f"name server {target} was not asked: {error.text}")
            continue
        servers += [Server(a) for a in usable]
    return list(dict.fromkeys(servers)), notes


async def _has_way_to(address: str) -> bool:
    """False when this host has no route for the address's family (an IPv4-only host and a server's AAAA)."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(address, 53))
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH):
            return False
        raise Unreachable(f"{address}: {error}") from None
    transport.close()
    return True
