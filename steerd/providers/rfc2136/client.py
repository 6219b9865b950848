"""The I/O of the rfc2136 provider: reading over TCP, updating over TCP, asking every authoritative server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.NS
import dns.rrset
import dns.tsig
import dns.tsigkeyring

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers import authority
from steerd.providers.asking import Server, addresses, ask, parse_server, remaining_s
from steerd.providers.authority import TRANSPORTS, Transport, question, servers_of
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Unreachable,
    Untold,
    Verified,
)
from steerd.providers.records import as_desired, fence_name, needs_fence
from steerd.providers.rfc2136 import CAPABILITIES, KIND
from steerd.providers.rfc2136.translate import (
    TYPES,
    Rdatas,
    Seen,
    check_route,
    idle_message,
    message,
    observed_from,
    translate,
)
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["Rfc2136"]

TRIES = 3
"""Of an update that asks for rights only, where the set changes between our reading and it."""

MOVED_ON = {
    dns.rcode.NXRRSET: "a record set is gone or has other values than were read",
    dns.rcode.YXRRSET: "a record set appeared that was not there when read",
    dns.rcode.NXDOMAIN: "the name is gone",
    dns.rcode.YXDOMAIN: "the name appeared",
}


class Rfc2136:
    """One primary and one zone on it.

    Updates always go over TCP: they outgrow a datagram with a few addresses and a signature, a datagram repeated by the
    network could be carried out twice, and a completed handshake tells an unreachable server from a lost answer.
    """

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._context = context
        self._zone = _zone(settings)
        self._server = _server(settings, "server", settings.text("server"))
        self._verify = tuple(_server(settings, "verify", text) for text in settings.strings("verify"))
        self._timeout_s = settings.number("timeout", 0.01, 60)
        self._key = settings.maybe_text("key")
        self._algorithm = settings.text("algorithm")
        self._secret = settings.secret("secret")
        if (self._key is None) != (self._secret is None):
            raise settings.wrong("key", "`key` and `secret` come together", "set both, or neither for unsigned updates")

    async def open(self) -> None:
        """Nothing to start: every exchange has its own connection. Checks that the key's secret can be read."""
        self._keyring()

    async def close(self) -> None:
        """Nothing is held open."""

    async def read(self, route: Route, deadline: float) -> Observed:
        """The record sets and the fence as the primary itself has them (over TCP, signed where a key is set)."""
        check_route(route, self._zone)
        return observed_from(route, await self._see(self._server, route, deadline, "tcp", signed=True))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.rfc2136.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """One atomic update message; the server refuses it whole when the prerequisites no longer hold."""
        check_stale(change, change.payload.seen.fence)
        update = message(self._zone, change)
        self._sign(update)
        answer = await ask(update, self._server, "tcp", deadline, self._timeout_s)
        if answer.rcode() != dns.rcode.NOERROR:
            raise self._refusal(change.route, answer.rcode())
        return Receipt(change.route, f"{self._server} took the update ({change.summary})")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By updates that change nothing, one per record set: each deletes a record that is not there, on condition that the set
        still is what was read. A server looks at rights before it looks whether there is anything to do."""
        found: list[str] = []
        for route in routes:
            for name, kind in [*((route.name, k) for k in route.types), (fence_name(route.name), "TXT")]:
                rcode = await self._tried(name, kind, deadline)
                if rcode in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
                    found.append(f"update of {name} {kind} ({dns.rcode.to_text(rcode)})")
                elif rcode not in (dns.rcode.NOERROR, *MOVED_ON):
                    raise self._refusal(route.key, rcode)
                elif rcode != dns.rcode.NOERROR:
                    found.append(Untold(f"{self._server} answers {dns.rcode.to_text(rcode)} to a try at {name} {kind}"))
        return found

    async def _tried(self, name: str, kind: str, deadline: float) -> dns.rcode.Rcode:
        """What the server says to an update of one set that changes nothing. Tried again where somebody wrote in between."""
        for attempt in range(TRIES):
            standing = _rdatas(await self._rrset(self._server, name, kind, deadline, "tcp", signed=True))
            update = idle_message(self._zone, name, kind, standing)
            self._sign(update)
            try:
                rcode = (await ask(update, self._server, "tcp", deadline, self._timeout_s)).rcode()
            except Misconfigured:
                # The key was good for reading a moment ago: to one that its ACL does not let in here Knot says BADKEY.
                return dns.rcode.NOTAUTH
            if rcode not in MOVED_ON or attempt == TRIES - 1:
                break
        return rcode

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Every authoritative server over UDP and TCP; the primary's own answer is what is returned as observed."""
        observed = await self.read(route, deadline)
        servers, notes = await self._authoritative(deadline)
        found = await asyncio.gather(
            *(self._differs(s, t, route, change, deadline) for s in servers for t in TRANSPORTS)
        )
        behind = [text for text in found if text]
        if needs_fence(observed.fence, change.fence) or (
            not change.nothing and change.fence.newer_than(observed.fence)
        ):
            behind.insert(0, f"the fence on {self._server} is not ours")
        return Verified(in_sync=not behind, observed=observed, text="; ".join(behind + notes))

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _see(self, server: Server, route: Route, deadline: float, transport: Transport, *, signed: bool) -> Seen:
        # Types the route does not write are looked at too, where they exclude each other (RFC 1034, 3.6.2).
        kinds = TYPES if "CNAME" in route.types else (*route.types, "CNAME")
        sets = [await self._rrset(server, route.name, k, deadline, transport, signed=signed) for k in kinds]
        found = dict(zip(kinds, sets, strict=True))
        clash = [k for k in kinds if found[k] and k not in route.types]
        if clash:
            raise Misconfigured(
                f"{route.key}: {route.name} holds {clash[0]} records on {server}, which exclude type"
                f" {', '.join(route.types)}",
                "delete them or change the route's type: steerd does not replace records of others",
            )
        txt = await self._rrset(server, fence_name(route.name), "TXT", deadline, transport, signed=signed)
        return Seen(
            rrsets={k: _rdatas(found[k]) for k in route.types},
            ttls={k: rrset.ttl for k in route.types if (rrset := found[k])},
            txt=_rdatas(txt),
        )

    async def _rrset(
        self, server: Server, name: str, kind: str, deadline: float, transport: Transport, *, signed: bool
    ) -> dns.rrset.RRset | None:
        query = question(name, kind)
        if signed:
            self._sign(query)
        answer = await authority.answer(query, server, transport, deadline, self._timeout_s)
        rcode = answer.rcode()
        if rcode == dns.rcode.REFUSED:
            raise Misconfigured(
                f"{server} refuses to answer {name} {kind}: it does not hold zone {self._zone}, or not for this host",
                "compare the zone's name with the server's, and let this host in (allow-query)",
            )
        if rcode == dns.rcode.NOTAUTH or (
            rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and not answer.flags & dns.flags.AA
        ):
            raise Misconfigured(
                f"{server} is not authoritative for {self._zone}",
                "point `server` at the primary of the zone, and compare the zone's name",
            )
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Unreachable(f"{server} answers {dns.rcode.to_text(rcode)} for {name} {kind}")
        owner = dns.name.from_text(name)
        return next((r for r in answer.answer if r.name == owner and r.rdtype == dns.rdatatype.from_text(kind)), None)

    # -- verifying -------------------------------------------------------------------------------------------------

    async def _differs(
        self, server: Server, transport: Transport, route: Route, change: Change, deadline: float
    ) -> str | None:
        """What is wrong with one server's answer, or None."""
        signed = server == self._server
        try:
            seen = await self._see(server, route, deadline, transport, signed=signed)
        except ProviderError as error:
            return error.text
        if as_desired(route, change.desired, seen.served, seen.ttls):
            return None
        served = sorted(v for values in seen.served.values() for v in values)
        return f"{server} over {transport.upper()} still serves {', '.join(served) or 'nothing'}"

    async def _authoritative(self, deadline: float) -> tuple[list[Server], list[str]]:
        """The servers to ask, the primary first, and remarks on those that cannot be asked."""
        if self._verify:
            return list(dict.fromkeys((self._server, *self._verify))), []
        apex = await self._rrset(self._server, self._zone.to_text(), "NS", deadline, "tcp", signed=True)
        own = await addresses(self._server.host, self._server.port, remaining_s(deadline, self._timeout_s))
        targets = [r.target.to_text() for r in apex or () if isinstance(r, dns.rdtypes.ANY.NS.NS)]

        async def in_zone(target: str) -> list[str] | None:
            if not dns.name.from_text(target).is_subdomain(self._zone):
                return None
            sets = [await self._rrset(self._server, target, k, deadline, "tcp", signed=True) for k in ("A", "AAAA")]
            return [r.to_text() for rrset in sets for r in rrset or ()]

        servers, notes = await servers_of(targets, in_zone, deadline, self._timeout_s)
        # The primary listed among the NS is asked once, on the port it was configured with.
        return list(dict.fromkeys((self._server, *(s for s in servers if s.host not in own)))), notes

    # -- signing and refusals --------------------------------------------------------------------------------------

    def _keyring(self) -> dict[dns.name.Name, dns.tsig.Key] | None:
        if self._key is None or self._secret is None:
            return None
        try:
            text = self._context.resolve(self._secret).strip()
        except Exception as error:
            raise Misconfigured(
                f"TSIG key {self._key}: {error}", "put the secret there: it is read anew at every use"
            ) from error
        try:
            key = dns.tsig.Key(self._key, text, self._algorithm)
        except ValueError:
            raise Misconfigured(
                f"the secret of TSIG key {self._key} is not base64", "copy the `secret` of the server's key clause"
            ) from None
        return {key.name: key}

    def _sign(self, query: dns.message.Message) -> None:
        # The secret is read at every use, so that a rotated one is taken up without a restart.
        if keyring := self._keyring():
            query.use_tsig(keyring, algorithm=self._algorithm)

    def _refusal(self, route: str, rcode: dns.rcode.Rcode) -> ProviderError:
        word = dns.rcode.to_text(rcode)
        if rcode in MOVED_ON:
            return Conflict(
                f"{route}: {MOVED_ON[rcode]} ({word}): somebody else wrote in between",
                "nothing, unless it stays so: then a wildcard of the zone answers for this name, and the record must be"
                " added once by hand",
            )
        if rcode in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
            return Misconfigured(
                f"{self._server} takes no updates for {self._zone} ({word})",
                "point `server` at the zone's primary, and compare the zone's name and the key",
            )
        if rcode == dns.rcode.REFUSED:
            return Refused(
                f"{self._server} refuses updates of {self._zone}",
                f"let the zone take them: allow-update {{ key {self._key or 'NAME'}; }}; or an update-policy that"
                f" grants the record and {fence_name('NAME')} TXT",
            )
        if rcode == dns.rcode.SERVFAIL:
            return Unreachable(f"{self._server} answers {word}: see its log (disk full, journal not writable, frozen?)")
        return Refused(
            f"{self._server} answers {word} to the update",
            "point `server` at the zone's primary, and see that it takes dynamic updates (RFC 2136)",
        )


def _zone(settings: Settings) -> dns.name.Name:
    try:
        return dns.name.from_text(settings.text("zone"))
    except dns.exception.DNSException as error:
        raise settings.wrong("zone", f"is no DNS name: {error}") from None


def _server(settings: Settings, key: str, text: str) -> Server:
    try:
        return parse_server(text)
    except ValueError as error:
        raise settings.wrong(key, str(error), "write HOST:PORT, for example 192.0.2.53:53") from None


def _rdatas(rrset: dns.rrset.RRset | None) -> Rdatas:
    return frozenset(rrset or ())
