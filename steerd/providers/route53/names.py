"""The addresses of Route 53's own name servers."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from steerd.providers.asking import Server, addresses, remaining_s
from steerd.providers.base import ProviderError

__all__ = ["servers_of"]


async def servers_of(names: tuple[str, ...], deadline: float, timeout_s: float) -> tuple[list[Server], list[str]]:
    """One address of each name server, and remarks on those that have none. IPv4 where there is one."""
    resolved = await asyncio.gather(*(_resolved(n, deadline, timeout_s) for n in names))
    return [s for s in resolved if isinstance(s, Server)], [s for s in resolved if isinstance(s, str)]


async def _resolved(name: str, deadline: float, timeout_s: float) -> Server | str:
    try:
        known = await addresses(name, 53, remaining_s(deadline, timeout_s))
    except ProviderError as error:
        return f"name server {name} was not asked: {error.text}"
    return Server(min(known, key=lambda a: ip_address(a).version))
