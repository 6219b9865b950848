"""The I/O of the powerdns provider: the HTTP API, and questions to every authoritative server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
import dns.rcode
import msgspec

from steerd.model.kinds import Kind
from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import authority, records
from steerd.providers.asking import Server, parse_server, remaining_s
from steerd.providers.authority import TRANSPORTS, Transport, question, servers_of
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Throttled,
    Unreachable,
    Verified,
)
from steerd.providers.powerdns import KIND, capabilities_for
from steerd.providers.powerdns.translate import (
    Patch,
    Seen,
    absolute,
    check_route,
    fence_of,
    observed_from,
    read_rrsets,
    served,
    translate,
)
from steerd.providers.records import canonical, fence_name, own_values, wanted_values
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["PowerDNS"]

ANSWER_BYTES = 16 * 1024 * 1024
"""The longest answer read: versions before 4.6 answer with the whole zone."""

SEARCH_MOST = 1000
"""Records a search may give: those of one name, and others that mention it."""

ON = ("yes", "shared", "true", "1")


class PowerDNS:
    """One zone on one API. The key is read at every call, so that a rotated one is taken up."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self.capabilities = capabilities_for(context.spec.settings)
        self._weighted = not self.capabilities.membership
        self._context = context
        self._base = settings.text("url").rstrip("/")
        self._zone = canonical(settings.text("zone"))
        self._server_path = f"/api/v1/servers/{quote(settings.text('server_id'), safe='')}"
        self._zone_path = f"{self._server_path}/zones/{quote(absolute(self._zone), safe='')}"
        self._timeout_s = settings.number("timeout", 0.01, 60)
        self._ca = settings.maybe_text("ca")
        try:
            self._verify = tuple(parse_server(text) for text in settings.strings("verify"))
        except ValueError as error:
            raise settings.wrong("verify", str(error), "write HOST:PORT, for example 192.0.2.53:53") from None
        self._key = settings.secret("api_key")
        if self._key is None:
            raise settings.wrong("api_key", "is required", "write `api_key: {file: PATH}` or `{env: NAME}`")
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Checks that the key and the certificates can be read; the connection is made by the first call."""
        self._secret()
        self._tls()

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The record sets and the fence as the API has them."""
        check_route(route, self._zone)
        seen, _ = await self._see(route.name, deadline)
        if self._weighted and "LUA" not in seen.rrsets:
            await self._can_lua(deadline)
        return observed_from(route, seen, weighted=self._weighted)

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.powerdns.translate`."""
        return translate(route, desired, observed, fence, weighted=self._weighted)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, write in one transaction, then drop what the server has cached and tell the secondaries."""
        patch: Patch = change.payload
        name = patch.rrsets[-1]["name"].removeprefix(f"{records.FENCE_LABEL}.")
        seen, primary = await self._see(name, deadline)
        check_stale(change, seen.fence)
        if seen != patch.seen:
            raise Conflict(f"{change.route}: the records of {name} have changed since they were read")
        await self._call("PATCH", self._zone_path, deadline, body={"rrsets": list(patch.rrsets)})
        notes = []
        flush = [f"{self._server_path}/cache/flush?domain={quote(n, safe='')}" for n in (name, f"_steerd.{name}")]
        for path in (*flush, *([f"{self._zone_path}/notify"] if primary else [])):
            try:
                await self._call("PUT", path, deadline)
            except ProviderError as error:
                notes.append(error.text)  # the write stands: caches end by themselves, secondaries ask by themselves
        return Receipt(change.route, "; ".join([f"zone {self._zone} was written", *notes]))

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """There is one API key, which may do everything that the API does; old versions can make all of it read-only."""
        del routes
        config = await self._call("GET", f"{self._server_path}/config", deadline)
        rows = {str(r.get("name")): str(r.get("value")) for r in config or () if isinstance(r, dict)}
        return ["writing by the API (`api-readonly` of pdns.conf is on)"] if rows.get("api-readonly") in ON else []

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """The API's own view, then every authoritative server over UDP and TCP."""
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence, weighted=self._weighted)
        wrong = [] if again.nothing else [f"the records are not as desired ({again.summary})"]
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        servers, notes = await self._authoritative(deadline)
        found = await asyncio.gather(
            *(self._differs(s, t, route, change.desired, observed, deadline) for s in servers for t in TRANSPORTS)
        )
        wrong += [text for text in found if text]
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong + notes))

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _see(self, name: str, deadline: float) -> tuple[Seen, bool]:
        """What stands at a name and at its fence, and whether the zone has secondaries to notify."""
        place = fence_name(canonical(name))
        there, mark, disabled = await asyncio.gather(
            self._zone_at(name, deadline), self._zone_at(place, deadline), self._disabled(name, deadline)
        )
        try:
            rrsets = read_rrsets([*there["rrsets"], *disabled], name)
            txt = read_rrsets(mark["rrsets"], place).get("TXT")
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"{self._base} does not speak PowerDNS's API: {error!r}", "compare `url`") from None
        return Seen(rrsets, txt), str(there.get("kind", "")).lower() in ("master", "primary", "producer")

    async def _zone_at(self, name: str, deadline: float) -> Mapping[str, Any]:
        found = await self._call("GET", f"{self._zone_path}?rrset_name={quote(absolute(name), safe='')}", deadline)
        if not isinstance(found, dict):
            raise Refused(f"{self._base} does not speak PowerDNS's API", "compare `url`")
        return found

    async def _disabled(self, name: str, deadline: float) -> list[Mapping[str, Any]]:
        """Records that are switched off: a read by name leaves them out, and a write of the set would delete them."""
        query = f"q={quote(canonical(name), safe='')}&object_type=record&max={SEARCH_MOST}"
        try:
            found = await self._call("GET", f"{self._server_path}/search-data?{query}", deadline)
        except (Refused, Misconfigured):
            return []  # a backend that cannot search: most have no disabled records either
        return [
            {"name": row["name"], "type": row["type"], "ttl": row["ttl"], "records": [row]}
            for row in (found if isinstance(found, list) else ())
            if row.get("disabled") and canonical(str(row.get("zone", ""))) == self._zone
        ]

    async def _can_lua(self, deadline: float) -> None:
        """Raises `Misconfigured` where the server would answer a LUA record with nothing: asked before the first is written."""
        config = await self._call("GET", f"{self._server_path}/config", deadline)
        rows = {str(r.get("name")): r.get("value") for r in config or () if isinstance(r, dict)}
        if str(rows.get("enable-lua-records", "")).lower() in ON:
            return
        # Version 4.7 refuses to tell this kind by its name, but lists it.
        kinds = await self._call("GET", f"{self._zone_path}/metadata", deadline)
        if not any(str(v) == "1" for k in kinds or () if k.get("kind") == "ENABLE-LUA-RECORDS" for v in k["metadata"]):
            raise Misconfigured(
                f"{self._base} does not answer from LUA records: nothing is written that would serve nobody",
                "set `enable-lua-records=yes` in pdns.conf (or the zone's metadata ENABLE-LUA-RECORDS to 1), or `lua: false`",
            )

    # -- verifying -------------------------------------------------------------------------------------------------

    async def _authoritative(self, deadline: float) -> tuple[list[Server], list[str]]:
        if self._verify:
            return list(dict.fromkeys(self._verify)), []
        apex = read_rrsets((await self._zone_at(self._zone, deadline))["rrsets"], self._zone)

        async def in_zone(target: str) -> list[str] | None:
            name = canonical(target)
            if name != self._zone and not name.endswith(f".{self._zone}"):
                return None
            rrsets = read_rrsets((await self._zone_at(name, deadline))["rrsets"], name)
            return [v for t in ("A", "AAAA") if t in rrsets for v in rrsets[t].live]

        return await servers_of(apex["NS"].live if "NS" in apex else (), in_zone, deadline, self._timeout_s)

    async def _differs(
        self, server: Server, transport: Transport, route: Route, desired: Desired, observed: Observed, deadline: float
    ) -> str | None:
        """What is wrong with one server's answers, or None."""
        seen: Seen = observed.token
        own = own_values(route, desired)
        try:
            wanted = self._wanted(route, desired)
            for kind in [t for t in route.types if wanted[t]]:
                answered = await self._values(server, transport, route.name, kind, deadline)
                allowed = wanted[kind] | (served(seen)[kind] - own)
                fits = answered <= allowed if self._weighted else answered & own == wanted[kind]
                if not answered or not fits:
                    told = ", ".join(sorted(answered)) or "nothing"
                    return f"{server} over {transport.upper()} answers {kind} with {told}"
            texts = await self._values(server, transport, fence_name(canonical(route.name)), "TXT", deadline)
        except ProviderError as error:
            return error.text
        if observed.fence not in map(fence_of, texts):
            return f"{server} over {transport.upper()} still serves an older fence"
        return None

    def _wanted(self, route: Route, desired: Desired) -> Mapping[str, frozenset[str]]:
        if not self._weighted or route.types != ("CNAME",):
            return wanted_values(route, desired)
        return {"CNAME": frozenset(canonical(v) for m in desired.members if m.weight > 0 for v in m.values)}

    async def _values(
        self, server: Server, transport: Transport, name: str, kind: str, deadline: float
    ) -> frozenset[str]:
        found = await authority.answer(question(name, kind), server, transport, deadline, self._timeout_s)
        if found.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Unreachable(f"{server} answers {dns.rcode.to_text(found.rcode())} for {name} {kind}")
        texts = [r.to_text() for rrset in found.answer for r in rrset if dns.rdatatype.to_text(rrset.rdtype) == kind]
        return frozenset(texts if kind == "TXT" else map(canonical, texts))

    # -- the API ---------------------------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, deadline: float, body: Any = None) -> Any:
        """One call: the decoded answer, None for an empty one. Raises a `ProviderError`."""
        left = remaining_s(deadline, self._timeout_s)
        headers = {"X-API-Key": self._secret(), "Accept": "application/json"}
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls() or True), auto_decompress=False
            )
        try:
            async with (
                asyncio.timeout(left),
                self._session.request(
                    method, f"{self._base}{path}", json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                data = await _bounded(answer)
                self._check(answer, data)
        except TimeoutError:
            raise Unreachable(f"{self._base} did not answer within {left:.1f} s") from None
        except aiohttp.ClientError as error:
            raise Unreachable(
                f"{self._base}: {str(error) or type(error).__name__}", "is PowerDNS's API running?"
            ) from None
        try:
            return msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            raise Refused(f"{self._base} does not speak PowerDNS's API", "compare `url`") from None

    def _check(self, answer: aiohttp.ClientResponse, data: bytes) -> None:
        """Raises what a status means (PowerDNS: HTTP API, "Errors")."""
        if answer.status < 300:
            return
        text = _error_text(data)
        where = f"{self._base} answers {answer.status}{f': {text}' if text else ''}"
        if answer.status in (401, 403):
            raise Misconfigured(
                where, "compare `api_key` with pdns.conf's `api-key`, and let this host in: `webserver-allow-from`"
            )
        if answer.status == 404:
            raise Misconfigured(
                f"{where}: no zone {self._zone}", "compare `zone`, `server_id` and `url`; is `api=yes` set?"
            )
        if answer.status == 409:
            raise Conflict(where)
        if answer.status == 429:
            after = answer.headers.get("Retry-After", "")
            raise Throttled(
                where, "something in front of the API limits calls", float(after) if after.isdigit() else None
            )
        if answer.status >= 500:
            raise Unreachable(where, "see PowerDNS's log")
        raise Refused(where)

    def _secret(self) -> str:
        assert self._key is not None, "the constructor checked it"
        try:
            return self._context.resolve(self._key).strip()
        except Exception as error:
            raise Misconfigured(
                f"the API key: {error}", "put the secret there: it is read anew at every use"
            ) from error

    def _tls(self) -> ssl.SSLContext | None:
        if self._ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=self._ca)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"{self._ca} holds no certificates: {error}", "name a PEM file in `ca`") from None


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        data += chunk
        if len(data) > ANSWER_BYTES:
            raise Refused(
                f"{answer.url.origin()} answers with more than {ANSWER_BYTES} bytes", "PowerDNS 4.6 filters by name"
            )
    return bytes(data)


def _error_text(data: bytes) -> str:
    try:
        told = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data[:200].decode("utf-8", "replace").strip()
    return str(told.get("error", ""))[:300] if isinstance(told, dict) else ""
