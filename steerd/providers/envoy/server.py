"""The discovery service: answers Envoy's polls (REST-JSON, `POST /v3/discovery:endpoints`), and knows what each Envoy has.

A poll without news waits a moment for some, so that a change reaches Envoy at once and not one `refresh_delay` later. An Envoy
never gets an older version than it has, whichever coordinator it asks; one that asks for a cluster nobody has written yet gets an
error, which makes it keep what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import ssl
from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web

from steerd.providers.asking import Server
from steerd.providers.base import Misconfigured
from steerd.providers.envoy.translate import TYPE_URL, Held, response, version_of

__all__ = ["Discovery", "newer"]

log = logging.getLogger(__name__)

PATH = "/v3/discovery:endpoints"
BODY_BYTES = 256 * 1024
"""A DiscoveryRequest tells of Envoy's build and extensions; some 40 KiB."""
ALIVE_S = 15.0
"""An Envoy that has not asked for so long is not waited for."""
ENVOYS_MOST = 10_000
NAMES_MOST = 1000
CLOSE_WITHIN_S = 0.5


class Node(msgspec.Struct):
    id: str = ""


class Request(msgspec.Struct):
    """The fields of a DiscoveryRequest that matter here; both spellings that protobuf's JSON allows."""

    version_info: str = ""
    resource_names: list[str] = []
    type_url: str = TYPE_URL
    node: Node = msgspec.field(default_factory=Node)


def newer(version: str, than: str) -> bool:
    """True when `version` is of a later epoch, or later in the same one. What is no version is never newer."""
    try:
        one, other = (tuple(int(n) for n in v.split(".")) for v in (version, than))
    except ValueError:
        return False
    return len(one) == len(other) == 2 and one > other


class Discovery:
    """Serves what was `put`. `clock` tells seconds."""

    def __init__(self, hold_s: float, clock: Callable[[], float]) -> None:
        self._hold_s, self._clock = hold_s, clock
        self._held: dict[str, Held] = {}
        self._changed = asyncio.Event()
        self._closing = False
        self._runner: web.AppRunner | None = None
        self._envoys: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, name: str) -> Held | None:
        """What is served for cluster `name`."""
        return self._held.get(name)

    def put(self, name: str, held: Held) -> None:
        """Serve it from now on; polls that wait are answered."""
        self._held[name] = held
        self._wake()

    def behind(self, name: str) -> list[str]:
        """Envoys that asked lately and have not taken what is served, each with what it has."""
        held = self._held.get(name)
        wanted = version_of(held) if held else ""
        now, found = self._clock(), []
        for (node, cluster), (version, at) in sorted(self._envoys.items()):
            if cluster != name or version == wanted or now - at > ALIVE_S:
                continue
            if newer(version, wanted):
                found.append(
                    f"Envoy {node} has {version} of {name}, newer than {wanted}: another coordinator serves it, or the store was"
                    " reset, and then this Envoy needs a restart"
                )
            else:
                found.append(f"Envoy {node} still has {version or 'nothing'} of {name}, not {wanted}")
        return found

    def asked(self, name: str) -> int:
        """How many Envoys asked for it lately."""
        now = self._clock()
        return sum(1 for (_, cluster), (_, at) in self._envoys.items() if cluster == name and now - at <= ALIVE_S)

    async def open(self, listen: Server, tls: ssl.SSLContext | None) -> None:
        """Raises `Misconfigured` when the port is taken."""
        if tls is None and not _loopback(listen.host):
            log.warning("plain HTTP on %s: whoever is on the way can steer this Envoy's traffic", listen)
        self._closing = False
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post(PATH, self._discover)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=tls, reuse_address=True).start()
        except OSError as error:
            await runner.cleanup()
            raise Misconfigured(
                f"cannot listen on {listen}: {error.strerror or error}", "stop what holds the port, or set `listen`"
            ) from None
        self._runner = runner

    @property
    def port(self) -> int | None:
        """The port while open; tells it where the config said 0."""
        return int(self._runner.addresses[0][1]) if self._runner is not None and self._runner.addresses else None

    async def close(self) -> None:
        """Let the polls that wait go, and stop; safe to call twice."""
        runner, self._runner = self._runner, None
        self._closing = True
        self._wake()
        if runner is not None:
            await runner.cleanup()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _discover(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=Request)
        except msgspec.MsgspecError as error:
            return web.Response(status=400, text=f"no DiscoveryRequest: {error}\n")
        if asked.type_url not in ("", TYPE_URL):
            return web.Response(status=404, text="only endpoints are served here\n")
        names = asked.resource_names[:NAMES_MOST] or sorted(self._held)
        if asked.node.id:  # else it is a human with curl
            self._note(asked.node.id, names, asked.version_info)
        end = self._clock() + self._hold_s
        while True:
            changed = self._changed
            found = [self._held[n] for n in names if n in self._held]
            if self._closing or not found:
                return web.Response(status=503, text="nothing is decided yet: keep what you have\n")
            answer = response(found)
            if answer["version_info"] != asked.version_info and not newer(asked.version_info, answer["version_info"]):
                return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
            left = end - self._clock()
            if left <= 0:
                return web.Response(status=304)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await changed.wait()

    def _note(self, node: str, names: Iterable[str], version: str) -> None:
        now = self._clock()
        if len(self._envoys) >= ENVOYS_MOST:
            self._envoys = {k: v for k, v in self._envoys.items() if now - v[1] <= ALIVE_S}
        for name in names:
            if len(self._envoys) < ENVOYS_MOST or (node[:200], name) in self._envoys:
                self._envoys[node[:200], name] = version[:50], now


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
