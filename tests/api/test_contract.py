"""What the API relies on, kept by the real coordinator and by the scripted one that other tests put in its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from steerd.api.ports import Steering
from steerd.coordinator.clock import SystemClock
from steerd.coordinator.coordinator import Coordinator
from steerd.core.events import OperatorCommand
from steerd.model.vote import Ballot, Welcome
from steerd.stores.memory import MemoryData, MemoryStore
from tests.support.scripted import ScriptedCoordinator, small_fleet
from tests.support.wait import until

STATUS = {"fleet", "time", "config_hash", "leader", "frozen", "services", "drains", "pins", "agents", "alerts"}


@pytest.fixture(params=["scripted", "real"])
async def steering(request: pytest.FixtureRequest) -> AsyncIterator[Steering]:
    if request.param == "scripted":
        yield ScriptedCoordinator()
        return
    real = Coordinator(
        small_fleet(), "c1", store=MemoryStore(MemoryData(time.monotonic)), providers={}, clock=SystemClock()
    )
    assert real.ready() == (False, "not running"), "the daemon waits for these words to change"
    stop = asyncio.Event()
    running = asyncio.create_task(real.run(stop))
    await until(lambda: real.ready()[0])
    yield real
    stop.set()
    await running


async def command(steering: Steering, verb, **facts):
    return await steering.command(OperatorCommand(id=f"{verb}-{facts}", verb=verb, by="ann", **facts))


async def test_status(steering):
    told = steering.status()
    assert told.keys() >= STATUS
    assert told["leader"]["name"] == "c1"
    assert told["leader"]["epoch"] >= 1


async def test_explain(steering):
    for name in ("z1", "chat", "chat-z1", "r1"):
        found = steering.explain(name)
        assert found["name"] == name
        assert found["text"]
    with pytest.raises(KeyError):
        steering.explain("nobody")


async def test_plan(steering):
    assert {"shares", "routes", "vetoes", "notes"} <= steering.plan()["services"]["chat"].keys()


async def test_commands_and_history(steering):
    answer = await command(steering, "freeze", reason="maintenance")
    assert answer.result == "ok"
    assert answer.text
    assert (await command(steering, "unfreeze")).result == "ok"
    rows = await steering.history(None, 100)
    assert all(row.keys() >= {"kind", "of", "text", "at", "data"} for row in rows)
    times = [row["at"] for row in rows]
    assert times
    assert times == sorted(times), "newest last"
    assert await steering.history(None, 1) == rows[-1:]
    assert await steering.history(times[-1] + 1, 100) == []


async def test_events(steering):
    reader = steering.subscribe()
    upcoming = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    await command(steering, "freeze", reason="maintenance")
    if isinstance(steering, ScriptedCoordinator):
        steering.tell({"kind": "operator", "of": "acme", "text": "freeze", "at": 1.0, "data": {}})
    async with asyncio.timeout(5):
        event = await upcoming
    assert event.keys() >= {"kind", "text", "at"}
    await reader.aclose()


async def test_readiness_and_beacons(steering):
    ready, text = steering.ready()
    assert ready is True
    assert text
    assert steering.beacon("z1") is True
    assert steering.beacon("nobody") is None


async def test_agents(steering):
    link = steering.connect_agent("b")
    assert link.closed is None
    async with asyncio.timeout(5):
        assert await link.get() == Welcome("c1", "0123456789abcdef", leading=True)
    steering.receive(Ballot("b", 1, 1, full=True, config_hash="0123456789abcdef"))
    link.close()
    assert link.closed
    link.close()
