"""`http` against real servers: what passes, what fails, and whose fault it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Layer, Status
from probes.turns import Turns
from tests.support.looking import Look
from tests.support.model_server import ModelServer

Site = Callable[..., Awaitable[str]]
Answer = Callable[..., Awaitable[str]]
READINESS = {"path": "/v1/models", "json": {"path": "data.*.id", "contains": "$model"}}


def replies(status: int = 200, text: str = "", **headers: str) -> Any:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


async def test_a_healthy_endpoint_passes_with_its_stages(look: Look, model_server: ModelServer) -> None:
    outcome = await look("http", model_server.url, {"path": "/health"}, layer="liveness")
    assert (outcome.status, outcome.layer, outcome.reason) == (Status.PASS, Layer.LIVENESS, None)
    stages = outcome.stages
    assert stages.dns_s is None  # an address needs no resolution
    assert stages.tls_s is None
    assert stages.connect_s is not None
    assert stages.first_byte_s is not None
    assert stages.total_s is not None
    assert stages.connect_s + stages.first_byte_s <= stages.total_s <= outcome.duration_s


async def test_a_name_is_resolved_and_timed(look: Look, model_server: ModelServer) -> None:
    outcome = await look("http", f"http://localhost:{model_server.port}", {"path": "/health"})
    assert outcome.status is Status.PASS
    assert outcome.stages.dns_s is not None


@pytest.mark.parametrize(
    ("status", "expected", "host_error"),
    [
        (204, Status.PASS, False),
        (404, Status.FAIL, False),
        (500, Status.FAIL, False),
        (503, Status.FAIL, False),
        (429, Status.SATURATED, False),
        (400, Status.ERROR, False),
        (401, Status.ERROR, False),
        (403, Status.ERROR, False),
    ],
)
async def test_what_a_status_says(look: Look, site: Site, status: int, expected: Status, host_error: bool) -> None:
    url = await site({"/": replies(status)})
    outcome = await look("http", url, layer="readiness")
    assert (outcome.status, outcome.host_error, outcome.transport) == (expected, host_error, False)
    if expected is not Status.PASS:
        assert outcome.reason is not None
        assert str(status) in outcome.reason


@pytest.mark.parametrize("wanted", [418, "418", ["200-204", 418], ("400-499",)])
async def test_the_statuses_that_pass_can_be_chosen(look: Look, site: Site, wanted: Any) -> None:
    url = await site({"/": replies(418)})
    assert (await look("http", url, {"status": wanted})).status is Status.PASS


async def test_a_refused_key_says_which_setting_to_fix(look: Look, site: Site) -> None:
    url = await site({"/": replies(401, '{"error": {"message": "Incorrect API key: sk-abcdef0123456789"}}')})
    outcome = await look("http", url, {"api_key": object()}, resolve=lambda _: "sk-abcdef0123456789")
    assert outcome.status is Status.ERROR
    assert "`api_key`" in (outcome.detail or "")
    assert "abcdef0123456789" not in (outcome.detail or "")


async def test_a_key_that_cannot_be_read_is_an_error_of_the_check(look: Look, model_server: ModelServer) -> None:
    def missing(_: Any) -> str:
        raise LookupError("the file /run/secrets/key is not there")

    outcome = await look("http", model_server.url, {"path": "/health", "api_key": object()}, resolve=missing)
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)
    assert "/run/secrets/key" in (outcome.detail or "")


async def test_what_a_request_carries(look: Look, site: Site) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response()

    url = await site({"/a/b": handler})
    settings = {"path": "/b", "api_key": ("file", "k1"), "headers": {"X-Team": "search", "X-Key": {"env": "TEAM_KEY"}}}

    def resolve(reference: Any) -> str:
        value: str = reference[1] if isinstance(reference, tuple) else reference.ref
        return value

    outcome = await look("http", f"{url}/a", settings, layer="readiness", resolve=resolve)
    assert outcome.status is Status.PASS
    headers = seen[0].headers
    assert headers["User-Agent"].startswith("steerd-probe/")
    assert headers["X-Steerd-Probe"].startswith("readiness/")
    assert headers["Authorization"] == "Bearer k1"
    assert (headers["X-Team"], headers["X-Key"]) == ("search", "TEAM_KEY")
    assert headers["Accept-Encoding"] == "identity"


async def test_a_value_that_would_break_the_header_is_an_error_of_the_check(
    look: Look, model_server: ModelServer
) -> None:
    outcome = await look("http", model_server.url, {"api_key": object()}, resolve=lambda _: "a\r\nX-Other: 1")
    assert outcome.status is Status.ERROR
    assert "Authorization" in (outcome.detail or "")


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("", "/health", "/health"),
        ("/", "/health", "/health"),
        ("/team/a", "/health", "/team/a/health"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/openai/v1/", "/v1/models", "/openai/v1/models"),
        ("/x", "", "/x"),
        ("", "/h?deep=1&b=2", "/h?deep=1&b=2"),
        ("", "/v2/models/$model/ready", "/v2/models/org%2Fm%201/ready"),
        ("", "/metrics?model=$model&x=%26", "/metrics?model=org/m%201&x=%26"),
    ],
)
async def test_how_paths_join(look: Look, site: Site, base: str, path: str, asked: str) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    url = await site({"/{any:.*}": handler})
    assert (await look("http", url + base, {"path": path}, model="org/m 1")).status is Status.PASS
    assert seen == [asked]


async def test_a_url_of_the_check_stands_in_for_the_endpoints(look: Look, model_server: ModelServer) -> None:
    outcome = await look("http", "http://127.0.0.1:1", {"url": f"{model_server.url}/health"})
    assert outcome.status is Status.PASS


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "127.0.0.1:80", "http://"])
async def test_a_url_that_is_none_is_an_error_of_the_check(look: Look, url: str) -> None:
    outcome = await look("http", url)
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)


async def test_the_model_list_must_have_the_model(look: Look, model_server: ModelServer) -> None:
    async def readiness(model: str | None) -> tuple[Status, str | None]:
        outcome = await look("http", model_server.url, READINESS, layer="readiness", model=model)
        return outcome.status, outcome.reason

    assert await readiness("demo-7b") == (Status.PASS, None)
    assert await readiness("demo-70b") == (Status.FAIL, "model not found")
    assert await readiness(None) == (Status.PASS, None)
    model_server.mode("wrong-model")
    assert await readiness("demo-7b") == (Status.FAIL, "model not found")


@pytest.mark.parametrize(
    ("body", "condition", "status"),
    [
        ('{"status": "healthy"}', {"path": "status", "equals": "healthy"}, Status.PASS),
        ('{"status": "notready"}', {"path": "status", "equals": "healthy"}, Status.FAIL),
        ('{"n": 1}', {"path": "n", "equals": 1}, Status.PASS),
        ('{"n": true}', {"path": "n", "equals": 1}, Status.FAIL),
        ('{"a": [{"b": 1}, {"b": "v1.2"}]}', {"path": "a.1.b", "matches": "^v1"}, Status.PASS),
        ('{"a": [{"b": 1}, {"b": "v1.2"}]}', [{"path": "a.*.b", "equals": 1}, {"path": "a.2"}], Status.FAIL),
        ('{"tags": ["x", "y"]}', {"path": "tags", "contains": "y"}, Status.PASS),
        ('{"tags": {"a": "x", "b": "y"}}', {"path": "tags.*", "contains": "y"}, Status.PASS),
        ('{"tags": []}', {"path": "tags.*"}, Status.FAIL),
        ("{}", {"path": "gone", "equals": None}, Status.FAIL),
        ("[1, 2", {"path": "0"}, Status.FAIL),
        ("not json", {"path": "x"}, Status.FAIL),
        ("", {"path": "x"}, Status.FAIL),
    ],
)
async def test_conditions_on_json(look: Look, site: Site, body: str, condition: Any, status: Status) -> None:
    url = await site({"/": replies(200, body)})
    outcome = await look("http", url, {"json": condition})
    assert outcome.status is status
    assert (outcome.reason is None) == (status is Status.PASS)


async def test_a_pattern_must_be_in_the_body(look: Look, site: Site) -> None:
    url = await site({"/": replies(200, "state: READY (3 of 3)")})
    assert (await look("http", url, {"pattern": r"READY \(\d of 3\)"})).status is Status.PASS
    outcome = await look("http", url, {"pattern": "LOADING"})
    assert (outcome.status, outcome.reason) == (Status.FAIL, "answer lacks the pattern")


async def test_an_answer_over_its_objective_is_slow(look: Look, site: Site) -> None:
    url = await site({"/": replies()})
    assert (await look("http", url, {"slow": 1e-9})).status is Status.SLOW
    assert (await look("http", url, {"slow": 60.0})).status is Status.PASS


async def test_the_version_label_comes_from_a_header_or_the_body(look: Look, model_server: ModelServer) -> None:
    model_server.mode("healthy", version="2024-07")
    by_header = await look("http", model_server.url, {"path": "/health", "version": {"header": "X-Model-Version"}})
    by_path = await look("http", model_server.url, {"path": "/version", "version": {"path": "version"}})
    assert (by_header.version, by_path.version) == ("2024-07", "2024-07")


async def test_nobody_there_is_refused(look: Look) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        outcome = await look("http", f"http://127.0.0.1:{held.getsockname()[1]}", {"path": "/health"})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


async def test_accepting_and_never_answering_times_out(look: Look, model_server: ModelServer) -> None:
    model_server.mode("hang")
    outcome = await look("http", model_server.url, {"path": "/health"}, within_s=0.3)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True)


async def test_a_frozen_process_times_out_and_its_return_is_seen(look: Look, model_server: ModelServer) -> None:
    assert (await look("http", model_server.url, {"path": "/health"})).status is Status.PASS
    model_server.pause()
    try:
        frozen = await look("http", model_server.url, {"path": "/health"}, within_s=0.3)
    finally:
        model_server.resume()
    assert (frozen.status, frozen.transport) == (Status.FAIL, True)
    assert (await look("http", model_server.url, {"path": "/health"})).status is Status.PASS


async def test_a_kept_connection_of_a_killed_process_is_no_false_pass(look: Look, model_server: ModelServer) -> None:
    assert (await look("http", model_server.url, {"path": "/health"})).status is Status.PASS
    model_server.kill()
    outcome = await look("http", model_server.url, {"path": "/health"})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


async def test_a_server_that_closes_idle_connections_is_no_false_fail(look: Look, serve: Any) -> None:
    """Answers once, then closes while idle: the next look meets a dead connection in the pool."""
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await reader.read(1)  # the next request arrives, and the connection closes on it
        closed.set()

    url = f"http://127.0.0.1:{await serve(handler)}"
    assert (await look("http", url)).status is Status.PASS
    assert (await look("http", url)).status is Status.PASS
    assert closed.is_set()


async def test_one_look_is_one_attempt(look: Look, serve: Any) -> None:
    """A second, silent attempt would hide every other failure of a flaky endpoint."""
    attempts: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    url = f"http://127.0.0.1:{await serve(handler)}"
    outcome = await look("http", url)
    assert (outcome.status, outcome.transport) == (Status.FAIL, True)
    assert len(attempts) == 1


async def connections(url: str, look: Look, looks: int, settings: dict[str, Any], seen: set[Any]) -> int:
    for _ in range(looks):
        assert (await look("http", url, settings)).status is Status.PASS
    return len(seen)


async def test_connections_are_kept_and_renewed(look: Look, site: Site) -> None:
    seen: set[Any] = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        seen.add(request.transport.get_extra_info("peername"))
        return web.Response()

    url = await site({"/": handler})
    # The first look opens the kept one; looks 10 and 20 open one each.
    assert await connections(url, look, 25, {"fresh_every": 10}, seen) == 3
    await look("http", url, {"fresh_every": 10}, fresh=True)
    assert len(seen) == 4
    seen.clear()
    assert await connections(url, look, 5, {"fresh_every": 1}, seen) == 5


def test_after_a_bad_look_connections_are_new_until_one_is_well() -> None:
    turns = Turns(10)
    assert turns.next("a") == (0, False)
    turns.ended("a", well=False)
    assert turns.next("a") == (1, True)
    assert turns.next("b") == (0, False)
    turns.ended("a", well=True)
    assert turns.next("a") == (2, False)


async def test_an_address_stands_in_for_the_name(look: Look, site: Site) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Host"])
        return web.Response()

    port = (await site({"/": handler})).rpartition(":")[2]
    outcome = await look("http", f"http://chat.example.invalid:{port}", address="127.0.0.1")
    assert (outcome.status, outcome.stages.dns_s) == (Status.PASS, None)
    assert seen == [f"chat.example.invalid:{port}"]


async def test_a_name_that_does_not_exist_blames_nobody(look: Look) -> None:
    outcome = await look("http", "http://nobody.invalid/", within_s=5.0)
    assert outcome.status is Status.ERROR
    assert not outcome.transport


async def test_redirects(look: Look, site: Site) -> None:
    other = await site({"/": replies()})
    url = await site(
        {
            "/same": replies(302, Location="/end"),
            "/end": replies(),
            "/away": replies(307, Location=f"{other}/"),
            "/metadata": replies(302, Location="http://169.254.169.254/latest/meta-data/"),
            "/loop": replies(302, Location="/loop"),
            "/nonsense": replies(302, Location="http://[bad"),
        }
    )

    async def reason(path: str, **settings: Any) -> str | None:
        outcome = await look("http", url, {"path": path, **settings})
        assert outcome.status is (Status.PASS if outcome.reason is None else Status.FAIL)
        return outcome.reason

    assert await reason("/same") == "HTTP 302: redirect"
    assert await reason("/same", follow=True) is None
    assert await reason("/same", status=302) is None
    assert await reason("/away", follow=True) == "HTTP 307: redirect to another host"
    assert await reason("/metadata", follow=True) == "HTTP 302: redirect to another host"
    assert await reason("/loop", follow=True) == "too many redirects"
    assert await reason("/nonsense", follow=True) == "HTTP 302: redirect to something that is no URL"


async def test_a_body_can_be_posted(look: Look, site: Site) -> None:
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, await request.text()))
        return web.Response()

    url = await site({"/": handler})
    settings = {"method": "POST", "body": '{"model": "$model"}'}
    assert (await look("http", url, settings, model="m1")).status is Status.PASS
    assert seen == [("POST", '{"model": "m1"}')]


async def test_overlapping_looks_do_not_disturb_each_other(look: Look, model_server: ModelServer) -> None:
    """Confirms overlap: each has its own clock and connection."""
    outcomes = await asyncio.gather(
        *(look("http", model_server.url, {"path": "/health"}, fresh=True) for _ in range(20))
    )
    assert {outcome.status for outcome in outcomes} == {Status.PASS}
    assert all(outcome.stages.connect_s is not None for outcome in outcomes)


@pytest.mark.parametrize("where", ["mailto:a@b", "foo:bar", "https:x", "http://[::1", "data:,x"])
async def test_a_redirect_to_no_web_address_is_the_targets_fault(look: Look, answer: Answer, where: str) -> None:
    url = await answer(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())
    outcome = await look("http", url, {"follow": True})
    assert (outcome.status, outcome.transport) == (Status.FAIL, False), outcome
    assert (outcome.reason or "").startswith("HTTP 302: redirect to "), outcome
