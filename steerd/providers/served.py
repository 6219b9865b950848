"""Asking a managed zone's name servers, over UDP and TCP, whether they answer with a batch.

Weighted answers are drawn at random, so they can only show that nothing else is served than should be. That a server has
this very batch is shown by the fence's TXT, which came with it.
"""

from __future__ import annotations

import asyncio

import dns.flags
import dns.rcode
import dns.rdatatype

from steerd.model.route import Route
from steerd.providers.asking import Server
from steerd.providers.authority import TRANSPORTS, Transport, answer, question
from steerd.providers.base import Change, ProviderError, Unreachable
from steerd.providers.batch import Batch, fence_in
from steerd.providers.records import canonical, fence_name

__all__ = ["behind"]


async def behind(servers: list[Server], route: Route, change: Change, deadline: float, timeout_s: float) -> list[str]:
    """What is not as `change` (its payload a `Batch`) wants it, one line per server and transport; empty when all is."""
    asked = (_one(s, t, route, change, deadline, timeout_s) for s in servers for t in TRANSPORTS)
    return [text for text in await asyncio.gather(*asked) if text]


async def _one(
    server: Server, transport: Transport, route: Route, change: Change, deadline: float, timeout_s: float
) -> str | None:
    batch: Batch = change.payload
    where = f"{server} over {transport.upper()}"
    try:
        fence = fence_in(await _values(server, fence_name(route.name), "TXT", transport, deadline, timeout_s))
        # Where nothing was to be written, the fence that stood there is the one to find.
        due = batch.seen if change.nothing else change.fence
        if due is not None and fence != due and not (fence and fence.newer_than(due)):
            return f"{where} has not this batch yet"
        for kind, served in batch.served.items():
            values = {canonical(v) for v in await _values(server, route.name, kind, transport, deadline, timeout_s)}
            if not values and (served is None or served):
                return f"{where} answers {route.name} {kind} with nothing"
            if served is not None and (strange := values - served):
                return f"{where} still serves {', '.join(sorted(strange))}"
    except ProviderError as error:
        return error.text
    return None


async def _values(
    server: Server, name: str, kind: str, transport: Transport, deadline: float, timeout_s: float
) -> list[str]:
    found = await answer(question(name, kind), server, transport, deadline, timeout_s)
    if found.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not found.flags & dns.flags.AA:
        word = "without authority" if found.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(found.rcode())
        raise Unreachable(f"{server} answers {name} {kind} {word}: is it a name server of the zone?")
    wanted = dns.rdatatype.from_text(kind)
    return [r.to_text() for rrset in found.answer if rrset.rdtype == wanted for r in rrset]
