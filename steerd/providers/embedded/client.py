"""The embedded provider: the zone, its sockets, its state file, and the contract over them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import dns.exception
import dns.message

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import Server, ask, parse_server, remaining_s
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Unreachable,
    Verified,
)
from steerd.providers.embedded import CAPABILITIES, KIND
from steerd.providers.embedded.answer import answer
from steerd.providers.embedded.server import DnsServer
from steerd.providers.embedded.state import Kept, load, save
from steerd.providers.embedded.translate import RecordSet, Write, check_route, observed_from, translate
from steerd.providers.embedded.zone import Apex, Zone
from steerd.providers.records import canonical, fence_name, needs_fence
from steerd.providers.settings import Settings

__all__ = ["Embedded"]

VERIFY_TIMEOUT_S = 1.0
"""One question to our own socket."""

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not bound to
"""Wildcard addresses -> where this host reaches them."""


class Embedded:
    """One zone on one port. `wall` tells Unix time (for the SOA serial), `rng` draws the answers."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(
        self, context: Context, rng: random.Random | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        settings = Settings(context.spec, KIND)
        self._name = canonical(settings.text("zone"))
        try:
            self._listen = parse_server(settings.text("listen"))
        except ValueError as error:
            raise settings.wrong("listen", str(error), "write HOST:PORT, for example 127.0.0.1:5353") from None
        self._zone = self._make_zone(settings, rng)
        state = settings.maybe_text("state")
        self._state = Path(state) if state else None
        self._wall = wall
        self._server = DnsServer(lambda wire, udp: answer(wire, self._zone, udp=udp))
        self._writing = asyncio.Lock()
        self._open = False
        routes = [r for s in context.fleet.services for r in s.routes if r.provider == context.spec.name]
        self._check_names(routes)
        self._zone.expect(canonical(r.name) for r in routes)

    def _make_zone(self, settings: Settings, rng: random.Random | None) -> Zone:
        ns = canonical(settings.maybe_text("ns") or f"ns.{self._name}")
        address = settings.maybe_text("ns_address") or self._listen.host
        if address in ANYWHERE or (not address[-1].isdigit() and ":" not in address):
            address = ""
        apex = Apex(
            zone=self._name,
            ns=ns,
            contact=settings.maybe_text("contact") or f"hostmaster@{self._name}",
            ttl_s=round(settings.number("ttl", 0, 604_800)),
            address=address or None,
        )
        # Answers are a load split, not a secret: what can be guessed about them is public anyway.
        chosen = rng if rng is not None else random.Random()  # noqa: S311
        try:
            return Zone(apex, int(settings.number("answers", 1, 64)), chosen)
        except (dns.exception.DNSException, ValueError) as error:
            raise settings.wrong(
                "zone", f"with ns {ns} and contact {apex.contact} makes no DNS zone: {error}"
            ) from None

    def _check_names(self, routes: list[Route]) -> None:
        seen: dict[str, str] = {}
        for route in routes:
            check_route(route, self._name)
            name = canonical(route.name)
            if other := seen.get(name):
                raise Misconfigured(
                    f"{other} and {route.key} are both written at {name}",
                    "one record has one route: `type: [A, AAAA]` writes two types together",
                )
            seen[name] = route.key

    @property
    def address(self) -> Server | None:
        """Where it listens while open; tells the port where the config said 0."""
        return self._server.address if self._open else None

    async def open(self) -> None:
        """Read the state file, then listen. Raises `Misconfigured`."""
        if self._state is not None:
            kept = await asyncio.to_thread(load, self._state)
            if kept is not None:
                self._restore(kept, self._state)
        try:
            await self._server.open(self._listen.host, self._listen.port)
        except OSError as error:
            raise Misconfigured(
                f"cannot listen on {self._listen}: {error.strerror or error}",
                "stop what holds the port, or set `listen`; ports below 1024 need CAP_NET_BIND_SERVICE",
            ) from None
        self._open = True

    def _restore(self, kept: Kept, path: Path) -> None:
        if kept.zone != self._name:
            raise Misconfigured(f"{path} holds zone {kept.zone}, not {self._name}", "give each zone a file of its own")
        self._zone.load(kept.records, kept.serial)

    async def close(self) -> None:
        """Stop serving; safe to call twice."""
        self._open = False
        await self._server.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The record set as it is being served."""
        self._ready(deadline)
        check_route(route, self._name)
        self._zone.expect([canonical(route.name)])
        return observed_from(route, self._zone.records.get(canonical(route.name)))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.embedded.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Keep the new record set in the state file, then serve it.

        Once begun it goes on whoever stops waiting: else a slow disk could keep another state than is served.
        """
        self._ready(deadline)
        writing = asyncio.ensure_future(self._write(change))
        writing.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # read here: nobody may wait any more
        return await asyncio.shield(writing)

    async def _write(self, change: Change) -> Receipt:
        write: Write = change.payload
        async with self._writing:
            standing = self._zone.records.get(write.new.name)
            if standing is not None and standing.fence.newer_than(change.fence):
                raise Conflict(f"{change.route}: {standing.fence.text!r} is newer than {change.fence.text!r}")
            if standing != write.old:
                raise Conflict(f"{change.route}: the record set was written since it was read")
            serial = max(self._zone.serial + 1, int(self._wall()))
            if self._state is not None:
                await asyncio.to_thread(save, self._state, self._kept(write.new, serial))
            self._zone.put(write.new, serial)
        return Receipt(change.route, f"serial {serial}")

    def _kept(self, new: RecordSet, serial: int) -> Kept:
        records = {**self._zone.records, new.name: new}
        return Kept(self._name, serial, tuple(records[n] for n in sorted(records)))

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """The served record set, and that both sockets answer with its fence."""
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence)
        wrong = []
        if not again.nothing:
            wrong.append(f"the record set is not as desired ({again.summary})")
        if observed.fence is not None and not needs_fence(observed.fence, change.fence):
            texts = await asyncio.gather(*(self._wrong_on(t, route, observed.fence, deadline) for t in ("udp", "tcp")))
            wrong += [t for t in texts if t]
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _wrong_on(
        self, transport: Literal["udp", "tcp"], route: Route, fence: Fence, deadline: float
    ) -> str | None:
        address = self._server.address
        assert address is not None, "an open server has an address"
        server = Server(ANYWHERE.get(address.host, address.host), address.port)
        query = dns.message.make_query(fence_name(canonical(route.name)), "TXT")
        try:
            response = await ask(query, server, transport, deadline, VERIFY_TIMEOUT_S)
        except ProviderError as error:
            return error.text
        served = "".join(
            b"".join(rdata.strings).decode("ascii", "replace") for rrset in response.answer for rdata in rrset
        )
        return None if Fence.parse(served) == fence else f"{server} over {transport.upper()} does not serve the fence"

    def _ready(self, deadline: float) -> None:
        if not self._open:
            raise Unreachable("the embedded DNS server is not running")
        remaining_s(deadline, 1.0)
