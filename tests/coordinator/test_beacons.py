"""/beacon/NAME: the last stored decision, whatever else has failed since."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.core.events import OperatorCommand
from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Route, Target
from steerd.providers import registry
from steerd.providers.base import Context
from steerd.providers.memory import Memory
from steerd.stores.base import StoreUnavailable
from steerd.stores.memory import MemoryStore
from tests.coordinator.rig import Rig
from tests.support.fleets import make_fleet
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until


class Away:
    """A store that is away on demand."""

    def __init__(self) -> None:
        self.gone = False

    async def __call__(self, operation: str, phase: str) -> None:
        if phase == "before" and self.gone and operation not in ("open", "close"):
            raise StoreUnavailable("the disk is full")


def fleet(**settings: Any) -> Fleet:
    """With a `beacon` route per zone beside the one that carries the traffic."""
    base = make_fleet({"eu": 3, "us": 3})
    [service] = base.services
    zones: dict[str, list[str]] = {}
    for endpoint in service.endpoints:
        zones.setdefault(endpoint.zone, []).append(endpoint.name)
    targets = tuple(Target(z, tuple(names)) for z, names in zones.items())
    route = Route(key="health/chat", service="chat", provider="health", name="chat", per="zone", targets=targets)
    return replace(
        base,
        services=(replace(service, routes=(*service.routes, route)),),
        providers=(*base.providers, ProviderSpec("health", "beacon", settings=settings)),
    )


def start(rig: Rig, away: Away) -> Any:
    spec = rig.fleet.provider_by_name["health"]
    beacon = registry.build(Context(rig.fleet, spec, lambda _: ""))
    providers = {"dns": Memory(rig.system), "health": beacon}
    return rig.make(store=MemoryStore(rig.data, hook=away), providers=providers)


def drain(zone: str, *, now: bool = True) -> OperatorCommand:
    return OperatorCommand("1", "drain", "op", zone, "kernel", now=now)


async def well(rig: Rig, co: Any) -> None:
    await until(lambda: co.status()["coordinator"]["leading"], 30)
    await until(lambda: all(r["in_sync"] for r in co.status()["services"]["chat"]["routes"]), 60)


def test_a_route_of_beacons_is_planned_and_verified_like_any_other() -> None:
    async def main() -> None:
        rig = Rig(fleet=fleet())
        rig.publish()
        co = start(rig, Away())
        async with rig.running(co):
            await well(rig, co)
            assert co.beacon("eua") is True
            share = lambda: co.status()["services"]["chat"]["zones"]["eua"]["share"]  # noqa: E731
            assert (await co.command(drain("eua"))).result == "ok"
            assert co.beacon("eua") is False
            await until(lambda: share() == 0.0, 10)
            assert (await co.command(OperatorCommand("2", "restore", "op", "eua", "done"))).result == "ok"
            await until(lambda: share() > 0.0, 60)
            # A health check knows in or out: a zone is in from half of its part up, and not with the first trickle.
            assert co.beacon("eua") is False
            assert co.beacon("eua-1") is True, "no target of the route: by its share"
            await until(lambda: co.beacon("eua"), 1200)
            assert 0.0 < share() < 1 / 6
            [route] = [r for r in co.status()["services"]["chat"]["routes"] if r["provider"] == "health"]
            assert "every coordinator answers" in route["fence_note"]

    run_virtual(main())


def test_what_was_decided_is_told_on_without_lead_and_store() -> None:
    async def main() -> None:
        rig, away = Rig(fleet=fleet()), Away()
        rig.publish()
        co = start(rig, away)
        async with rig.running(co):
            await well(rig, co)
            assert (await co.command(drain("eua"))).result == "ok"
            assert co.beacon("eua") is False
            away.gone = True
            assert (await co.command(drain("usa"))).result == "not-persisted"
            assert co.beacon("usa") is True, "only what is stored counts"
            await until(lambda: not co.status()["coordinator"]["leading"], 60)
            await asyncio.sleep(600)
            assert co.beacon("eua") is False
            assert co.beacon("usa") is True
            assert co.beacon("nobody") is None

    run_virtual(main())


async def _story(rig: Rig, away: Away) -> None:
    """In real time: the file is written by a thread."""
    co = start(rig, Away())
    async with rig.running(co):
        await well(rig, co)
        assert (await co.command(drain("eua"))).result == "ok"
        path = Path(rig.fleet.provider_by_name["health"].settings["state"])
        await until(lambda: path.exists() and b'"eua":false' in path.read_bytes(), 10)
    again = start(rig, away)
    async with rig.running(again):
        await until(lambda: again.beacon("eua") is False, 5)
        await asyncio.sleep(60)
        assert again.beacon("eua") is False
        assert again.beacon("eub") is True
        assert again.beacon("nobody") is None


def test_a_restart_without_the_store_begins_with_the_last_answers(tmp_path: Path) -> None:
    path = tmp_path / "beacons.json"
    rig, away = Rig(fleet=fleet(state=str(path))), Away()
    rig.publish()
    away.gone = True
    run_virtual(_story(rig, away))


@pytest.mark.parametrize(
    "text", [None, "{", '{"fleet": "other", "names": {"eua": false}}', '{"fleet": "test", "names": {"eua": 5}}']
)
def test_a_file_that_cannot_be_used_leaves_everything_in_service(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "beacons.json"
    if text is not None:
        path.write_text(text)

    async def main() -> None:
        rig, away = Rig(fleet=fleet(state=str(path))), Away()
        away.gone = True
        async with rig.running(start(rig, away)) as co:
            await asyncio.sleep(60)
            assert co.beacon("eua") is True

    run_virtual(main())
