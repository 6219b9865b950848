"""What HAProxy's agent checks are answered, and the socket they ask. `Board` is pure; `Listener` is the socket.

An agent check asks for one server at a time, every `agent-inter`. So that a backend is never empty in between, the last server
that a HAProxy was told to use stays in service until it has been told to use another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from steerd.model.route import Fence

__all__ = ["ALIVE_S", "Board", "Listener", "Posted"]

ALIVE_S = 15.0
"""A HAProxy that has not asked for so long is not waited for."""
SOURCES_MOST = 1000
LINE_BYTES = 256
LINE_S = 1.0
"""Seconds a client may take to say what it asks for."""
CLIENTS_MOST = 1024

Source = str


@dataclass(frozen=True, slots=True)
class Posted:
    """What one backend should carry: server name -> per cent of its weight in haproxy.cfg, 0 is out."""

    backend: str
    weights: Mapping[str, int]
    fence: Fence


class Board:
    """Backends by name, and what each HAProxy was last told of each server."""

    def __init__(self) -> None:
        self._posted: dict[str, Posted] = {}
        self._told: dict[tuple[Source, str], dict[str, int]] = {}
        self._seen: dict[tuple[Source, str], float] = {}

    def get(self, backend: str) -> Posted | None:
        return self._posted.get(backend)

    def post(self, posted: Posted) -> None:
        self._posted[posted.backend] = posted

    def answer(self, line: str, host: str, now: float) -> str:
        """The line for `[INSTANCE ]BACKEND/SERVER`, empty where nothing is decided: HAProxy then changes nothing.

        Per cents only: the words `ready` and `drain` would end a maintenance that somebody began by hand.
        """
        instance, _, place = line.strip().rpartition(" ")
        backend, _, server = place.rpartition("/")
        posted = self._posted.get(backend)
        if posted is None or server not in posted.weights:
            return ""
        source = (f"{host} {instance}".strip()[:200], backend)
        if source not in self._told and len(self._told) >= SOURCES_MOST:
            self._forget(now)
        told = self._told.setdefault(source, {})
        self._seen[source] = now
        weight = posted.weights[server]
        # A server that was not asked for yet stands at its weight of haproxy.cfg, and so in service.
        others = [told.get(s, 1) for s in posted.weights if s != server]
        if weight == 0 and told.get(server, 1) > 0 and not any(others):
            return f"{told[server]}%\n" if server in told else ""
        told[server] = weight
        return f"{weight}%\n"

    def behind(self, backend: str, now: float) -> list[str]:
        """What HAProxies that asked lately have not been told yet, one line each."""
        posted, found = self._posted.get(backend), []
        for (source, name), told in sorted(self._told.items()):
            if name != backend or posted is None or now - self._seen[source, name] > ALIVE_S:
                continue
            late = [s for s, w in sorted(told.items()) if s in posted.weights and w != posted.weights[s]]
            if late:
                found.append(f"HAProxy {source} has not asked for {', '.join(f'{backend}/{s}' for s in late)} since")
        return found

    def asked(self, backend: str, now: float) -> int:
        """How many HAProxies asked for servers of it lately."""
        return sum(1 for (_, name), at in self._seen.items() if name == backend and now - at <= ALIVE_S)

    def _forget(self, now: float) -> None:
        """Drop who is gone, or else who asked longest ago."""
        gone = [s for s, at in self._seen.items() if now - at > ALIVE_S] or [
            min(self._seen, key=lambda s: self._seen[s])
        ]
        for source in gone:
            del self._told[source], self._seen[source]


class Listener:
    """One line in, one line out, per connection."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int | None:
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else None

    async def open(self, host: str, port: int) -> None:
        """Raises OSError."""
        self._server = await asyncio.start_server(self._client, host, port, limit=LINE_BYTES)

    async def close(self) -> None:
        """Stop listening and drop who is still talking; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) <= CLIENTS_MOST:
                async with asyncio.timeout(LINE_S):
                    line = (await reader.readline()).decode("ascii", "replace")
                    peer = writer.get_extra_info("peername")
                    writer.write(self._answer(line, str(peer[0]) if peer else "").encode("ascii"))
                    await writer.drain()
        except (ConnectionError, TimeoutError, ValueError):  # ValueError: a line without an end
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()
