"""One TCP connection, its stages timed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probes.address import Address, is_address
from probes.clock import StageClock
from probes.errors import host_errno
from probes.tls_context import CURRENT_CLOCK

__all__ = ["connected", "opened", "resolved"]


async def resolved(address: Address, clock: StageClock) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Where `address` leads: (family, socket address) pairs. Raises `socket.gaierror`, which is this host's fault."""
    named = not is_address(address.host)
    clock.name = address.host if named else None
    clock.connecting(named=named)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found]


@asynccontextmanager
async def connected(
    address: Address, clock: StageClock, context: ssl.SSLContext | None = None, server_name: str | None = None
) -> AsyncIterator[asyncio.StreamWriter]:
    """As `opened`, for a look that reads nothing."""
    async with opened(address, clock, context, server_name) as (_, writer):
        yield writer


@asynccontextmanager
async def opened(
    address: Address, clock: StageClock, context: ssl.SSLContext | None = None, server_name: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the first address that takes it; TLS with `context`. Closed without a farewell at the end.

    Raises `ssl.SSLError`, or the OSError of the last address that this host could try: one refused by the target says
    more than an IPv6 address that this host has no route to.
    """
    failed: OSError | None = None
    for _, (host, port) in await resolved(address, clock):
        clock.dialling()
        token = CURRENT_CLOCK.set(clock)
        try:
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=server_name if context is not None else None,
                # Small on purpose: nothing is read that a look has no use for.
                limit=4096,
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            if failed is None or host_errno(error) is None:
                failed = error
            continue
        finally:
            CURRENT_CLOCK.reset(token)
        clock.connected()
        try:
            yield reader, writer
        finally:
            # Abort rather than close: a peer that never answers the farewell must not hold the look.
            writer.transport.abort()
        return
    raise failed or socket.gaierror(socket.EAI_NONAME, "no address")
