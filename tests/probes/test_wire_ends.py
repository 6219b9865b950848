"""The wire engine's bounds within one turn of the loop, and that every look ends and is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from select import EPOLLIN
from typing import Any

import pytest

from probes.outcome import Status
from probes.wire import AVAILABLE
from probes.wire.link import CONNECT, WAIT
from tests.support.row import Row
from tests.support.servers import free_port
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

    settings = {"pattern": "a", "max_bytes": 100_000_000}
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

    settings = {"pattern": "a", "max_bytes": 100_000_000}
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


IDLE = b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
GOOD = OK + b"Content-Length: 2\r\n\r\nok"


class Idle:
    """A server in a thread: `GOOD` to each first request, and then what a test sends on the connection left idle."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.recv(65536)
                connection.sendall(GOOD)
                self.connections.append(connection)

    def close(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.close()


@pytest.mark.parametrize("closing", [True, False], ids=["and closes", "and stays"])
@pytest.mark.parametrize("said", [IDLE, b""], ids=["408", "nothing"])
async def test_what_an_idle_server_said_is_not_the_next_looks_answer(said: bytes, closing: bool) -> None:
    server = Idle()
    row = Row(server.url)
    assert await row.look() is None
    await until(lambda: len(server.connections) == 1)
    if said:
        server.connections[0].sendall(said)  # on loopback it is there when this returns, and the engine has not heard
    if closing:
        server.connections[0].shutdown(socket.SHUT_WR)
    count = len(row.told)
    row.lane.start(asyncio.get_running_loop().time() + (1.0 if said or closing else 0.1))
    await until(lambda: len(row.told) > count, 5.0)
    if said or closing:
        assert row.told[-1] is None
        assert len(server.connections) == 2
    else:  # the connection is well and used again; this server answers once
        assert row.told[-1] is not None
        assert len(server.connections) == 1
    await row.close()
    server.close()


@pytest.mark.parametrize("settings", [{}, {"pattern": "ok"}], ids=["plain", "rich"])
async def test_a_408_that_crosses_the_next_request_is_asked_again(serve: Serve, settings: dict[str, Any]) -> None:
    """It was sent to the idle connection; to a new one it is an answer like any other."""
    asked: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while await reader.readuntil(b"\r\n\r\n"):
            asked.append(number)
            writer.write(GOOD if number == 0 and len(asked) < 4 else IDLE)
            number += 1

    row = Row(f"http://127.0.0.1:{await serve(handler)}", settings)
    first, second = await row.look(), await row.look()
    assert [outcome is None or outcome.ok for outcome in (first, second)] == [True, True]
    assert asked == [0, 1, 0]
    third = await row.look()
    assert third is not None
    assert (third.reason, asked[3:]) == ("HTTP 408", [0])
    await row.close()


@pytest.mark.parametrize(("size", "kept"), [(32_767, 1), (32_768, 0)])
async def test_a_connection_that_may_hold_more_is_not_kept(serve: Serve, size: int, kept: int) -> None:
    """The last piece filled the buffer: whether anything followed it was not read."""
    head = OK + b"Content-Length: %d\r\n\r\n"
    length = size - len(head % size)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head % length + b"x" * length)
        await reader.read(1)

    row = Row(f"http://127.0.0.1:{await serve(handler)}", {"pattern": "x"})
    outcome = await row.look()
    assert outcome is None or outcome.ok
    assert row.lane.connections == kept
    await row.close()


async def test_a_look_begun_at_the_end_of_another_does_not_believe_an_idle_connection_either() -> None:
    """Then `epoll` is being listened to already, and cannot be asked."""
    one, other = Idle(), Idle()
    first, second = Row(one.url), Row(other.url)
    assert await second.look() is None
    await until(lambda: len(other.connections) == 1)
    ended: list[bool] = []

    def told(lane: Any, outcome: Any) -> None:
        other.connections[0].sendall(b"HTTP/1.1 500 Old\r\nContent-Length: 0\r\n\r\n")
        ended.append(second.lane._engine is not None and second.lane._engine.listen())
        second.lane.start(asyncio.get_running_loop().time() + 1.0)

    first.lane.told = told
    first.lane.start(asyncio.get_running_loop().time() + 1.0)
    await until(lambda: len(second.told) == 2, 5.0)
    assert ended == [False]
    assert (second.told[1], len(other.connections)) == (None, 2)
    for row, server in ((first, one), (second, other)):
        await row.close()
        server.close()


class Counted:
    """A connection that counts what is asked of it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.calls: list[str] = []

    def send(self, data: bytes) -> int:
        self.calls.append("send")
        return int(self._sock.send(data))

    def recv(self, size: int) -> bytes:
        self.calls.append("recv")
        return bytes(self._sock.recv(size))

    def close(self) -> None:
        self._sock.close()


async def test_a_look_on_a_kept_connection_is_one_send_and_one_recv(serve: Serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(GOOD)

    row = Row(f"http://127.0.0.1:{await serve(handler)}")
    assert await row.look() is None
    one: Any = row.lane._one
    one.sock = counted = Counted(one.sock)
    for _ in range(5):
        assert await row.look() is None
    assert counted.calls == ["send", "recv"] * 5
    await row.close()


async def test_a_request_follows_a_connect_that_is_over_at_once_and_waits_for_one_that_is_not(serve: Serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)

    row = Row(f"http://127.0.0.1:{await serve(handler)}")
    await row.look()
    one: Any = row.lane._one
    for far in (0, 2, 1):
        one._far = far
        row.lane.start(asyncio.get_running_loop().time() + 5.0, fresh=True)
        assert one._far in {far - 1, 16} if far else one.state == WAIT or one._far == 16
        assert one.state == CONNECT or not far
        await until(lambda: not row.lane.busy)
        stages = one.stages()
        assert stages.connect_s is not None
        assert stages.first_byte_s is not None
        assert stages.connect_s >= 0.0
        assert stages.first_byte_s >= 0.0
        assert stages.connect_s + stages.first_byte_s <= stages.total_s
    await row.close()


async def test_a_connection_that_is_refused_or_never_taken_was_not_opened() -> None:
    row = Row(f"http://127.0.0.1:{free_port()}")
    outcome = await row.look()
    assert outcome is not None
    assert (outcome.reason, outcome.transport, outcome.stages.connect_s) == ("connection refused", True, None)
    await row.close()
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # until the kernel takes no more
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        row = Row(f"http://127.0.0.1:{full.getsockname()[1]}")
        outcome = await row.look(0.3)
        assert outcome is not None
        assert (outcome.reason, outcome.transport, outcome.stages.connect_s) == ("connect timed out", True, None)
        await row.close()
