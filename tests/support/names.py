"""A DNS server on loopback that answers as told, and servers on one port of several addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from probes.wire.resolver import Resolver

__all__ = ["Names", "Site", "names_served"]


class Names(asyncio.DatagramProtocol):
    """Answers A questions from `records` (name -> TTL, addresses); silent while `mute`, SERVFAIL while `broken`."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.asked: list[str] = []
        self.mute = self.broken = False
        self.silent: set[str] = set()
        self.failing: set[str] = set()
        self.drops_aaaa = False
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, where: Any) -> None:
        question = dns.message.from_wire(data)
        name, kind = question.question[0].name.to_text(), question.question[0].rdtype
        if kind == 1:
            self.asked.append(name)
        if self.mute or name.rstrip(".") in self.silent or (self.drops_aaaa and kind == 28):
            return
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.RA
        found = self.records.get(name.rstrip("."))
        if self.broken or name.rstrip(".") in self.failing:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif kind == 1:
            reply.answer.append(dns.rrset.from_text(name, found[0], "IN", "A", *found[1]))
        self._transport.sendto(reply.to_wire(), where)


@asynccontextmanager
async def names_served() -> AsyncIterator[Names]:
    """The running loop's looks resolve their names at `Names`."""
    loop = asyncio.get_running_loop()
    transport, found = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    upstream = dns.asyncresolver.Resolver(configure=False)
    upstream.nameservers = ["127.0.0.1"]
    upstream.port = transport.get_extra_info("sockname")[1]
    Resolver.of(loop).use(upstream)
    yield found
    transport.close()


class Site:
    """A server on one port of several addresses; `hosts` is what it was asked for as."""

    def __init__(self) -> None:
        self.hosts: list[tuple[str, str]] = []
        self.servers: dict[str, asyncio.Server] = {}
        self.port = 0

    async def open(self, *addresses: str) -> None:
        for address in addresses:
            server = await asyncio.start_server(self._answer, address, self.port)
            self.port = server.sockets[0].getsockname()[1]
            self.servers[address] = server

    async def close(self) -> None:
        for server in self.servers.values():
            server.close()
            await server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            host = next(line for line in head.split(b"\r\n") if line.startswith(b"Host: "))[6:]
            self.hosts.append((writer.get_extra_info("sockname")[0], host.decode()))
            last = b"Connection: close" in head
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            if last:
                break
        writer.close()
