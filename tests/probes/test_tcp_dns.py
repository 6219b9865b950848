"""`tcp`, and `dns` against small servers that answer as told."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from probes.address import Address
from probes.clock import StageClock
from probes.deps.base import reach
from probes.outcome import Status
from tests.support.looking import Look

Serve = Callable[..., Awaitable[int]]
Reply = Callable[[dns.message.Message], bytes | None]


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def test_tcp_passes_where_somebody_listens(look: Look, serve: Serve) -> None:
    port = await serve(_hold)
    for url, settings in (
        (f"tcp://127.0.0.1:{port}", {}),
        (f"http://localhost:{port}/path", {}),
        (f"127.0.0.1:{port}", {}),
        ("", {"host": "127.0.0.1", "port": port}),
        ("http://127.0.0.1:1", {"port": port}),
        ("http://127.0.0.1:1", {"url": f"tcp://127.0.0.1:{port}"}),
    ):
        outcome = await look("tcp", url, settings)
        assert outcome.status is Status.PASS, (url, settings, outcome)
        assert outcome.stages.connect_s is not None
        assert (outcome.stages.dns_s is not None) == ("localhost" in url)


async def test_tcp_refused_and_slow(look: Look, serve: Serve) -> None:
    outcome = await look("tcp", "tcp://127.0.0.1:1")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
    port = await serve(_hold)
    assert (await look("tcp", f"tcp://127.0.0.1:{port}", {"slow": 1e-9})).status is Status.SLOW


async def test_a_refusal_counts_more_than_an_address_this_host_has_no_route_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a dependency's clients connect: to whichever address takes it."""

    async def two_addresses(*_: object, **__: object) -> list[object]:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*tcp, ("127.0.0.1", 1)), (*tcp, ("127.0.0.2", 1))]

    async def dial(host: str, *_: object, **__: object) -> None:
        number = errno.ECONNREFUSED if host == "127.0.0.1" else errno.ENETUNREACH
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    monkeypatch.setattr(asyncio, "open_connection", dial)
    with pytest.raises(ConnectionRefusedError):
        await reach(Address("both.example", "both.example", 1), StageClock())


@pytest.mark.parametrize(("url", "needle"), [("tcp://127.0.0.1", "port"), ("", "host"), ("tcp://h:99999", "99999")])
async def test_tcp_without_an_address_says_what_to_write(look: Look, url: str, needle: str) -> None:
    outcome = await look("tcp", url)
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)
    assert needle in (outcome.detail or "")
    assert needle in (outcome.reason or "")  # what alerts show


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self.reply(dns.message.from_wire(data))
        if answer is not None:
            self.transport.sendto(answer, addr)


@pytest.fixture
async def dns_server(serve: Serve) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """`url = await dns_server(udp_reply, tcp_reply)`: both on one port."""
    transports: list[Any] = []

    async def start(reply: Reply, over_tcp: Reply | None = None) -> str:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            answer = (over_tcp or reply)(dns.message.from_wire(await reader.readexactly(size)))
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
                await reader.read(1)

        port = await serve(handler)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(reply), local_addr=("127.0.0.1", port))
        transports.append(transport)
        return f"dns://127.0.0.1:{port}"

    yield start
    for transport in transports:
        transport.close()


def says(*values: str, code: dns.rcode.Rcode = dns.rcode.NOERROR, truncated: bool = False) -> Reply:
    def reply(query: dns.message.Message) -> bytes:
        answer = dns.message.make_response(query)
        answer.set_rcode(code)
        if values:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 30, "IN", "A", *values))
        if truncated:
            answer.flags |= dns.flags.TC
        return answer.to_wire()

    return reply


CHAT = {"name": "chat.example.test"}


async def test_dns_answers_pass(look: Look, dns_server: Callable[..., Awaitable[str]]) -> None:
    url = await dns_server(says("192.0.2.1", "192.0.2.2"))
    outcome = await look("dns", url, CHAT)
    assert (outcome.status, dict(outcome.readings)) == (Status.PASS, {"answers": 2.0, "ttl_s": 30.0})
    assert (await look("dns", url, {**CHAT, "transport": "tcp"})).status is Status.PASS
    assert (await look("dns", url, {**CHAT, "expect": ["192.0.2.9", "192.0.2.2"]})).status is Status.PASS
    assert (await look("dns", url, {**CHAT, "slow": 1e-9})).status is Status.SLOW


async def test_dns_falls_back_to_tcp_when_truncated(look: Look, dns_server: Callable[..., Awaitable[str]]) -> None:
    url = await dns_server(says(truncated=True), says("192.0.2.1"))
    assert (await look("dns", url, CHAT)).status is Status.PASS


@pytest.mark.parametrize(
    ("reply", "settings", "reason"),
    [
        (says(code=dns.rcode.NXDOMAIN), {}, "DNS NXDOMAIN"),
        (says(code=dns.rcode.SERVFAIL), {}, "DNS SERVFAIL"),
        (says(code=dns.rcode.REFUSED), {}, "DNS REFUSED"),
        (says(), {}, "no answer records"),
        (says("192.0.2.1"), {"type": "AAAA"}, "no answer records"),
        (says("192.0.2.1"), {"expect": "192.0.2.9"}, "other answers than expected"),
        (lambda query: struct.pack("!H", query.id) + b"\xff" * 40, {}, "malformed answer"),
        (lambda query: struct.pack("!H", query.id), {}, "malformed answer"),
    ],
)
async def test_dns_wrong_answers_fail(
    look: Look, dns_server: Callable[..., Awaitable[str]], reply: Reply, settings: dict[str, Any], reason: str
) -> None:
    outcome = await look("dns", await dns_server(reply), {**CHAT, **settings}, within_s=1.0)
    assert (outcome.status, outcome.reason, outcome.host_error) == (Status.FAIL, reason, False)


async def test_dns_silence_is_transport(look: Look, dns_server: Callable[..., Awaitable[str]]) -> None:
    url = await dns_server(lambda _: None)
    for transport in ("udp", "tcp"):
        outcome = await look("dns", url, {**CHAT, "transport": transport}, within_s=0.3)
        assert (outcome.status, outcome.transport) == (Status.FAIL, True)


async def test_dns_refused_over_tcp(look: Look) -> None:
    outcome = await look("dns", "dns://127.0.0.1:1", {**CHAT, "transport": "tcp"})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
