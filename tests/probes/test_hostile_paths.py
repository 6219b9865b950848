"""The deeper probes against answers made to hurt: bounded memory and time, and the right outcome."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.outcome import Outcome, Status
from probes.probe import look_safely
from probes.registry import make
from probes.target import Target
from tests.probes.test_hostile import OK, flooded
from tests.support.looking import Look

Answer = Callable[..., Awaitable[str]]
Serve = Callable[..., Awaitable[int]]
TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
KINDS: dict[str, dict[str, Any]] = {
    "openai-chat": {"gap": 0.3},
    "openai-completions": {"gap": 0.3},
    "openai-embeddings": {},
    "kserve-infer": {"inputs": [TENSOR], "json": {"path": "outputs.0.data.0", "equals": 1}},
    "script": {"steps": [{"path": "/", "expect": {"json": {"path": "a"}}, "capture": {"x": {"json": "a"}}}]},
    "progress": {"running": "a", "steps": "b"},
    "version": {"json": "a.b"},
}
BLAMES = {"progress": Status.ERROR, "version": Status.ERROR}
"""What each says of nonsense: most blame the target; those that only read say that they cannot."""


def expected(kind: str) -> Status:
    return BLAMES.get(kind, Status.FAIL)


async def ask(look: Look, kind: str, url: str, **more: Any) -> Outcome:
    within_s = more.pop("within_s", 1.0)
    return await look(kind, url, {**KINDS[kind], **more}, layer="user_path", within_s=within_s, model="m")


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_gigabytes_are_read_to_the_bound(look: Look, serve: Serve, kind: str) -> None:
    sent = [0]
    url = await flooded(serve, OK + b"Content-Length: 10000000000\r\n\r\n", b" " * 65536, sent)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await ask(look, kind, url)
    assert outcome.status is expected(kind)
    assert sent[0] < 40 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("kind", KINDS)
async def test_endless_headers(look: Look, serve: Serve, kind: str) -> None:
    sent = [0]
    url = await flooded(serve, OK, b"X-A: " + b"b" * 4000 + b"\r\n", sent)
    assert (await ask(look, kind, url)).status is expected(kind)
    assert sent[0] < 40 * 2**20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", [b"", OK + b"X-Slow: ", OK + b"Content-Length: 1000\r\n\r\n"])
async def test_slow_loris(look: Look, serve: Serve, kind: str, head: bytes) -> None:
    url = await flooded(serve, head, b"H", [0], pause_s=0.02)
    outcome = await ask(look, kind, url, within_s=0.3)
    assert (outcome.status, outcome.host_error) == (expected(kind), False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"Content-Length: 100\r\n\r\nshort",
        b"Content-Length: 4\r\n\r\n\xff\xfe\xc3\x28",
        b"Content-Length: 60000\r\n\r\n" + b"[" * 60_000,
        b"Content-Length: 66006\r\n\r\n" + b'{"a":' * 11_000 + b"1" + b"}" * 11_000,
        b'Content-Length: 11\r\n\r\n{"a": null}',
    ],
    ids=["no-size", "no-end", "short", "utf8", "brackets", "nested", "null"],
)
async def test_bad_framing_and_bad_json(look: Look, answer: Answer, kind: str, body: bytes) -> None:
    outcome = await ask(look, kind, await answer(OK + body))
    assert (outcome.status, outcome.host_error) == (expected(kind), False)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_gzip_bomb_is_never_opened(look: Look, answer: Answer, kind: str) -> None:
    bomb = gzip.compress(b"\x00" * 50_000_000)
    head = OK + b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await ask(look, kind, await answer(head + bomb))
    assert outcome.status is expected(kind)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:{trap}/", "file:///etc/x"]
)
async def test_redirects_are_not_followed(look: Look, answer: Answer, serve: Serve, kind: str, where: str) -> None:
    caught: list[int] = []

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(1)

    location = where.format(trap=await serve(trap)).encode()
    url = await answer(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
    outcome = await ask(look, kind, url)
    assert (outcome.status, caught) == (expected(kind), [])


METRICS = OK + b"Content-Type: text/plain\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "piece",
    [
        b"a" * 65536,  # one endless name
        b'a{x="' + b"y" * 60_000,  # one endless label
        b"".join(b'a{n="%d"} 1\n' % n for n in range(3000)),
        b"# comments for ever\n" * 3000,
        b"a 1e400\n" * 8000,
        b"\x00\xff\xfe\n" * 16000,
    ],
    ids=["name", "label", "series", "comments", "infinite", "bytes"],
)
async def test_metrics_without_end(look: Look, serve: Serve, piece: bytes) -> None:
    sent = [0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await ask(look, "progress", await flooded(serve, METRICS, piece, sent), within_s=5.0)
    assert outcome.status is Status.ERROR
    assert sent[0] < 40 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


frames = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "content", "finish_reason", "usage", "total_tokens", "data", "embedding", "outputs", "shape",
             "error", "text", "tool_calls", "a"]
        ),
        inner,
        max_size=3,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_any_answer_at_all_is_an_outcome_and_no_bug(kind: str) -> None:
    """Fuzzed: a look never raises, never blames this host, and ends."""
    runner = asyncio.Runner()
    said = [b""]
    made: list[Any] = []

    async def serve() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said[0])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        made.extend([server, make(kind, "user_path", KINDS[kind], str)])

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200) | frames.map(lambda frame: json.dumps(frame).encode()), st.integers(0, 3))
    def fuzz(body: bytes, shape: int) -> None:
        lines = b"".join(b"data: " + part + b"\n\n" for part in body.split(b"\n"))
        heads = (b"", OK, OK + b"Content-Type: application/json\r\n", OK + b"Content-Type: text/event-stream\r\n")
        said[0] = (heads[shape] + b"\r\n" if shape else b"") + (lines if shape == 3 else body)
        port = made[0].sockets[0].getsockname()[1]
        outcome = runner.run(one(f"http://127.0.0.1:{port}"))
        assert isinstance(outcome, Outcome)
        assert not outcome.host_error
        assert "the probe raised" not in (outcome.reason or ""), outcome

    async def one(url: str) -> Outcome:
        deadline = asyncio.get_running_loop().time() + 5.0
        return await look_safely(made[1], Target("e1", url, model="m"), deadline)

    with runner:
        runner.run(serve())
        fuzz()
        runner.run(made[1].close())
        made[0].close()
