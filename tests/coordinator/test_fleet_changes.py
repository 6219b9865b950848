"""A fleet that changes under a coordinator, on the real clock, a real SQLite file and the embedded name server.

What left the config leaves the record, whether the coordinator runs meanwhile or not; what is new is read and published.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message

from steerd.coordinator.clock import SystemClock
from steerd.coordinator.coordinator import Coordinator
from steerd.model.fleet import Fleet, ProviderSpec
from steerd.providers.base import Context
from steerd.providers.embedded.client import Embedded
from steerd.stores.sqlite import SqliteStore
from tests.coordinator.rig import Agents
from tests.support.dnsclient import texts
from tests.support.fleets import make_fleet
from tests.support.servers import free_port
from tests.support.wait import until

ENDPOINTS = ("eua-1", "eub-1", "euc-1", "usa-1")
ADDRESS = {name: f"203.0.{i}.1" for i, name in enumerate(ENDPOINTS)}


def without(fleet: Fleet, *gone: str) -> Fleet:
    """The config without these endpoints: neither the service nor its routes name them."""
    service = fleet.services[0]
    kept = tuple(e for e in service.endpoints if e.name not in gone)
    routes = tuple(replace(r, targets=tuple(t for t in r.targets if t.key not in gone)) for r in service.routes)
    name = "-".join(("without", *gone))
    return replace(fleet, services=(replace(service, endpoints=kept, routes=routes),), config_hash=name)


def with_route(fleet: Fleet, name: str) -> Fleet:
    """The config with a second record beside the first."""
    service = fleet.services[0]
    more = replace(service.routes[0], key=f"dns/{name}", name=name)
    return replace(fleet, services=(replace(service, routes=(*service.routes, more)),), config_hash=f"with-{name}")


class World:
    """What outlives a coordinator: its files and the port of its name server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = {"zone": "test", "listen": f"127.0.0.1:{free_port()}", "answers": 8, "state": str(folder / "zone")}
        fleet = make_fleet({"eu": 3, "us": 1}, per_zone=1, demand=None)
        self.fleet = replace(fleet, providers=(ProviderSpec("dns", "embedded", settings=settings),))
        self.provider: Embedded

    @asynccontextmanager
    async def running(self, fleet: Fleet) -> AsyncIterator[Coordinator]:
        self.provider = Embedded(Context(fleet, fleet.providers[0], lambda _: ""))
        store = SqliteStore(self.folder / "steerd.db", "co")
        made = Coordinator(fleet, "co", store=store, providers={"dns": self.provider}, clock=SystemClock())
        agents = Agents(fleet)
        stop = asyncio.Event()
        run = asyncio.ensure_future(made.run(stop))
        votes = asyncio.ensure_future(self._vote(agents, made))
        try:
            await until(lambda: made.ready()[0], 10)
            yield made
        finally:
            stop.set()
            votes.cancel()
            await asyncio.gather(votes, return_exceptions=True)
            await run

    async def _vote(self, agents: Agents, coordinator: Coordinator) -> None:
        while True:
            agents.fleet = coordinator.fleet
            agents.send(coordinator)
            await asyncio.sleep(0.1)

    async def serves(self, coordinator: Coordinator, *endpoints: str, name: str = "chat.test") -> None:
        """Waits until the record holds exactly these, is in sync, and says so over the wire."""
        await until(
            lambda: route(coordinator, name).get("in_sync") and members(coordinator, name) == set(endpoints), 20
        )
        where = self.provider.address
        assert where is not None
        answer = await dns.asyncquery.udp(dns.message.make_query(name, "A"), where.host, timeout=2, port=where.port)
        assert set(texts(answer, "A")) == {ADDRESS[e] for e in endpoints}


def route(coordinator: Coordinator, name: str) -> dict[str, Any]:
    found = [r for r in coordinator.status()["services"]["chat"]["routes"] if r["name"] == name]
    return found[0] if found else {}


def members(coordinator: Coordinator, name: str) -> set[str]:
    return {t for t, w in (route(coordinator, name).get("observed") or {}).items() if w > 0}


async def test_an_endpoint_that_left_the_config_leaves_the_record_and_stays_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    smaller = without(world.fleet, "eua-1")
    async with world.running(world.fleet) as coordinator:
        await world.serves(coordinator, *ENDPOINTS)
        assert coordinator.reload(smaller) is None
        await world.serves(coordinator, "eub-1", "euc-1", "usa-1")
    async with world.running(smaller) as coordinator:
        await world.serves(coordinator, "eub-1", "euc-1", "usa-1")
        assert not coordinator.status()["alerts"]


async def test_an_endpoint_that_left_the_config_while_nobody_led_leaves_the_record(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.running(world.fleet) as coordinator:
        await world.serves(coordinator, *ENDPOINTS)
    async with world.running(without(world.fleet, "eua-1")) as coordinator:
        await world.serves(coordinator, "eub-1", "euc-1", "usa-1")
    async with world.running(without(world.fleet, "eua-1", "usa-1")) as coordinator:
        await world.serves(coordinator, "eub-1", "euc-1")
        assert not coordinator.status()["alerts"]


async def test_a_name_server_that_forgot_everything_serves_it_again(tmp_path: Path) -> None:
    """No state file, or one moved away: the journal still knows what is to be served."""
    world = World(tmp_path)
    smaller = without(world.fleet, "eua-1")
    async with world.running(world.fleet) as coordinator:
        await world.serves(coordinator, *ENDPOINTS)
        assert coordinator.reload(smaller) is None
        await world.serves(coordinator, "eub-1", "euc-1", "usa-1")
    (tmp_path / "zone").unlink()
    async with world.running(smaller) as coordinator:
        await world.serves(coordinator, "eub-1", "euc-1", "usa-1")
        assert not coordinator.status()["alerts"]


async def test_a_route_added_by_a_reload_is_read_and_published(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.running(world.fleet) as coordinator:
        await world.serves(coordinator, *ENDPOINTS)
        assert coordinator.reload(with_route(world.fleet, "more.test")) is None
        await world.serves(coordinator, *ENDPOINTS, name="more.test")
        await world.serves(coordinator, *ENDPOINTS)
