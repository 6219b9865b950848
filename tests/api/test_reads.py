"""What is read: shapes, who may, and what a wrong question gets."""

from __future__ import annotations

import pytest

from steerd.stores.base import StoreUnavailable
from tests.support.wait import until


async def test_steerd_about_itself(api):
    async with api.tcp.get("/livez") as r:
        assert (r.status, await r.text()) == (200, "ok\n")
    async with api.tcp.get("/readyz") as r:
        assert (r.status, await r.text()) == (200, "leading\n")
    async with api.tcp.get("/metrics") as r:
        assert r.status == 200
        assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "steerd_leader 1" in await r.text()


async def test_not_ready_says_why(api):
    api.coordinator.readiness = (False, "the store does not answer")
    async with api.tcp.get("/readyz") as r:
        assert r.status == 503
        assert r.content_type == "application/problem+json"
        assert (await r.json(content_type=None))["detail"] == "the store does not answer"


async def test_status_is_the_coordinators(api):
    async with api.tcp.get("/v1/status") as r:
        assert r.status == 200
        assert r.headers["Cache-Control"] == "no-store"
        assert await r.json() == api.coordinator.told


async def test_times_are_iso_8601(api):
    api.coordinator.told |= {
        "time": 1.5,
        "frozen": {"by": "ann", "since": 1, "until": None},
        "services": {
            "chat": {
                "health": "healthy",
                "diagnosis": {"kind": "zone", "since": 3.0},
                "endpoints": {"e": {"since": 0.0, "share": 1.0}, "f": {"since": 60.0}},
                "routes": [{"accepted_at": 2.0, "authoritative_at": None}],
            }
        },
        "drains": [{"since": 1, "until": 86400}],
    }
    async with api.tcp.get("/v1/status") as r:
        told = await r.json()
    assert told["time"] == "1970-01-01T00:00:01.500Z"
    assert told["frozen"] == {"by": "ann", "since": "1970-01-01T00:00:01.000Z", "until": None}
    chat = told["services"]["chat"]
    assert chat["diagnosis"]["since"] == "1970-01-01T00:00:03.000Z"
    assert chat["endpoints"] == {"e": {"since": None, "share": 1.0}, "f": {"since": "1970-01-01T00:01:00.000Z"}}
    assert chat["routes"] == [{"accepted_at": "1970-01-01T00:00:02.000Z", "authoritative_at": None}]
    assert told["drains"] == [{"since": "1970-01-01T00:00:01.000Z", "until": "1970-01-02T00:00:00.000Z"}]


async def test_a_store_without_an_answer(api, monkeypatch):
    async def fails(since, limit):
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(api.coordinator, "history", fails)
    async with api.tcp.get("/v1/history") as r:
        assert r.status == 503
        assert "disk full" in (await r.json(content_type=None))["detail"]


async def test_explain(api):
    async with api.tcp.get("/v1/explain/z1") as r:
        assert (await r.json())["kind"] == "zone"
    async with api.tcp.get("/v1/explain/nobody%2Felse") as r:
        assert r.status == 404
        assert "'nobody/else'" in (await r.json(content_type=None))["detail"]


async def test_plan(api):
    async with api.unix.get("/v1/plan") as r:
        assert "chat" in (await r.json())["services"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["drain", "restored"]),
        ("?since=1.5", ["restored"]),
        ("?since=1970-01-01T00:00:02Z", ["restored"]),
        ("?since=1970-01-01T01:00:02+01:00", ["restored"]),
        ("?limit=1", ["restored"]),
        ("?since=99", []),
    ],
)
async def test_history(api, query, expected):
    async with api.tcp.get(f"/v1/history{query}") as r:
        assert [e["kind"] for e in (await r.json())["events"]] == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("since=yesterday", "since"),
        ("since=nan", "since"),
        ("since=2030-01-31T09:00", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=9999999999999999999999", "limit"),
    ],
)
async def test_history_names_the_bad_parameter(api, query, parameter):
    async with api.tcp.get(f"/v1/history?{query}") as r:
        assert r.status == 400
        problem = await r.json(content_type=None)
        assert [e["parameter"] for e in problem["errors"]] == [parameter]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/beacon/z1", 200),
        ("/beacon/z1?inverted", 503),
        ("/beacon/z2", 503),
        ("/beacon/z2?inverted", 200),
        ("/beacon/z2?inverted=1", 200),
        ("/beacon/nobody", 404),
        ("/beacon/nobody?inverted", 404),
    ],
)
async def test_beacon(api, path, status):
    for method in ("GET", "HEAD"):
        async with api.tcp.request(method, path) as r:
            assert r.status == status


async def test_the_page_runs_nothing_from_elsewhere(api):
    async with api.tcp.get("/") as r:
        assert r.status == 200
        assert r.content_type == "text/html"
        policy = r.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        html = await r.text()
    assert "style=" not in html
    assert " on" not in html.replace(" one", ""), "no inline handlers"
    for path, kind in (("/app.js", "text/javascript"), ("/app.css", "text/css"), ("/icon.svg", "image/svg+xml")):
        assert path in html
        async with api.tcp.get(path) as r:
            assert (r.status, r.content_type) == (200, kind)
            text = await r.text()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "innerHTML" not in text


async def test_events_are_sent_as_they_happen(api):
    async with api.tcp.get("/v1/events") as r:
        assert r.content_type == "text/event-stream"
        assert await r.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        await until(lambda: api.coordinator.subscribers)
        api.coordinator.tell({"kind": "drain", "text": "line\nbreak"})
        assert await r.content.readuntil(b"\n\n") == b'data: {"kind":"drain","text":"line\\nbreak"}\n\n'
        api.coordinator.tell(None)
        assert await r.content.read() == b""
    await until(lambda: not api.coordinator.subscribers)


async def test_a_reader_that_leaves_is_forgotten(api):
    async with api.tcp.get("/v1/events") as r:
        await r.content.readuntil(b"\n\n")
        await until(lambda: api.coordinator.subscribers)
        r.close()
    # The next write finds that nobody is there.
    for _ in range(3):
        api.coordinator.tell({"kind": "drain"})
    await until(lambda: not api.coordinator.subscribers)


async def test_readers_are_bounded(api, monkeypatch):
    monkeypatch.setattr("steerd.api.sse.WATCHERS_MAX", 1)
    async with api.tcp.get("/v1/events") as first:
        await first.content.readuntil(b"\n\n")
        async with api.tcp.get("/v1/events") as second:
            assert second.status == 503
            assert second.headers["Retry-After"] == "5"


async def test_a_quiet_stream_says_it_is_there(api, monkeypatch):
    monkeypatch.setattr("steerd.api.sse.KEEPALIVE_S", 0.01)
    async with api.tcp.get("/v1/events") as r:
        await r.content.readuntil(b"\n\n")
        assert await r.content.readuntil(b"\n\n") == b": still here\n\n"
