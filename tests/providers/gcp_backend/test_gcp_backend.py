"""The gcp-backend provider against a local Compute Engine that holds Google's discovery document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Unreachable
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.google import give_credentials, google_error
from tests.support.cloud.steer import build, deadline, desired, fence, prepare, route, write

ALL = {"za": 100, "zb": 60, "zc": 40}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCompute]:
    made = LocalCompute()
    made.start()
    made.add("chat", {"za": 100, "zb": 100, "zc": 50})
    give_credentials(monkeypatch, tmp_path, made)
    yield made
    made.stop()


def provider(server: LocalCompute, **settings: Any) -> Provider:
    return build("gcp-backend", {"project": "acme", "endpoint_url": server.url, **settings})


def of(name: str = "chat") -> Route:
    return replace(route(name), types=(), settings={"groups": {z: group_url(z) for z in ALL}})


async def test_faults(server: LocalCompute) -> None:
    """The weights of the common faults are 0 and 1: here in tens."""
    made = provider(server)
    for status, reason, kind in (
        (401, "authError", Misconfigured),
        (403, "forbidden", Misconfigured),
        (503, "x", Unreachable),
    ):
        change = await prepare(made, of(), {"za": 0, "zb": 100, "zc": 10}, fence())
        server.faults.append(("PATCH", google_error(status, reason, "said no")))
        with pytest.raises(kind, match="said no") as caught:
            await made.apply(change, deadline())
        assert caught.value.action
    assert server.percents("chat") == {"za": 100, "zb": 100, "zc": 50}
    assert server.grants == 1, "one token for all calls"
    await made.close()


async def test_everything_else_stays_and_the_operation_is_followed(server: LocalCompute) -> None:
    made = provider(server)
    server.looks = 2
    change = await write(made, of(), ALL, fence(3, 4))
    found = server.services["chat"]
    assert server.percents("chat") == ALL
    assert found["description"] == f"of the chat team [steerd {change.fence.text}]"
    assert all(b["maxRatePerEndpoint"] == 5.0 and b["balancingMode"] == "RATE" for b in found["backends"])
    assert server.called.count("compute.globalOperations.get") == 2
    await write(made, of(), {**ALL, "za": 0}, fence(3, 5))
    assert found["description"].count("[steerd ") == 1
    await made.close()


async def test_a_writer_paused_before_its_write_is_refused_by_the_fingerprint(server: LocalCompute) -> None:
    old, new = provider(server), provider(server)
    paused = await prepare(old, of(), {"za": 100, "zb": 0, "zc": 0}, fence(1, 2))
    await write(new, of(), ALL, fence(2, 1))
    with pytest.raises(Conflict, match="412"):
        await old.apply(paused, deadline())
    assert server.percents("chat") == ALL
    await old.close()
    await new.close()


async def test_an_operation_that_fails_or_takes_too_long(server: LocalCompute) -> None:
    made = provider(server)
    change = await prepare(made, of(), ALL, fence())
    errors = {"errors": [{"code": "RESOURCE_NOT_READY", "message": "a group is not ready"}]}
    server.fails = {"error": errors, "httpErrorStatusCode": 400}
    with pytest.raises(Refused, match="a group is not ready"):
        await made.apply(change, deadline())
    server.fails = {"error": errors, "httpErrorStatusCode": 412}
    with pytest.raises(Conflict):
        await made.apply(change, deadline())
    server.looks = 1000
    with pytest.raises(Unreachable, match="still RUNNING"):
        await made.apply(change, deadline(0.6))
    assert (await made.read(of(), deadline())).weights == ALL, "reading back shows it"
    await made.close()


async def test_what_a_scaler_cannot_express(server: LocalCompute) -> None:
    made = provider(server)
    observed = await made.read(of(), deadline())
    for weight in (9, 101, -1):
        with pytest.raises(ValueError, match=f"weight {weight} "):
            made.translate(of(), desired(of(), {"za": weight, "zb": 100, "zc": 0}), observed, fence())
    server.add("chat", {"za": 100})
    observed = await made.read(of(), deadline())
    with pytest.raises(Misconfigured) as caught:
        made.translate(of(), desired(of(), ALL), observed, fence())
    assert "groups" in caught.value.action
    await made.close()


async def test_a_quota_holds_back_all_calls(server: LocalCompute) -> None:
    made = provider(server)
    server.faults.append(("GET", google_error(403, "rateLimitExceeded", "Rate Limit Exceeded")))
    with pytest.raises(Exception, match="Rate Limit") as caught:
        await made.read(of(), deadline())
    assert caught.value.retry_after_s > 0  # type: ignore[attr-defined]
    await made.close()
