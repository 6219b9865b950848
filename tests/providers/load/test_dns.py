"""Zones drained and restored while clients ask: the measured split, and never an empty answer. Counts, no timings."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Context, Provider
from tests.support.dynamic_dns import DynamicServer
from tests.support.flood import Flood
from tests.support.knot import Knot
from tests.support.named import Named
from tests.support.pdns import Pdns
from tests.support.servers import free_port
from tests.support.wait import until

pytestmark = pytest.mark.slow

ZONE = "acme.example"
ADDRESS = {"za": "192.0.2.1", "zb": "192.0.2.2", "zc": "192.0.2.3"}
SEQ = itertools.count(1)
NAMES = itertools.count(1)

DURING_CHANGES = 10_000
SAMPLE = 16_000
"""With so many answers 2 points are five standard deviations of a fair draw, so a right split does not fail by chance."""

System = tuple[Provider, int]
"""A provider, and the port its zone is served on."""


def make(kind: str, settings: dict[str, object], secret: str) -> Provider:
    return registry.build(Context(Fleet(name="acme"), ProviderSpec("it", kind, settings=settings), lambda _: secret))


def embedded() -> System:
    port = free_port()
    return make("embedded", {"zone": ZONE, "listen": f"127.0.0.1:{port}"}, ""), port


def powerdns(server: Pdns, *, lua: bool) -> System:
    settings = {"url": server.url, "zone": ZONE, "api_key": Secret("env", "K"), "verify": (server.server,), "lua": lua}
    return make("powerdns", settings, server.api_key), server.port


def rfc2136(server: DynamicServer) -> System:
    settings = {"server": server.server, "zone": ZONE, "key": server.key, "secret": Secret("env", "K")}
    return make("rfc2136", settings, server.secret), server.port


@pytest.fixture
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    if request.param == "embedded":
        yield embedded()
        return
    kind = {"bind": Named, "knot": Knot}.get(request.param, Pdns)
    with kind(tmp_path) as server:
        assert isinstance(server, Pdns | Named | Knot)
        yield powerdns(server, lua=request.param == "powerdns") if isinstance(server, Pdns) else rfc2136(server)


def route() -> Route:
    name = f"r{next(NAMES)}.{ZONE}"
    targets = tuple(Target(z, (z,), {z: (a,)}) for z, a in ADDRESS.items())
    return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets, ttl_s=5.0)


@asynccontextmanager
async def opened(provider: Provider) -> AsyncIterator[None]:
    await provider.open()
    yield
    await provider.close()


async def write(provider: Provider, where: Route, weights: dict[str, int]) -> None:
    end = asyncio.get_running_loop().time() + 10
    members = (Member(z, weights.get(z, 0), (a,) if weights.get(z) else ()) for z, a in ADDRESS.items())
    observed = await provider.read(where, end)
    change = provider.translate(where, Desired(tuple(members)), observed, Fence("acme", 1, next(SEQ), "p"))
    if not change.nothing:
        await provider.apply(change, end)
    verified = await provider.verify(where, change, end)
    assert verified.in_sync, verified.text


EVERYTHING_MOVES = ({"za": 1}, {"zb": 1, "zc": 1}, {"za": 1, "zb": 1, "zc": 1}, {"zc": 1}, {"za": 1, "zb": 1})
"""Between two of them all that served may go."""


@pytest.mark.parametrize("system", ["embedded", "powerdns", "powerdns-membership", "bind", "knot"], indirect=True)
async def test_no_answer_is_ever_empty(system: System) -> None:
    provider, port = system
    where = route()
    async with opened(provider):
        await write(provider, where, EVERYTHING_MOVES[-1])
        async with Flood("127.0.0.1", port, where.name) as flood:
            for changes, weights in enumerate(itertools.cycle(EVERYTHING_MOVES)):
                await write(provider, where, weights)
                if flood.total >= DURING_CHANGES and changes >= 2 * len(EVERYTHING_MOVES):
                    break
            sent = flood.total
            await until(lambda: flood.total >= sent + 500, 20)  # what was under way while it was written
            counted = flood.since_now()
            total = flood.total
            await until(lambda: flood.total >= total + 500, 20)
    assert flood.empty == 0
    assert flood.lost == 0
    assert set(counted) == {ADDRESS[z] for z in weights}, "what is written is what is answered"


DRAIN = (1.0, 0.5, 0.0, 1.0)
"""Of its part, how much the zone has: a gray drain and its restoring, as the ramp steps through them."""


@pytest.mark.parametrize("system", ["embedded", "powerdns"], indirect=True)
async def test_a_zone_is_drained_and_restored_in_steps_as_planned(system: System) -> None:
    provider, port = system
    where = route()
    async with opened(provider):
        await write(provider, where, {"za": 4000, "zb": 3500, "zc": 2500})
        async with Flood("127.0.0.1", port, where.name) as flood:
            for part in DRAIN:
                kept = round(4000 * part)
                weights = {"za": kept, "zb": 3500 + (4000 - kept) // 2, "zc": 2500 + (4000 - kept) // 2}
                await write(provider, where, weights)
                counted = flood.since_now()
                await until(lambda c=counted: c.total() >= SAMPLE, 60)
                for zone, address in ADDRESS.items():
                    share = counted[address] / counted.total()
                    assert abs(share - weights[zone] / sum(weights.values())) < 0.02, (part, counted)
    assert (flood.empty, flood.lost) == (0, 0)
