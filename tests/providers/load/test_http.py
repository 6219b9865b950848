"""A healthy zone drained in steps and restored behind real proxies, under load: no request fails, and the split is the plan's."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Context, Provider
from tests.support.envoy import Envoy
from tests.support.haproxy import HAProxy
from tests.support.model_row import Load, ModelRow
from tests.support.servers import free_port
from tests.support.wait import until

pytestmark = pytest.mark.slow

ZONES = ("za", "zb", "zc")
SEQ = itertools.count(1)
SAMPLE = 1000
"""Proxies take turns by weight and do not draw, so that the split is right to a few requests."""

STEPS = (1.0, 0.75, 0.5, 0.25, 0.0, 0.05, 0.25, 0.5, 1.0)
"""Of its part, how much the zone has: the ramp's steps down and up (decisions.md, section 9)."""


@pytest.fixture
def row() -> Iterator[ModelRow]:
    with ModelRow(*ZONES, delay_s=0.002) as made:
        yield made


def make(kind: str, settings: dict[str, Any]) -> Provider:
    return registry.build(Context(Fleet(name="acme"), ProviderSpec("edge", kind, settings=settings), lambda _: ""))


@asynccontextmanager
async def proxied(form: str, row: ModelRow) -> AsyncIterator[tuple[Provider, int]]:
    """A provider, and the port of the proxy it steers."""
    with tempfile.TemporaryDirectory(prefix="edge") as name:
        folder, port = Path(name), free_port()
        proxy: HAProxy | Envoy
        if form.startswith("haproxy"):
            backends = {"chat": {z: (row.address[z], 100) for z in ZONES}}
            proxy = HAProxy(folder, backends, agent_port=port if form == "haproxy-agent" else None)
            how = {"agent": f"127.0.0.1:{port}"} if form == "haproxy-agent" else {"socket": f"unix:{proxy.admin}"}
            provider = make("haproxy", how)
        else:
            eds = Envoy.rest(port) if form == "envoy" else Envoy.file(folder / "chat.json")
            proxy = Envoy(folder, eds)
            provider = make(
                "envoy", {"listen": f"127.0.0.1:{port}"} if form == "envoy" else {"path": str(folder / "{name}.json")}
            )
        await provider.open()
        if isinstance(proxy, Envoy):  # it listens once it has its first assignment
            await write(provider, route(row), weights_of(provider, 1.0))
        await asyncio.to_thread(proxy.start)
        try:
            yield provider, proxy.port
        finally:
            proxy.stop()
            await provider.close()


def route(row: ModelRow) -> Route:
    targets = tuple(Target(z, (z,), {z: (row.address[z],)}, server=z) for z in ZONES)
    return Route(key="edge/chat", service="chat", provider="edge", name="chat", per="zone", targets=targets)


def weights_of(provider: Provider, part: float) -> dict[str, int]:
    """40, 35 and 25% with `part` of the first left, in the system's own range."""
    top = provider.capabilities.weight_max
    shares = {"za": 0.4 * part, "zb": 0.35 + 0.2 * (1 - part), "zc": 0.25 + 0.2 * (1 - part)}
    return {z: round(s / max(shares.values()) * top) for z, s in shares.items()}


async def write(provider: Provider, where: Route, weights: dict[str, int]) -> None:
    end = asyncio.get_running_loop().time() + 10
    values = {t.key: tuple(v for vs in t.values.values() for v in vs) for t in where.targets}
    desired = Desired(tuple(Member(z, w, values[z] if w else ()) for z, w in weights.items()))
    change = provider.translate(where, desired, await provider.read(where, end), Fence("acme", 1, next(SEQ), "p"))
    if not change.nothing:
        await provider.apply(change, end)
    while not (verified := await provider.verify(where, change, end)).in_sync:
        assert asyncio.get_running_loop().time() < end, verified.text
        await asyncio.sleep(0.01)


async def settled(load: Load, weights: dict[str, int]) -> None:
    """Until traffic has moved: a file is watched by Envoy itself, which does not tell when it has taken it."""
    total = sum(weights.values())
    end = asyncio.get_running_loop().time() + 20
    while True:
        counted = load.since_now()
        await until(lambda c=counted: c.total() >= SAMPLE, 20)
        if all(abs(counted[z] / counted.total() - w / total) < 0.02 for z, w in weights.items()):
            return
        assert asyncio.get_running_loop().time() < end, (weights, counted)


@pytest.mark.parametrize("form", ["haproxy", "haproxy-agent", "envoy", "envoy-file"])
async def test_a_gray_drain_of_a_healthy_zone_loses_no_request(row: ModelRow, form: str) -> None:
    async with proxied(form, row) as (provider, port):
        where = route(row)
        with Load(port, clients=16) as load:
            for part in STEPS:
                weights = weights_of(provider, part)
                await write(provider, where, weights)
                await settled(load, weights)
                if part == 0.0:
                    counted = load.since_now()
                    await until(lambda c=counted: c.total() >= SAMPLE, 20)
                    assert counted["za"] <= 16, "only what was on its way"
            requests = load.total
        assert load.failed == []
        assert requests >= SAMPLE
