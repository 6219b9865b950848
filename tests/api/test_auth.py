"""Who may what, by the way they came in."""

from __future__ import annotations

import aiohttp
import pytest

from steerd.api.auth import _host_of, _is_loopback
from tests.support import scripted

READS = ["/", "/app.js", "/v1/status", "/v1/explain/z1", "/v1/plan", "/v1/history", "/v1/openapi.json", "/v1/events"]
OPEN = ["/livez", "/readyz", "/metrics", "/beacon/z1"]


@pytest.fixture
def from_afar(monkeypatch):
    """Every TCP connection counts as one from another host."""
    monkeypatch.setattr("steerd.api.auth._from_loopback", lambda request: False)


async def test_loopback_reads(api):
    for path in READS[:-1] + OPEN:
        async with api.tcp.get(path) as r:
            assert r.status == 200, path


async def test_elsewhere_reads_only_what_is_open(api, from_afar):
    for path in READS:
        async with api.tcp.get(path) as r:
            assert r.status == 403, path
            assert "loopback" in (await r.json(content_type=None))["detail"]
    for path in OPEN:
        async with api.tcp.get(path) as r:
            assert r.status == 200, path


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_proxy_on_this_host_does_not_lend_its_address(api, header):
    async with api.tcp.get("/v1/status", headers={header: "203.0.113.9"}) as r:
        assert r.status == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:7443", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:1", 200),
        ("[::1]:7443", 200),
        ("LOCALHOST", 200),
        ("steerd.internal:7443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("203.0.113.9", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
async def test_another_hosts_name_is_refused(api, host, status):
    async with api.tcp.get("/v1/status", headers={"Host": host}) as r:
        assert r.status == status
    async with api.tcp.get("/livez", headers={"Host": host}) as r:
        assert r.status == 200, "health checks send what they like"


async def connect(api, name, session=None, **headers):
    """The status of an attempt to open the stream of `name`: 101 when it opened."""
    try:
        async with (session or api.tcp).ws_connect(f"/v1/agents/{name}/stream", headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


BEARER = {"Authorization": "Bearer alpha-token"}


async def test_an_agent_with_a_token_needs_it(api):
    assert await connect(api, "a", **BEARER) == 101
    assert await connect(api, "a", Authorization="bearer alpha-token") == 101
    assert await connect(api, "a") == 401
    assert await connect(api, "a", Authorization="Bearer alpha-toke") == 401
    assert await connect(api, "a", Authorization="Bearer") == 401
    assert await connect(api, "a", Authorization="Basic alpha-token") == 401
    assert await connect(api, "a", Authorization="Bearer é") == 401


async def test_the_socket_is_no_way_around_an_agents_token(api):
    assert await connect(api, "a", api.unix) == 401
    assert await connect(api, "b", api.unix) == 101


async def test_an_agent_without_a_token_is_believed_from_loopback_only(api, monkeypatch):
    assert await connect(api, "b") == 101
    monkeypatch.setattr("steerd.api.auth._from_loopback", lambda request: False)
    assert await connect(api, "b") == 401
    assert await connect(api, "b", **BEARER) == 401
    assert await connect(api, "a", **BEARER) == 101


async def test_a_stranger_learns_no_names(api, from_afar):
    assert await connect(api, "b") == await connect(api, "nobody") == await connect(api, "a") == 401


async def test_unknown_agents_are_told_so_at_home(api):
    assert await connect(api, "nobody") == 404


async def test_one_agents_token_is_not_anothers(api):
    assert await connect(api, "lost", **BEARER) == 503


async def test_a_token_the_coordinator_cannot_read_lets_nobody_in(api):
    assert await connect(api, "lost", Authorization="Bearer ") == 503
    assert await connect(api, "lost") == 503


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:7443", "null"])
async def test_pages_open_no_streams(api, origin):
    assert await connect(api, "b", Origin=origin) == 403
    assert await connect(api, "a", Origin=origin, **BEARER) == 403


async def test_a_rotated_token_counts_at_once(api, monkeypatch):
    assert await connect(api, "a", **BEARER) == 101
    monkeypatch.setitem(scripted.SECRETS, "TOKEN_A", "beta-token\n")
    assert await connect(api, "a", **BEARER) == 401
    assert await connect(api, "a", Authorization="Bearer beta-token") == 101


def test_loopback_addresses():
    for yes in ("127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"):
        assert _is_loopback(yes), yes
    for no in ("", "localhost", "128.0.0.1", "::2", "::ffff:10.0.0.1", "0.0.0.0", "::"):
        assert not _is_loopback(no), no


def test_host_headers():
    assert _host_of("A.Example:80") == "a.example"
    assert _host_of("[::1]:1") == "::1"
    assert _host_of("a@b") == "b"
    assert _host_of("[") == ""


async def test_a_peer_without_a_name(api, monkeypatch):
    monkeypatch.setattr("steerd.api.auth.pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    async with api.unix.delete("/v1/freeze") as r:
        assert r.status == 200
    assert api.coordinator.commands[0].by.startswith("uid ")


async def test_tokens_are_compared_in_constant_time(api, monkeypatch):
    seen = []
    monkeypatch.setattr("steerd.api.auth.hmac.compare_digest", lambda a, b: bool(seen.append((a, b))))
    assert await connect(api, "a", **BEARER) == 401
    assert seen == [(b"alpha-token", b"alpha-token")]
