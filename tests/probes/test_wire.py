"""The wire engine: what it reads, what it refuses to believe, and that it says what aiohttp would have led to."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.http_probe import HttpProbe
from probes.outcome import Layer, Outcome, Status
from probes.target import Target
from probes.wire import AVAILABLE
from probes.wire.answer import HEAD_LIMIT, QuickParser, Reader
from tests.support.row import Row
from tests.support.wait import until

Answer = Callable[..., Awaitable[str]]
Serve = Callable[..., Awaitable[int]]

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the wire engine needs Linux and httptools")

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "length": OK + b"Content-Length: 5\r\nX-Version: 7\r\n\r\nhello",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=1\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n",
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
    "closing": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "error": b"HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull",
}


def read(data: bytes, cuts: list[int], limit: int = 65536) -> tuple[Any, ...]:
    """What a reader makes of `data` cut at these places."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = Reader(limit, bodiless=False)
    for a, b in itertools.pairwise(places):
        if a < b and reader.feed(data[a:b]):
            break
    else:
        fault = reader.closed()
        if fault is not None:
            return ("closed", fault.reason, fault.transport)
    if reader.fault is not None:
        return ("broken", reader.fault.reason, reader.fault.transport)
    answer = reader.answer()
    return (answer.status, dict(answer.headers), answer.body, answer.whole)


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 130), max_size=10))
def test_how_an_answer_is_cut_into_pieces_changes_nothing(name: str, cuts: list[int]) -> None:
    data = WHOLE[name]
    assert read(data, cuts) == read(data, []) == read(data, list(range(len(data))))
    assert isinstance(read(data, [])[0], int)


@given(
    st.sampled_from(sorted(WHOLE)),
    st.integers(0, 200),
    st.binary(max_size=40),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_damaged_answers_are_a_fault_or_an_answer_and_never_an_exception(
    name: str, place: int, noise: bytes, cuts: list[int]
) -> None:
    data = WHOLE[name]
    read(data[:place] + noise + data[place + len(noise) :], cuts)
    read(data[:place], cuts)
    read(noise, cuts)


@given(st.integers(0, 3000), st.lists(st.integers(0, 3000), max_size=6))
def test_a_body_is_kept_to_its_bound(size: int, cuts: list[int]) -> None:
    data = OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
    status, _, body, whole = read(data, cuts, limit=1000)
    assert (status, len(body), whole) == (200, min(size, 1000), size <= 1000)


def test_endless_headers_are_cut_off_in_memory_too() -> None:
    reader = Reader(1000, bodiless=False)
    pieces = 0
    while not reader.feed(b"X-A: " + b"b" * 1000 + b"\r\n" if pieces else OK):
        pieces += 1
        assert pieces < 2 * HEAD_LIMIT / 1000


@given(st.lists(st.one_of(st.sampled_from(sorted(WHOLE.values())), st.binary(max_size=60)), max_size=8))
def test_the_quick_parser_carries_nothing_from_one_answer_to_the_next(pieces: list[bytes]) -> None:
    shared = QuickParser()
    for piece in pieces:
        found = shared.status_of(piece)
        assert found == QuickParser().status_of(piece)
        if found[0]:
            assert found[0] == read(piece, [])[0]


def test_the_quick_parser_takes_exactly_one_whole_answer() -> None:
    quick = QuickParser()
    assert quick.status_of(WHOLE["length"]) == (200, True)
    assert quick.status_of(WHOLE["closing"]) == (200, False)
    assert quick.status_of(WHOLE["length"] + b"HTTP/1.1 200") == (0, False)
    assert quick.status_of(WHOLE["length"] * 2) == (0, False)
    assert quick.status_of(WHOLE["length"][:-1]) == (0, False)
    assert quick.status_of(WHOLE["go on"]) == (0, False)
    assert quick.status_of(WHOLE["empty"]) == (204, True)


def test_what_the_quick_parser_remembers_is_bounded_and_told_by_every_byte() -> None:
    quick = QuickParser()
    for number in range(1000):
        answer = OK + b"Date: %d\r\nContent-Length: 0\r\n\r\n" % number
        assert quick.status_of(answer) == quick.status_of(answer) == (200, True)
        assert quick.status_of(answer.replace(b"200", b"500")) == (500, True)
        assert quick.status_of(answer.replace(b"Length: 0", b"Length: 1")) == (0, False)
        long = OK + b"X: " + b"%04d" % number * 500 + b"\r\nContent-Length: 0\r\n\r\n"
        assert quick.status_of(long) == (200, True)
    assert sum(map(len, quick._known)) < 100_000


# -- both ways ------------------------------------------------------------------------------------------------------------


async def looked(url: str, settings: dict[str, Any], *, wire: bool, within_s: float = 0.6) -> tuple[Any, ...]:
    probe = HttpProbe(Layer.LIVENESS, settings, str, wire=wire)
    try:
        deadline = asyncio.get_running_loop().time() + within_s
        found = await probe.look(Target("e1", url), deadline)
    finally:
        await probe.close()
    return found.status, found.reason, found.transport, found.host_error, found.version


BOTH_WAYS = [
    *WHOLE.values(),
    b"",
    OK[:9],
    b"SSH-2.0-x\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Away\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
    OK + b"Content-Length: 100\r\n\r\nshort",
    OK + b"\r\nuntil the end",
    OK + b"X-Version: \xc3\xa9\r\nContent-Length: 1\r\n\r\n\xff",
]


@pytest.mark.parametrize(
    "settings", [{}, {"pattern": "hello", "version": {"header": "X-Version"}}], ids=["plain", "rich"]
)
@pytest.mark.parametrize("data", BOTH_WAYS, ids=range(len(BOTH_WAYS)))
async def test_both_ways_say_the_same(answer: Answer, data: bytes, settings: dict[str, Any]) -> None:
    url = await answer(data)
    assert await looked(url, settings, wire=True) == await looked(url, settings, wire=False)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Status.PASS),  # bare line feeds: RFC 9112, section 2.2
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\nhello", Status.PASS),
        (OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", Status.PASS),
        (OK + b"X: a\x01b\r\nContent-Length: 5\r\n\r\nhello", Status.PASS),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", Status.PASS),
        (b"HTTP/1.1 200 OK\rContent-Length: 5\r\rhello", Status.FAIL),
        (OK + b"X: a\x00b\r\nContent-Length: 5\r\n\r\nhello", Status.FAIL),
        (OK + b"X Y: a\r\nContent-Length: 5\r\n\r\nhello", Status.FAIL),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Status.FAIL),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Status.FAIL),
    ],
)
async def test_both_ways_take_and_refuse_the_same_liberties(answer: Answer, data: bytes, status: Status) -> None:
    url = await answer(data)
    for settings in ({}, {"pattern": "hello"}):
        found = [await looked(url, settings, wire=wire) for wire in (True, False)]
        assert [one[0] for one in found] == [status, status], found


async def test_both_ways_blame_bad_chunks_on_the_answer(answer: Answer) -> None:
    url = await answer(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
    by_wire, by_aiohttp = await looked(url, {}, wire=True), await looked(url, {}, wire=False)
    # aiohttp reports the head of such an answer as malformed when both come in one piece.
    assert by_wire[1] == "answer cut short or badly framed"
    assert (by_wire[0], by_wire[2:]) == (by_aiohttp[0], by_aiohttp[2:]) == (Status.FAIL, (False, False, None))


async def test_both_ways_time_out_alike(serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass

    url = f"http://127.0.0.1:{await serve(silent)}"
    by_wire = await looked(url, {}, wire=True, within_s=0.1)
    assert by_wire == await looked(url, {}, wire=False, within_s=0.1)
    assert by_wire[:2] == (Status.FAIL, "no answer in time")


WITHOUT = """
import select, sys
del select.epoll
import asyncio
from probes.http_probe import HttpProbe
from probes.outcome import Layer
from probes.target import Target
async def main():
    probe = HttpProbe(Layer.LIVENESS, {}, str)
    target = Target("e1", "http://127.0.0.1:1")
    assert probe.lane(target, print) is None
    outcome = await probe.look(target, asyncio.get_running_loop().time() + 1.0)
    await probe.close()
    assert "probes.wire.engine" not in sys.modules
    print(outcome.status, outcome.reason)
asyncio.run(main())
"""


def test_without_epoll_looks_go_through_aiohttp() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("FAIL connection refused", 0), done.stderr


# -- lanes ----------------------------------------------------------------------------------------------------------------


async def test_an_answer_nobody_asked_for_is_not_the_next_looks(serve: Serve) -> None:
    """The first answer brings a second one with it, and says that all is well for ever."""
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        good = OK + b"Content-Length: 2\r\n\r\nok"
        writer.write(good * 2 if len(asked) == 1 else b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(1)

    row = Row(f"http://127.0.0.1:{await serve(handler)}")
    assert await row.look() in (None, row.lane.passed())
    second = await row.look()
    assert second is not None
    assert (second.status, second.reason, len(asked)) == (Status.FAIL, "HTTP 500", 2)
    await row.close()


async def test_an_answer_that_comes_after_the_deadline_is_not_the_next_looks(serve: Serve) -> None:
    asked: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(1)
        await asyncio.sleep(0.15 if len(asked) == 1 else 0.0)
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (200 if len(asked) == 1 else 500))
        await writer.drain()
        await reader.read(1)

    row = Row(f"http://127.0.0.1:{await serve(handler)}")
    late = await row.look(0.05)
    assert late is not None
    assert (late.reason, late.transport) == ("no answer in time", True)
    second = await row.look()
    assert second is not None
    assert second.reason == "HTTP 500"
    await row.close()


async def test_a_plain_pass_is_told_as_none_and_keeps_its_connection(site: Any) -> None:
    from aiohttp import web  # noqa: PLC0415 - only here

    peers: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response(text="ok")

    row = Row(await site({"/": handler}), {"fresh_every": 5})
    for _ in range(10):
        assert await row.look() is None
    assert row.lane.passed().stages.first_byte_s is not None
    assert len(set(peers)) == 3  # the kept one, and the fifth and tenth look's own
    assert row.lane.connections == 1
    await row.close()


async def test_a_secret_that_changes_is_sent_changed(site: Any) -> None:
    from aiohttp import web  # noqa: PLC0415 - only here

    keys, seen = iter(("k1", "k2")), []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], request.headers["X-Steerd-Probe"]))
        return web.Response(text="ok")

    probe = HttpProbe(Layer.LIVENESS, {"api_key": object()}, lambda _: next(keys))
    told: list[Outcome | None] = []
    lane = probe.lane(Target("e1", await site({"/": handler})), lambda _, outcome: told.append(outcome))
    assert lane is not None
    for count in (1, 2):
        lane.start(asyncio.get_running_loop().time() + 1.0)
        await until(lambda count=count: len(told) == count)
    assert [key for key, _ in seen] == ["Bearer k1", "Bearer k2"]
    assert len({mark for _, mark in seen}) == 2
    lane.close()
    await probe.close()
