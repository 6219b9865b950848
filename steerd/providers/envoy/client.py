"""The envoy provider: assignments in memory or in files, and the discovery service over them."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.asking import Server, parse_server, remaining_s
from steerd.providers.base import Change, Conflict, Context, Misconfigured, Receipt, Unreachable, Verified
from steerd.providers.envoy import KIND, capabilities_for, files
from steerd.providers.envoy.server import Discovery
from steerd.providers.envoy.translate import Held, Write, observed_from, translate, version_of
from steerd.providers.settings import Settings

__all__ = ["Envoy"]


class Envoy:
    """One discovery service, one set of files, or both: then the files are what counts and what a restart begins with."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self.capabilities = capabilities_for(context.spec.settings)
        listen, self._path = settings.maybe_text("listen"), settings.maybe_text("path")
        if listen is None and self._path is None:
            raise settings.wrong("listen", "or `path` is required", "write `listen: 127.0.0.1:18000`, or `path: FILE`")
        try:
            self._listen = parse_server(listen, 0) if listen is not None else None
        except ValueError as error:
            raise settings.wrong("listen", str(error), "write HOST:PORT, for example 127.0.0.1:18000") from None
        self._tls_files = tuple(settings.maybe_text(name) for name in ("cert", "key", "client_ca"))
        self._routes = [r for s in context.fleet.services for r in s.routes if r.provider == context.spec.name]
        if self._path is not None and "{name}" not in self._path and len({r.name for r in self._routes}) > 1:
            raise settings.wrong("path", "is one file for several clusters", "write `{name}` into it: each has its own")
        self._served = Discovery(settings.number("hold", 0, 3600), time.monotonic)
        self._writing = asyncio.Lock()
        self._open = False

    @property
    def address(self) -> Server | None:
        """Where the discovery service listens while open."""
        port = self._served.port
        return Server(self._listen.host, port) if self._listen is not None and port is not None else None

    async def open(self) -> None:
        """Load the files of the fleet's routes, then listen. Raises `Misconfigured`."""
        for route in self._routes if self._path is not None else ():
            held = await asyncio.to_thread(files.load, self._file(route.name), route.name)
            if held is not None:
                self._served.put(route.name, held)
        if self._listen is not None:
            await self._served.open(self._listen, self._tls())
        self._open = True

    async def close(self) -> None:
        """Stop serving; safe to call twice."""
        self._open = False
        await self._served.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The assignment as it is being served."""
        self._ready(deadline)
        return observed_from(route, await self._standing(route.name))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.envoy.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Replace the file, then serve it; the other way round nothing could take it back."""
        self._ready(deadline)
        write: Write = change.payload
        async with self._writing:
            if self._path is not None:
                await asyncio.to_thread(files.replace, self._file(write.name), write)
            else:
                standing = self._served.get(write.name)
                if standing is not None and standing.fence is not None and standing.fence.newer_than(change.fence):
                    raise Conflict(f"{change.route}: {standing.fence.text!r} is newer than {change.fence.text!r}")
                if standing != write.old:
                    raise Conflict(f"{change.route}: the assignment was written since it was read")
            self._served.put(write.name, write.new)
        return Receipt(change.route, f"version {version_of(write.new)}")

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """What is served, and that every Envoy that asks for it has taken it."""
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence)
        wrong = [] if again.nothing else [f"the assignment is not as desired ({again.summary})"]
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        if self._listen is None:
            return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))
        wrong += self._served.behind(route.name)
        note = "" if self._served.asked(route.name) else f"no Envoy has asked for cluster {route.name} yet"
        return Verified(in_sync=not wrong, observed=observed, text="; ".join([*wrong, *([note] if note else [])]))

    async def _standing(self, name: str) -> Held | None:
        if self._path is None:
            return self._served.get(name)
        held = await asyncio.to_thread(files.load, self._file(name), name)
        if held is not None and held != self._served.get(name):
            self._served.put(name, held)  # somebody edited the file: both forms serve the same
        return held

    def _file(self, name: str) -> Path:
        assert self._path is not None, "only with `path`"
        if "/" in name or name.startswith("."):
            raise Misconfigured(f"{name!r} cannot be part of a file's name", "name the cluster otherwise")
        return Path(self._path.replace("{name}", name))

    def _ready(self, deadline: float) -> None:
        if not self._open:
            raise Unreachable("the discovery service is not running")
        remaining_s(deadline, 1.0)

    def _tls(self) -> ssl.SSLContext | None:
        cert, key, client_ca = self._tls_files
        if cert is None or key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(cert, key)
            if client_ca is not None:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"cannot use cert, key and client_ca: {error}", "name PEM files that belong together"
            ) from None
        return context
