"""Answers made to hurt: every look ends in time, reads no further than its bound, and says what is wrong."""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from probes.errors import SettingError
from probes.json_path import BadJsonError, parse
from probes.metrics_text import PIECE, MetricsReader, read_text
from probes.outcome import Outcome, Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.wait import until

Answer = Callable[..., Awaitable[str]]
Serve = Callable[..., Awaitable[int]]
WITHIN_S = 0.5
OK = b"HTTP/1.1 200 OK\r\n"
JSON = {"json": {"path": "data"}}


async def flooded(serve: Serve, head: bytes, piece: bytes, sent: list[int], pause_s: float = 0.0) -> str:
    """A server that sends `head` and then `piece` for as long as anybody takes it; `sent` counts the bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            sent[0] += len(piece)
            await asyncio.sleep(pause_s)

    return f"http://127.0.0.1:{await serve(handler)}"


async def test_an_endless_body_is_read_to_the_bound_and_no_further(look: Look, serve: Serve) -> None:
    sent = [0]
    url = await flooded(serve, OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 65536, sent)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await look("http", url)
    assert outcome.status is Status.PASS  # the status says it all; the body was not asked about
    outcome = await look("http", url, JSON)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "answer too long")
    # What the kernel buffers, no more: each connection is closed when the bound is reached.
    assert sent[0] < 40 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_endless_headers_fail(look: Look, serve: Serve) -> None:
    sent = [0]
    url = await flooded(serve, OK, b"X-A: " + b"b" * 4000 + b"\r\n", sent)
    outcome = await look("http", url, within_s=WITHIN_S)
    assert outcome.status is Status.FAIL
    assert sent[0] < 40 * 2**20


@pytest.mark.parametrize("head", [b"", OK + b"X-Slow: ", OK + b"Content-Length: 1000\r\n\r\n"])
async def test_slow_loris_ends_with_the_deadline(look: Look, serve: Serve, head: bytes) -> None:
    url = await flooded(serve, head, b"H", [0], pause_s=0.02)
    outcome = await look("http", url, JSON, within_s=0.3)
    assert outcome.status is Status.FAIL
    if head:
        assert outcome.transport  # ran out of time, not of patience with what was said


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x16\x03\x01\x00\x02\x01\x00",
        b"HTTP/9.9 yes\r\n\r\n",
        b"HTTP/1.1 20000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
        b"\x00" * 4096,
    ],
    ids=["ssh", "tls", "version", "status", "negative", "two-lengths", "no-colon", "long-header", "headers", "zeros"],
)
async def test_what_is_no_http_fails_and_is_not_transport(look: Look, answer: Answer, data: bytes) -> None:
    outcome = await look("http", await answer(data), within_s=WITHIN_S)
    assert (outcome.status, outcome.host_error) == (Status.FAIL, False)


@pytest.mark.parametrize("data", [b"", OK[:10]], ids=["nothing", "half a line"])
async def test_closing_without_an_answer_is_transport(look: Look, answer: Answer, data: bytes) -> None:
    outcome = await look("http", await answer(data), within_s=WITHIN_S)
    assert (outcome.status, outcome.transport) == (Status.FAIL, True)


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"Content-Length: 100\r\n\r\nshort",
    ],
    ids=["no-size", "huge-size", "no-end", "short"],
)
async def test_bad_framing_fails(look: Look, answer: Answer, body: bytes) -> None:
    outcome = await look("http", await answer(OK + body), JSON, within_s=WITHIN_S)
    assert (outcome.status, outcome.transport) == (Status.FAIL, False)


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * 300_000 + b"1]", b"[" + b'{"a":1},' * 120_000 + b"1]", b'{"a":"' + b"x" * 1_048_600 + b'"}'],
    ids=["lists", "objects", "long"],
)
def test_json_that_would_hold_up_the_loop_is_not_read(body: bytes) -> None:
    with pytest.raises(BadJsonError, match="over "):
        parse(body)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("http", {"json": {"path": "a"}}),
        ("http", {"version": {"path": "a"}}),
        ("openai-embeddings", {}),
        ("kserve-infer", {"inputs": {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}}),
        ("script", {"steps": [{"path": "/"}]}),
    ],
)
def test_more_json_than_can_be_read_between_other_looks_cannot_be_asked_for(kind: str, settings: Any) -> None:
    with pytest.raises(SettingError, match="max_bytes"):
        make(kind, "liveness", {**settings, "max_bytes": 5_000_000}, str)
    make(kind, "liveness", {**settings, "max_bytes": 1_000_000}, str)
    make("http", "liveness", {"max_bytes": 5_000_000, "pattern": "ok"}, str)


async def test_metrics_by_the_megabyte_leave_turns_to_others() -> None:
    text, turns = b"x 1\n" * 250_000, [0]

    async def others() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    reader = MetricsReader.of(["x"])
    await read_text(reader, text)
    beside.cancel()
    assert reader.lines == 250_000
    assert turns[0] >= len(text) // PIECE


async def test_a_gzip_bomb_is_never_opened(look: Look, answer: Answer) -> None:
    bomb = gzip.compress(b"\x00" * 50_000_000)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    url = await answer(head + bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await look("http", url)).status is Status.PASS
    outcome = await look("http", url, JSON)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "answer is compressed although it must not be")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": "\xff\xfe\xc3\x28"}',
        b"[" * 60_000,
        b'{"data":' * 6_000 + b"1" + b"}" * 6_000,
        b'{"data": NaN',
        b"\xff" * 1000,
    ],
    ids=["utf8", "brackets", "nested", "cut", "bytes"],
)
async def test_bad_json_fails(look: Look, answer: Answer, body: bytes) -> None:
    url = await answer(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    outcome = await look("http", url, {"json": {"path": "nothing.here"}}, within_s=WITHIN_S)
    assert (outcome.status, outcome.host_error) == (Status.FAIL, False)


SSE = OK + b"Content-Type: text/event-stream\r\nConnection: close\r\n\r\n"


async def chat(look: Look, url: str, **settings: Any) -> Outcome:
    return await look("openai-chat", url, {"gap": 0.3, **settings}, layer="user_path", within_s=1.0, model="m")


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (b"data: " + b"x" * 65536, "stream too long"),  # no line ever ends
        (b": still here\n" * 4096, "stream too long"),  # comments for ever
        (b'data: {"choices": []}\n\n' * 2048, "stream too long"),
        (b"data: \xff\xfe\n\n", "frame that is no JSON"),
        (b"data: " + b"[" * 50_000 + b"\n\n", "frame that is no JSON"),
        (b"data: 7\n\n", "frame that is no JSON object"),
        (b'data: {"choices": [3]}\n\n', "frame with a choice that is no object"),
        (b'data: {"choices": [{"delta": 3}]}\n\n', "frame with a delta that is no object"),
        (b'data: {"hello": 1}\n\n', "frame without choices"),
    ],
)
async def test_a_hostile_stream_fails_within_bounds(look: Look, serve: Serve, piece: bytes, reason: str) -> None:
    sent = [0]
    url = await flooded(serve, SSE, piece, sent)
    outcome = await chat(look, url)
    assert (outcome.status, outcome.reason) == (Status.FAIL, reason)
    assert sent[0] < 40 * 2**20


async def test_a_stream_that_drips_without_a_token_runs_out_of_time(look: Look, serve: Serve) -> None:
    url = await flooded(serve, SSE, b": wait\n", [0], pause_s=0.02)
    outcome = await chat(look, url, ttft_limit=0.2)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no first token in time", True)


async def test_a_stream_that_never_ends_runs_into_the_deadline(look: Look, serve: Serve) -> None:
    piece = b'data: {"choices": [{"delta": {"content": "more "}}]}\n\n'
    url = await flooded(serve, SSE, piece, [0], pause_s=0.02)
    outcome = await chat(look, url)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "stream stopped before its end", True)
    assert outcome.tokens > 1  # what was spent is counted, also when the look failed


async def test_looks_that_fail_leave_no_descriptors_behind(look: Look, serve: Serve) -> None:
    """Cut off while waiting, reading, streaming or shaking hands: every connection is closed."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass  # never answers, and ends when the look lets go of the connection

    mute = await serve(silent)
    endless = await flooded(serve, OK + b"Content-Length: 10000000\r\n\r\n", b"x" * 65536, [0])
    stream = await flooded(serve, SSE, b": wait\n", [0], pause_s=0.01)

    async def everything() -> None:
        for fresh in (True, False):
            await look("http", f"http://127.0.0.1:{mute}", within_s=0.02, fresh=fresh)
            await look("http", f"https://127.0.0.1:{mute}", within_s=0.05, fresh=fresh)
            await look("http", endless, fresh=fresh)
        await look("openai-chat", stream, within_s=0.03, model="m")
        await look("tls", f"https://127.0.0.1:{mute}", within_s=0.05)
        await look("dns", f"dns://127.0.0.1:{mute}", {"name": "a.test", "transport": "tcp"}, within_s=0.02)

    await everything()
    sockets = _sockets()
    for _ in range(5):
        await everything()
    # Both ends live in this process: the server's closes soon after ours.
    await until(lambda: _sockets() <= sockets + 2)


def _sockets() -> int:
    """Sockets that this process has open."""
    here = {path.resolve(strict=False).name for path in Path("/proc/self/fd").iterdir()}
    return sum(name.startswith("socket:") for name in here)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED + b"1;", b"a" * 65536),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
        (CHUNKED + b"0\r\nX: ", b"a" * 65536),
        (CHUNKED, (b"1;" + b"a" * 30_000 + b"\r\nx\r\n") * 4),
    ],
    ids=["a chunk extension", "trailers", "one trailer", "chunk extensions"],
)
async def test_endless_framing_is_read_to_a_bound_and_fails(
    look: Look, serve: Serve, head: bytes, piece: bytes
) -> None:
    """None of these bytes is of the head or of the body, and all of them are counted."""
    sent = [0]
    url = await flooded(serve, head, piece, sent)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await look("http", url, JSON, within_s=5.0)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "answer too long", False)
    assert sent[0] < 40 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
