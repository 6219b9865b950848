"""The wire engine's bounds within one turn of the loop, and that every look ends and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from select import EPOLLIN
from typing import Any

import pytest

from probes.wire import AVAILABLE
from tests.support.row import Row
from tests.support.wait import until

Serve = Callable[..., Awaitable[int]]

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the wire engine needs Linux and httptools")

OK = b"HTTP/1.1 200 OK\r\n"


class Full:
    """A socket whose peer has sent all of a long answer already, however fast it is read."""

    def __init__(self, sock: Any, pieces: int) -> None:
        self._sock = sock
        self.left = pieces
        self.close = sock.close

    def recv(self, size: int) -> bytes:
        if self.left == 0:
            raise BlockingIOError
        self.left -= 1
        return b"x" * size


async def test_a_long_answer_is_read_in_turns_with_everybody_else(serve: Serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 100000000\r\n\r\n")
        await reader.read(1)

    settings = {"json": {"path": "a"}, "max_bytes": 100_000_000}
    row = Row(f"http://127.0.0.1:{await serve(handler)}", settings)
    row.lane.start(asyncio.get_running_loop().time() + 5.0)
    one: Any = row.lane._one
    await until(lambda: one.first_at > 0.0)
    one.sock = full = Full(one.sock, 100)
    one.handle(one.fd, EPOLLIN)
    assert 0 < full.left < 100  # no further without a turn of the loop
    turns = [full.left]
    while turns[-1]:
        await asyncio.sleep(0)
        turns.append(full.left)
    assert len(turns) > 4  # and on by itself, though no edge tells of what is left
    assert row.told == []
    await row.close()


async def test_a_long_answer_ends_with_its_deadline(serve: Serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 100000000\r\n\r\n")
        await reader.read(1)

    settings = {"json": {"path": "a"}, "max_bytes": 100_000_000}
    row = Row(f"http://127.0.0.1:{await serve(handler)}", settings)
    row.lane.start(asyncio.get_running_loop().time() + 5.0)
    one: Any = row.lane._one
    await until(lambda: one.first_at > 0.0)
    one.sock = full = Full(one.sock, 1000)
    one.deadline = 0.0  # it passes while the pieces are read, and this turn of the loop is not over
    one.handle(one.fd, EPOLLIN)
    assert full.left > 900
    assert [outcome and outcome.reason for outcome in row.told] == ["answer stopped before its end"]
    await row.close()
