"""The sockets of the embedded server: UDP and TCP on one port, with bounded connections and idle time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, cast

from steerd.providers.asking import Server

__all__ = ["DnsServer"]

MAX_CONNECTIONS = 128
"""Open TCP connections; more are closed as they arrive."""

IDLE_S = 10.0
"""Seconds a TCP client may take for one query, or to take one answer (RFC 7766 asks for a few seconds at least)."""

BIND_TRIES = 20

Respond = Callable[[bytes, bool], bytes | None]
"""(query, is it UDP) -> response."""


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's datagram transport is a subclass of asyncio's (selector loop before 3.12, uvloop).
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        response = self._respond(data, True)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)

    def error_received(self, exc: Exception) -> None:
        """ICMP errors of clients that have gone: nothing to do, the next datagram stands on its own."""


class DnsServer:
    """Listens until closed. `address` tells the port when 0 was asked for."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self.address: Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Bind both. Raises OSError. With port 0 one port that is free for both is looked for."""
        for attempt in range(BIND_TRIES):
            tcp = await asyncio.start_server(self._client, host, port, limit=65537)
            bound = int(tcp.sockets[0].getsockname()[1])
            try:
                self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Udp(self._respond), local_addr=(host, bound)
                )
            except OSError:
                tcp.close()
                await tcp.wait_closed()
                if port or attempt == BIND_TRIES - 1:
                    raise
                continue
            self._tcp, self.address = tcp, Server(host, bound)
            return

    async def close(self) -> None:
        """Stop listening and drop the clients; safe to call twice."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
            for task in self._clients:
                task.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await self._tcp.wait_closed()
            self._tcp = None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) <= MAX_CONNECTIONS:
                await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            writer.transport.abort()  # gone or dawdling: what is still buffered for it is dropped
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_S):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                query = await reader.readexactly(length)
            response = self._respond(query, False)
            if response is None:
                return
            writer.write(struct.pack("!H", len(response)) + response)
            async with asyncio.timeout(IDLE_S):
                await writer.drain()
