"""The model server's side of an engine that is a process of its own (`steerd.demo.engine_process`)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process

__all__ = ["EngineLink"]


class EngineLink:
    """Has each step made by the other process. Once that is gone, steps never end: the front is not told, as real ones are not."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._gone = False

    async def start(self) -> int:
        """Start the engine; its process id."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "steerd.demo.engine_process", stdin=PIPE, stdout=PIPE
        )
        return self._process.pid

    async def step(self) -> None:
        """One step, made over there."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._turn:
            if not self._gone:
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(b".")
                    await process.stdin.drain()
                    if await process.stdout.read(1):
                        return
                self._gone = True
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """End it with its input, and collect it."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 2.0)
        except TimeoutError:
            process.kill()
            await process.wait()
