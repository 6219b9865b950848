"""A row of small HTTP servers that answer with their own name, and clients that count who answered.

Client and servers run on loops in threads of their own, so that a test's own loop is not what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["Load", "ModelRow"]

T = TypeVar("T")


class _Thread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class ModelRow(_Thread):
    """Servers by name; `address[name]` is HOST:PORT. They keep connections open, as model servers do, and take `delay_s`."""

    def __init__(self, *names: str, delay_s: float = 0.0) -> None:
        super().__init__()
        self._names, self._delay_s = names, delay_s
        self._servers: list[asyncio.Server] = []
        self.address: dict[str, str] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.call(self._start())
        return self

    async def _start(self) -> None:
        for name in self._names:

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    while await reader.readuntil(b"\r\n\r\n"):
                        await asyncio.sleep(self._delay_s)
                        writer.write(answer)
                        await writer.drain()
                writer.close()

            server = await asyncio.start_server(respond, "127.0.0.1", 0)
            self._servers.append(server)
            self.address[name] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await super()._end()


class Load(_Thread):
    """Clients that send requests to `port` one after the other, as long as this is open. `failed` says what went wrong."""

    def __init__(self, port: int, clients: int = 4) -> None:
        super().__init__()
        self._port, self._clients = port, clients
        self._counted: Counter[str] = Counter()
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        super().__enter__()
        # Kept: a loop refers to its tasks weakly, and a client that waits for an answer would be collected as garbage.
        self._running = [asyncio.run_coroutine_threadsafe(self._client(), self._loop) for _ in range(self._clients)]
        return self

    @property
    def total(self) -> int:
        return sum(self._counted.values()) + len(self.failed)

    def since_now(self) -> Counter[str]:
        """Start counting anew; the counter grows from here on. One request per client may still be on its way."""
        self._counted = Counter()
        return self._counted

    async def _client(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while True:
                        writer.write(b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n")
                        self._counted[await self._answer(reader)] += 1
                finally:
                    writer.close()
            except (ConnectionError, asyncio.IncompleteReadError, ValueError) as error:
                self.failed.append(repr(error))
                await asyncio.sleep(0.01)

    async def _answer(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            raise ValueError(head.split("\r\n")[0])
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        return (await reader.readexactly(length)).decode()
