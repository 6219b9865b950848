"""The wire engine's bounds within one turn of the loop, and that every look ends and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from select import EPOLLIN
from typing import Any

import pytest

from probes.outcome import Status
from probes.wire import AVAILABLE
from tests.support.row import Row
from tests.support.wait import until

Answer = Callable[..., Awaitable[str]]
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


class Broken:
    """Settings with a bug of ours in the judgement; everything else is that of the settings given."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)

    def judge(self, *_: Any, **__: Any) -> None:
        raise RecursionError("too deep")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_judgement_that_raises_is_an_error_and_the_lane_goes_on(answer: Answer, host: str) -> None:
    url = (await answer(OK + b"Content-Length: 2\r\n\r\n{}")).replace("127.0.0.1", host)
    row = Row(url, {"pattern": "{"})
    lane: Any = row.lane
    settings, lane._settings = lane._settings, Broken(lane._settings)
    for _ in range(2):
        outcome = await row.look()
        assert outcome is not None
        assert (outcome.status, outcome.reason, outcome.detail) == (
            Status.ERROR,
            "the probe raised RecursionError",
            "RecursionError: too deep",
        )
        assert not lane.busy
    lane._settings = settings
    outcome = await row.look()
    assert outcome is not None
    assert outcome.status is Status.PASS
    await row.close()


async def test_one_look_whose_end_raises_leaves_the_other_deadlines_as_they_are(serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass

    raised: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    rows = [Row(f"http://127.0.0.1:{await serve(silent)}") for _ in range(4)]

    def bad(*_: Any) -> None:
        raise LookupError("whoever was told fails")

    rows[0].lane.told = bad
    deadline = loop.time() + 0.1
    for row in rows[:3]:
        row.lane.start(deadline)
    rows[3].lane.start(deadline + 0.1)
    await until(lambda: all(row.told for row in rows[1:]), 5.0)
    assert [str(error) for error in raised] == ["whoever was told fails"]
    for row in rows:
        await row.close()


async def test_what_only_the_answer_shows_to_be_misconfigured_is_said_so(answer: Answer) -> None:
    url = await answer(OK + b'Content-Length: 7\r\n\r\n{"a":2}')
    row = Row(url, {"json": {"path": "a", "equals": "$model"}})  # and the target has no model
    outcome = await row.look()
    assert outcome is not None
    assert outcome.status is Status.ERROR
    assert (outcome.reason or "").startswith("misconfigured probe: ")
    await row.close()
