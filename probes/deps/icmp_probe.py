"""`icmp`: one echo request. By the unprivileged socket where the system allows it, else by a raw one."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from probes.address import is_address
from probes.clock import StageClock
from probes.deps.base import DependencyProbe
from probes.errors import MisconfiguredError
from probes.outcome import Layer, Outcome
from probes.settings import Resolve, text
from probes.target import Target

__all__ = ["IcmpProbe", "build", "checksum"]

_ADVICE: Final = (
    "this agent may not send ICMP: add its group to the sysctl net.ipv4.ping_group_range (the unprivileged socket),"
    " or give it CAP_NET_RAW; or use `tcp`"
)
_ECHO = {socket.AF_INET: (8, 0, socket.IPPROTO_ICMP), socket.AF_INET6: (128, 129, socket.IPPROTO_ICMPV6)}
"""Family -> type of the request, of the reply, and the protocol (RFC 792, RFC 4443)."""


class IcmpProbe(DependencyProbe):
    """See the module's text. Readings: `round_trip_s`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._host = text(settings, "host")

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:  # noqa: ARG002 - has no secrets
        host = self._host or target.address or _host(target.url)
        loop = asyncio.get_running_loop()
        clock.connecting(named=not is_address(host))
        family, _, _, _, where = (await loop.getaddrinfo(host, 0, type=socket.SOCK_DGRAM))[0]
        request, reply, protocol = _ECHO[socket.AddressFamily(family)]
        link, raw = _socket(socket.AddressFamily(family), protocol)
        with link:
            link.setblocking(False)
            clock.connected()
            link.connect(where)  # sends nothing: it only says where to
            mark = secrets.token_bytes(16)
            number = secrets.randbelow(0x10000)
            # The kernel fills the identifier of an unprivileged socket, and the checksum of ICMPv6.
            packet = _packet(request, os.getpid() & 0xFFFF, number, mark)
            clock.sent()
            began = clock.elapsed_s
            await loop.sock_sendall(link, packet)
            while True:
                answer = await loop.sock_recv(link, 2048)
                if raw and family == socket.AF_INET:
                    answer = answer[(answer[0] & 0x0F) * 4 :] if answer else b""
                # A raw socket hears the echoes of others, and of this request itself on loopback.
                if len(answer) >= 24 and answer[0] == reply and answer[8:24] == mark:
                    break
            clock.first_byte()
        return self._passed(clock, {"round_trip_s": clock.elapsed_s - began})


def _host(url: str) -> str:
    host = url.partition("://")[2].partition("/")[0] or url
    host = host.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host = host if host.count(":") > 1 else host.partition(":")[0]
    if not host:
        raise MisconfiguredError("no host is named: set `host` of this check")
    return host


def _socket(family: socket.AddressFamily, protocol: int) -> tuple[socket.socket, bool]:
    """The socket, and whether it is a raw one. Raises `MisconfiguredError` when neither is allowed."""
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol), False
    except PermissionError:
        pass
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol), True
    except PermissionError:
        raise MisconfiguredError(_ADVICE) from None


def _packet(kind: int, identifier: int, number: int, mark: bytes) -> bytes:
    head = struct.pack("!BBHHH", kind, 0, 0, identifier, number)
    return struct.pack("!BBHHH", kind, 0, checksum(head + mark), identifier, number) + mark


def checksum(data: bytes) -> int:
    """Of RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> IcmpProbe:
    """See `probes.registry.make`."""
    return IcmpProbe(layer, settings, resolve)
