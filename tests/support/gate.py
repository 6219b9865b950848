"""A TCP proxy that holds one request back: a writer paused between its last look and its write."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType

__all__ = ["Gate"]


class Gate:
    """Passes everything on until bytes with `hold` come from a client; those wait for `release()`.

    Runs on a loop of its own in a thread, so that blocking helpers of a test cannot stop it.
    """

    def __init__(self, host: str, port: int, hold: bytes) -> None:
        self._far, self._hold = (host, port), hold
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.holding = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Gate:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def release(self) -> None:
        """Let what is held back go on its way."""
        self._open.set()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        assert self._server is not None
        self._open.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        try:
            await asyncio.gather(self._pump(reader, far_writer, hold=True), self._pump(far_reader, writer, hold=False))
        finally:
            self._tasks.discard(task)
            far_writer.close()
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if hold and self._hold in data:
                    self.holding = True
                    await asyncio.to_thread(self._open.wait, 30)
                writer.write(data)
                await writer.drain()
            writer.write_eof()
