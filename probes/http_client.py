"""HTTP connections for looks: kept alive or fresh, to a given address, timed stage by stage."""

from __future__ import annotations

import asyncio
import importlib.metadata
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from yarl import URL

from probes.address import is_address
from probes.addresses import TURN
from probes.clock import StageClock
from probes.errors import MisconfiguredError
from probes.target import Target
from probes.tls_context import CURRENT_CLOCK, TlsSettings, tls_context
from probes.wire.resolver import Resolver

__all__ = ["USER_AGENT", "HttpClient", "Request", "join", "read_bounded"]


def _version() -> str:
    try:
        return importlib.metadata.version("steerd")
    except importlib.metadata.PackageNotFoundError:
        return "0"  # run from a bare copy of the sources


USER_AGENT = f"steerd-probe/{_version()}"
"""Of every HTTP look, so that servers can tell looks from traffic."""

KEEP_ALIVE_S = 75.0
"""How long an idle connection is kept: longer than the usual interval, so that the frequent looks find one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `body` is sent as it is."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class HttpClient:
    """Two pools for one probe: one that keeps connections, one that never does. Redirects, cookies, proxies from the
    environment and decompression are off: each would look at something other than the target, or grow without bound.
    """

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    @asynccontextmanager
    async def send(
        self, request: Request, target: Target, clock: StageClock, *, fresh: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response, its head read. The body is the caller's to read; what is left of it closes the connection.

        Raises aiohttp's errors and `MisconfiguredError`. Deadlines are the caller's.
        """
        url, headers = request.url, {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        server_name = self._tls.server_name
        if target.address is not None and url.host is not None:
            # Connect to this address, while server name, Host and the certificate's name stay those of the URL.
            server_name = server_name or url.host
            headers.setdefault("Host", url.authority if url.explicit_port else url.host)
            url = url.with_host(target.address)
        secure = url.scheme == "https"
        named = not is_address(url.host or "")
        clock.name = url.host if named else None
        token = CURRENT_CLOCK.set(clock)
        try:
            response = await self._session(fresh=fresh).request(
                request.method,
                url,
                headers=headers,
                data=request.body,
                allow_redirects=False,
                ssl=tls_context(self._tls) if secure else True,
                server_hostname=server_name if secure else None,
                trace_request_ctx=_Look(clock, named=named),
            )
        except _OnceError as once:
            raise once.error from once.error.__cause__
        finally:
            CURRENT_CLOCK.reset(token)
        try:
            yield response
        finally:
            # Gives the connection back when the body was read to its end, and closes it when not.
            response.release()

    async def close(self) -> None:
        """Close both pools; safe to call twice."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(fresh)
        if session is None:
            if fresh:
                connector = aiohttp.TCPConnector(
                    limit=0, force_close=True, resolver=_Names(), use_dns_cache=False, socket_factory=_dial
                )
            else:
                connector = aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=KEEP_ALIVE_S,
                    resolver=_Names(),
                    use_dns_cache=False,
                    socket_factory=_dial,
                )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                auto_decompress=False,
                trace_configs=[_tracing()],
                middlewares=(_once,),
                skip_auto_headers=("Accept-Encoding",),
            )
            self._sessions[fresh] = session
        return session


def join(base: str, path: str) -> URL:
    """The URL of `path` under an endpoint's base URL. A base that ends in /v1 and a path that begins with it overlap.

    Raises `MisconfiguredError` when `base` is not an http or https URL.
    """
    try:
        root = URL(base)
    except ValueError as error:
        raise MisconfiguredError(f"{base!r} is not a URL: {error}") from error
    if root.scheme not in ("http", "https") or not root.host:
        raise MisconfiguredError(f"{base!r} is not an http:// or https:// URL")
    if not path:
        return root
    prefix = root.raw_path.rstrip("/")
    if prefix.endswith("/v1") and path.startswith("/v1/"):
        prefix = prefix.removesuffix("/v1")
    relative, _, query = path.partition("?")
    found = root.with_path(prefix + "/" + relative.lstrip("/"), encoded="%" in relative)
    # Parsed rather than set: what is quoted already stays so.
    return URL(f"{found}?{query.replace('#', '%23')}") if query else found


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the body, and whether that was all of it. Memory stays near `limit`."""
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        # One byte more than allowed tells a body that just fits from one that goes on.
        part = await response.content.read(min(limit + 1 - size, 65536))
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
    response.close()
    return b"".join(parts)[:limit], False


class _Names(AbstractResolver):
    """The looks' own resolver (TTLs respected): the address whose turn it is, or all where any will do."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See aiohttp. Raises `socket.gaierror`."""
        found = await Resolver.of(asyncio.get_running_loop()).resolve(host)
        if family is not socket.AF_UNSPEC:
            found = tuple(one for one in found if _family(one) is family) or found
        turn = TURN.get()
        if turn is not None:
            found = (turn.pick(host, found),)
        return [
            ResolveResult(hostname=host, host=one, port=port, family=_family(one), proto=0, flags=socket.AI_NUMERICHOST)
            for one in found
        ]

    async def close(self) -> None:
        """The resolver is the loop's."""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class _OnceError(Exception):
    """Carries a connection's error past aiohttp, which would otherwise try again by itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """One look is one request: a silent second attempt would hide every other failure of a flaky endpoint."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _OnceError(error) from error


@dataclass(frozen=True, slots=True)
class _Look:
    clock: StageClock
    named: bool


def _dial(info: AddrInfoType) -> socket.socket:
    """Marks the end of name resolution. aiohttp's own marks miss the looks that wait for another look's resolution,
    and a timeout in there must not pass for a connect timeout of the target.
    """
    clock = CURRENT_CLOCK.get()
    if clock is not None:
        clock.dialling()
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


def _look(context: SimpleNamespace) -> _Look:
    look = context.trace_request_ctx
    assert isinstance(look, _Look)
    return look


def _tracing() -> aiohttp.TraceConfig:
    """The marks of aiohttp, written to the look's clock."""
    config = aiohttp.TraceConfig()

    async def connecting(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        look = _look(context)
        look.clock.connecting(named=look.named)

    async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        _look(context).clock.connected()

    async def reusing(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        _look(context).clock.reusing()

    async def sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        _look(context).clock.sent()

    async def answered(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        _look(context).clock.first_byte()

    config.on_connection_create_start.append(connecting)
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(reusing)
    config.on_request_headers_sent.append(sent)
    config.on_request_chunk_sent.append(sent)
    config.on_request_end.append(answered)
    return config
