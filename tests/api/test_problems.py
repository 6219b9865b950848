"""Every error is an RFC 9457 document that says what happened and what to do instead."""

from __future__ import annotations

import json
import logging

import pytest

from steerd.api.app import BODY_MAX
from steerd.api.problems import CLIENT_GONE
from steerd.core.effects import Answer

DRAIN = {"name": "z1", "reason": "kernel"}


async def problem(response):
    assert response.content_type == "application/problem+json", await response.text()
    document = await response.json(content_type=None)
    assert document["status"] == response.status
    assert document["title"]
    assert document["type"] == "about:blank" or document["type"].startswith("urn:steerd:problem:")
    assert len(document["detail"]) > 10, "a detail is a sentence for its reader"
    assert document["instance"] == response.url.path
    return document


async def test_unknown_paths(api):
    for path in ("/v1/nothing", "/v2/status", "/admin", "/v1/drains/z1/more", "/..%2f..%2fetc/passwd"):
        async with api.tcp.get(path) as r:
            assert r.status == 404
            await problem(r)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/status", "GET, HEAD"),
        ("GET", "/v1/drains", "POST"),
        ("GET", "/v1/freeze", "DELETE, POST"),
        ("PUT", "/v1/pins", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("HEAD", "/v1/events", "GET"),
    ],
)
async def test_wrong_methods(api, method, path, allowed):
    async with api.unix.request(method, path) as r:
        assert r.status == 405
        assert r.headers["Allow"] == allowed
        if method != "HEAD":
            await problem(r)


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/drains", {"name": "z1"}, "/reason"),
        ("/v1/drains", {"name": "z1", "reason": ""}, "/reason"),
        ("/v1/drains", {"name": "", "reason": "x"}, "/name"),
        ("/v1/drains", {"name": 3, "reason": "x"}, "/name"),
        ("/v1/drains", DRAIN | {"for_s": -1}, "/for_s"),
        ("/v1/drains", DRAIN | {"for_s": "1h"}, "/for_s"),
        ("/v1/drains", DRAIN | {"now": "yes"}, "/now"),
        ("/v1/drains", DRAIN | {"forse": True}, "/forse"),
        ("/v1/drains", [], ""),
        ("/v1/drains", "z1", ""),
        ("/v1/pins", {"name": "z1", "share": 1.5, "reason": "x"}, "/share"),
        ("/v1/pins", {"name": "z1", "share": -0.1, "reason": "x"}, "/share"),
        ("/v1/pins", {"name": "z1", "reason": "x"}, "/share"),
        ("/v1/pins", {"name": "z1", "share": 0.5}, "/reason"),
        ("/v1/freeze", {}, "/reason"),
        ("/v1/freeze", {"reason": "x" * 501}, "/reason"),
    ],
)
async def test_bodies_are_checked_and_the_place_is_named(api, path, body, pointer):
    async with api.unix.post(path, json=body) as r:
        assert r.status == 400
        document = await problem(r)
        assert [e["pointer"] for e in document["errors"]] == [pointer]
    assert not api.coordinator.commands


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"name": NaN}', b'{"name": "\xff"}'])
async def test_bodies_that_are_not_json(api, data):
    async with api.unix.post("/v1/drains", data=data, headers={"Content-Type": "application/json"}) as r:
        assert r.status == 400
        await problem(r)


async def test_a_form_is_not_a_command(api):
    async with api.unix.post("/v1/drains", data=DRAIN) as r:
        assert r.status == 415
        await problem(r)


async def test_bodies_are_bounded(api):
    body = json.dumps(DRAIN | {"reason": "x" * BODY_MAX}).encode()
    async with api.unix.post("/v1/drains", data=body, headers={"Content-Type": "application/json"}) as r:
        assert r.status == 413
        await problem(r)
    assert not api.coordinator.commands


async def test_a_veto_keeps_the_guards_words(api):
    api.coordinator.says = Answer("x", "vetoed", "max_zones_drained: z2 is out already", {"veto": {"guard": "blast"}})
    async with api.unix.post("/v1/drains", json=DRAIN) as r:
        assert r.status == 409
        document = await problem(r)
    assert document["type"] == "urn:steerd:problem:vetoed"
    assert document["data"] == {"veto": {"guard": "blast"}}
    assert "z2 is out already" in document["detail"]


async def test_what_the_core_finds_invalid(api):
    api.coordinator.says = Answer("x", "invalid", "nothing is called z9 here")
    async with api.unix.post("/v1/drains", json=DRAIN | {"name": "z9"}) as r:
        assert r.status == 422
        assert (await problem(r))["detail"] == "nothing is called z9 here"


@pytest.mark.parametrize("result", ["not-leading", "not-persisted"])
async def test_what_cannot_be_done_now(api, result):
    api.coordinator.says = Answer("x", result, "c2 leads: ask there")
    async with api.unix.post("/v1/drains", json=DRAIN) as r:
        assert r.status == 503
        assert (await problem(r))["type"] == f"urn:steerd:problem:{result}"


async def test_a_config_that_cannot_be_accepted(api):
    api.accepts.append("the file is bad: line 3")
    async with api.unix.post("/v1/config/accept") as r:
        assert r.status == 409
        assert (await problem(r))["detail"] == "the file is bad: line 3"
    api.accepts.append(None)
    async with api.unix.post("/v1/config/accept") as r:
        assert r.status == 200


async def test_a_bug_is_a_500_without_its_insides(api, monkeypatch, caplog):
    def broken() -> dict:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.coordinator, "plan", broken)
    with caplog.at_level(logging.ERROR):
        async with api.tcp.get("/v1/plan") as r:
            assert r.status == 500
            assert "secret detail" not in json.dumps(await problem(r))
    assert "secret detail" in caplog.text


async def test_a_stream_without_upgrade(api):
    async with api.tcp.get("/v1/agents/b/stream") as r:
        assert r.status == 426
        await problem(r)


async def test_a_client_that_went_away_is_no_error_of_ours(api, monkeypatch, caplog):
    """An agent that gave up while we stood still: a traceback for each would bury what matters."""

    def gone() -> dict:
        raise ConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(api.coordinator, "plan", gone)
    with caplog.at_level(logging.WARNING):
        async with api.tcp.get("/v1/plan") as r:
            assert r.status == CLIENT_GONE
    assert caplog.text == ""
