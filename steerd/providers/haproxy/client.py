"""The I/O of the haproxy provider: one connection per exchange on the runtime API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import parse_server, remaining_s
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
from steerd.providers.haproxy import CAPABILITIES, KIND
from steerd.providers.haproxy.translate import Commands, Server, differences, observed_from, parse_state, translate
from steerd.providers.settings import Settings
from steerd.providers.written import Written

__all__ = ["HAProxy"]

LINE_BYTES = 8000
"""Commands per line: HAProxy reads a line into one buffer (`tune.bufsize`, 16 KiB by default)."""

ANSWER_BYTES = 16 * 1024 * 1024
"""The longest answer read: `show servers state` has about 150 bytes a server."""

LEVELS = ("user", "operator", "admin")
"""Of a stats socket; `set server` takes the last (HAProxy management guide, 9.3)."""

ADVICE = (
    ("No such server", Misconfigured, "compare the route's `servers` with haproxy.cfg"),
    ("No such backend", Misconfigured, "compare `backend` with haproxy.cfg"),
    ("Can't find backend", Misconfigured, "compare `backend` with haproxy.cfg"),
    ("Permission denied", Misconfigured, "give the stats socket `level admin`"),
    (
        "static LB algorithm",
        Misconfigured,
        "weights need a dynamic algorithm: `balance roundrobin`, `leastconn` or `random`, or `hash-type consistent`",
    ),
    ("Unknown command", Misconfigured, "the socket must be HAProxy's stats socket, of version 1.8 or newer"),
    ("Absolute weight", Refused, ""),
)
"""Texts HAProxy answers with -> what that means."""


class HAProxy:
    """One HAProxy process, by its stats socket. It forgets on reload, so every read asks it anew."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        if settings.maybe_text("socket") is None:
            raise settings.wrong("socket", "is required, or `agent`", "write `socket: unix:/run/haproxy/admin.sock`")
        self._socket = settings.text("socket")
        self._timeout_s = settings.number("timeout", 0.01, 60)
        self._path = self._socket.removeprefix("unix:") if self._socket.startswith(("unix:", "/")) else None
        try:
            self._server = None if self._path else parse_server(self._socket, 0)
        except ValueError:
            self._server = None
        if not self._path and (self._server is None or self._server.port == 0):
            raise settings.wrong(
                "socket", f"{self._socket!r} is no socket", "write unix:/run/haproxy/admin.sock or HOST:PORT"
            )
        self._written = Written()  # the only fence there is

    async def open(self) -> None:
        """Nothing to start: HAProxy closes a connection after each line of commands."""

    async def close(self) -> None:
        """Nothing is held open."""

    async def read(self, route: Route, deadline: float) -> Observed:
        """The backend's servers as HAProxy has them now."""
        return observed_from(route, await self._servers(route.name, deadline), self._written.fence(route.key))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.haproxy.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, add capacity, and only when that worked take capacity away."""
        commands: Commands = change.payload
        self._written.check(change)
        if await self._servers(commands.backend, deadline) != commands.seen:
            raise Conflict(f"{change.route}: the servers of {commands.backend} have changed since they were read")
        await self._send(change, commands.more, deadline)
        if commands.less:
            # Another writer may have come in between: what is to be left must carry before anything is taken away.
            standing = await self._servers(commands.backend, deadline) or {}
            if out := [s for s in commands.keep if s not in standing or standing[s].carries == 0]:
                raise Conflict(f"{change.route}: {', '.join(out)} left service meanwhile: nothing is taken away")
            await self._send(change, commands.less, deadline)
        self._written.note(change)
        return Receipt(change.route, f"{len(commands.more) + len(commands.less)} commands")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """The level of the socket: HAProxy has no rights by backend, and writes take `admin`."""
        del routes
        said = (await self._ask("show cli level", deadline)).strip()
        if said not in LEVELS:
            return [Untold(f"{self._socket} does not tell its level (HAProxy 1.8 and newer do): {said[:100]}")]
        return [] if said == LEVELS[-1] else [f"`level admin` of {self._socket}, which has `level {said}`,"]

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed.token or {})
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _servers(self, backend: str, deadline: float) -> dict[str, Server] | None:
        if not backend or any(c.isspace() or c in ";/\\" for c in backend):
            raise Misconfigured(f"{backend!r} is no backend name", "set the route's `backend`")
        text = await self._ask(f"show servers state {backend}", deadline)
        if "Can't find backend" in text:
            return None
        try:
            return parse_state(text, backend)
        except ValueError as error:
            raise self._meaning(text) or Refused(f"{self._socket}: {error}") from None

    async def _send(self, change: Change, commands: Iterable[str], deadline: float) -> None:
        for line in _lines(commands):
            self._check(change, await self._ask(line, deadline))

    def _check(self, change: Change, text: str) -> None:
        if said := text.strip():
            raise self._meaning(said) or Refused(f"{change.route}: HAProxy says: {said[:200]}")

    def _meaning(self, text: str) -> ProviderError | None:
        for words, error, action in ADVICE:
            if words in text:
                line = next(line for line in text.split("\n") if words in line)
                return error(f"{self._socket}: {line.strip()}", action)
        return None

    async def _ask(self, line: str, deadline: float) -> str:
        """One line of commands, the whole answer. Raises `Unreachable` or `Misconfigured`."""
        left = remaining_s(deadline, self._timeout_s)
        try:
            async with asyncio.timeout(left):
                return await self._exchange(line)
        except TimeoutError:
            raise Unreachable(f"{self._socket} did not answer within {left:.1f} s") from None
        except PermissionError:
            raise Misconfigured(
                f"{self._socket}: permission denied", "let steerd's user into the socket's group (`mode 660 group ...`)"
            ) from None
        except OSError as error:
            raise Unreachable(f"{self._socket}: {error.strerror or error}", "is HAProxy running?") from None

    async def _exchange(self, line: str) -> str:
        if self._path is not None:
            reader, writer = await asyncio.open_unix_connection(self._path)
        else:
            assert self._server is not None, "the constructor checked it"
            reader, writer = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            writer.write(f"{line}\n".encode())
            await writer.drain()
            answer = bytearray()
            while chunk := await reader.read(65536):
                answer += chunk
                if len(answer) > ANSWER_BYTES:
                    raise Refused(f"{self._socket} answers with more than {ANSWER_BYTES} bytes")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):  # it hung up first, which is its way of saying done
                await writer.wait_closed()
        if not answer:
            # HAProxy answers every command with a blank line at least: this is a connection it never took.
            raise Unreachable(f"{self._socket} closed the connection without an answer")
        return answer.decode("utf-8", "replace")


def _lines(commands: Iterable[str]) -> Iterator[str]:
    """Commands joined by `;` into lines HAProxy can read."""
    line = ""
    for command in commands:
        if line and len(line) + len(command) + 1 > LINE_BYTES:
            yield line
            line = ""
        line = f"{line};{command}" if line else command
    if line:
        yield line
