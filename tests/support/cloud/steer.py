"""Building a provider and writing through it, as the coordinator does, and what every provider on an HTTP API must stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.providers import registry
from steerd.providers.base import Context, Misconfigured, Provider, ProviderError, Throttled, Unreachable
from tests.support.aws.steer import deadline, desired, fence, prepare, route, write
from tests.support.cloud.http import HttpError, JsonServer, LoseAnswer

__all__ = ["build", "deadline", "desired", "fence", "prepare", "route", "stands_common_faults", "write"]


def build(kind: str, settings: Mapping[str, Any], secret: str = "hunter2") -> Provider:
    spec = ProviderSpec("it", kind, settings={"calls_per_s": 1000.0, **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: secret))


async def failing(
    server: JsonServer, fault: Any, provider: Provider, of: Any, weights: dict[str, int], by: Any
) -> ProviderError:
    change = await prepare(provider, of, weights, by)
    server.faults.append(fault)
    with pytest.raises(ProviderError) as caught:
        await provider.apply(change, deadline(2.0))
    return caught.value


async def stands_common_faults(
    server: JsonServer, provider: Provider, of: Any, writes: str, *, renews: bool = False
) -> None:
    """Errors of the API come out typed, each with what to do (`renews`: a 401 is one token more); a lost answer is read back;
    a throttle holds back all calls."""
    await write(provider, of, {"za": 1, "zb": 1, "zc": 1}, fence(1, 1))
    for status, kind in ((401, Misconfigured), (403, Misconfigured), (500, Unreachable), (503, Unreachable)):
        if renews and status == 401:
            continue
        fault = (writes, HttpError(status, {"message": "said no", "error": {"message": "said no"}}))
        error = await failing(server, fault, provider, of, {"za": 0, "zb": 1, "zc": 1}, fence(1, 2))
        assert isinstance(error, kind), error
        assert str(status) in error.text
        assert "said no" in error.text
        assert error.action
        assert "hunter2" not in error.text + error.action
        assert not server.faults
    error = await failing(server, (writes, LoseAnswer()), provider, of, {"za": 0, "zb": 1, "zc": 1}, fence(1, 3))
    assert isinstance(error, Unreachable)
    found = await provider.read(of, deadline())
    assert found.weights["za"] == 0, "it was carried out, and reading back shows it"
    assert provider.translate(of, desired(of, found.weights), found, fence(1, 4)).nothing
    slowly = (writes, HttpError(429, {"message": "slowly"}, Retry_After="33"))
    error = await failing(server, slowly, provider, of, {"za": 1, "zb": 1, "zc": 1}, fence(1, 5))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 33
    asked = len(server.asked)
    with pytest.raises(Throttled):
        await provider.read(of, deadline())
    assert len(server.asked) == asked, "nothing is sent before the time the API named"
