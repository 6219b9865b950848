"""One DNS question to one server, errors told as the contract's. Used to read, to update and to verify."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

import dns.asyncquery
import dns.exception
import dns.message
import dns.query
import dns.tsig

from steerd.providers.base import Misconfigured, ProviderError, Unreachable

__all__ = ["EDNS_PAYLOAD", "Server", "addresses", "ask", "parse_server", "remaining_s"]

EDNS_PAYLOAD = 1232
"""Bytes of a UDP answer that pass unfragmented (DNS flag day 2020)."""


@dataclass(frozen=True, slots=True)
class Server:
    """A name server: `host` is an address or a name, resolved at each use."""

    host: str
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_server(text: str, default_port: int = 53) -> Server:
    """`host`, `host:port`, `[v6]:port` or a bare IPv6 address. Raises ValueError."""
    try:
        return Server(str(ip_address(text.strip("[]"))), default_port)
    except ValueError:
        host, colon, port = text.rpartition(":")
        if not colon:
            host, port = text, str(default_port)
    if not port.isdigit() or not 0 <= int(port) < 65536 or not host.strip("[]"):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return Server(host.strip("[]"), int(port))


def remaining_s(deadline: float, limit_s: float) -> float:
    """Seconds one call may take: `limit_s`, or what is left until `deadline`. Raises `Unreachable` when nothing is."""
    left = min(limit_s, deadline - asyncio.get_running_loop().time())
    if left <= 0:
        raise Unreachable("the deadline had passed before the call was made: nothing was sent")
    return left


async def addresses(host: str, port: int, timeout_s: float) -> list[str]:
    """The addresses `host` stands for, by the system's resolver. Raises `Unreachable`."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        raise Unreachable(f"{host} does not resolve: {_words(error)}") from None
    return sorted({str(entry[4][0]) for entry in found})


async def ask(
    query: dns.message.Message, server: Server, transport: Literal["udp", "tcp"], deadline: float, timeout_s: float
) -> dns.message.Message:
    """The answer of `server`. Raises `Unreachable`, or `Misconfigured` when it does not accept our key.

    A truncated UDP answer is returned as it is (flag TC).
    """
    left = remaining_s(deadline, timeout_s)
    started = asyncio.get_running_loop().time()
    host = (await addresses(server.host, server.port, left))[0]
    left = remaining_s(deadline, timeout_s - (asyncio.get_running_loop().time() - started))
    send = dns.asyncquery.tcp if transport == "tcp" else dns.asyncquery.udp
    try:
        # dnspython bounds each step; the whole exchange is bounded here too.
        async with asyncio.timeout(left):
            return await send(query, host, timeout=left, port=server.port)
    except (dns.exception.Timeout, TimeoutError):
        raise Unreachable(f"{server} did not answer over {transport.upper()} within {left:.1f} s") from None
    except (OSError, EOFError) as error:
        raise Unreachable(f"{server} over {transport.upper()}: {_words(error)}") from None
    except dns.exception.DNSException as error:
        raise _told(error, query, server) from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _told(error: dns.exception.DNSException, query: dns.message.Message, server: Server) -> ProviderError:
    key = query.keyname
    if isinstance(error, dns.tsig.PeerBadKey):
        return Misconfigured(
            f"{server} does not know the TSIG key {key}",
            "compare `key` and `algorithm` with the key clause of the server, which must list it in allow-update",
        )
    if isinstance(error, (dns.tsig.PeerBadSignature, dns.tsig.PeerBadTruncation)):
        return Misconfigured(
            f"{server} rejects our signature by the TSIG key {key}",
            "the secret or the algorithm differs from the server's: compare both, and that the secret is whole base64",
        )
    if isinstance(error, dns.tsig.PeerBadTime):
        return Misconfigured(
            f"{server} says our clock differs from its own by more than the 5 minutes TSIG allows",
            "run NTP on both hosts",
        )
    return Unreachable(f"{server} sent an answer we cannot trust: {type(error).__name__}: {error}")
