"""The small parts: time, the network, what looks find, the store's moods."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from steerd.model.fleet import Check
from steerd.model.sample import Layer, Status
from steerd.sim.kernel import Kernel
from steerd.sim.loop import ProcessLoop
from steerd.sim.network import Link, Network, Path
from steerd.sim.store import SimData
from steerd.sim.targets import Target, look_at
from tests.support.fleets import make_fleet

CLEAR = Path(cut=False, loss=0.0, latency_s=0.002)
HEALTH = Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0)
USER = Check("user_path", Layer.USER_PATH, "openai-chat", 30.0, 30.0, {"ttft": 2.0})
PROGRESS = Check("progress", Layer.PROGRESS, "progress", 10.0, 3.0)


def look(target: Target, check: Check, path: Path = CLEAR, now: float = 0.0) -> tuple[Status, bool] | None:
    seen = look_at(target, check, path, 1.0, now, Random(1))
    return (seen.status, seen.transport) if seen is not None else None


def target(**fault: object) -> Target:
    made = Target("t", "z")
    for name, value in fault.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("fault", "health", "user", "progress"),
    [
        ({}, (Status.PASS, False), (Status.PASS, False), (Status.PASS, False)),
        ({"crashed": 1}, (Status.FAIL, True), (Status.FAIL, True), None),
        ({"off": 1}, (Status.FAIL, True), (Status.FAIL, True), None),
        ({"hung": 1}, (Status.FAIL, True), (Status.FAIL, True), None),
        ({"errors": [1.0]}, (Status.FAIL, False), (Status.FAIL, False), None),
        ({"slow": [10.0]}, (Status.PASS, False), (Status.SLOW, False), (Status.PASS, False)),
        ({"slow": [100.0]}, (Status.PASS, False), (Status.FAIL, True), (Status.PASS, False)),
        ({"garbage": 1}, (Status.PASS, False), (Status.FAIL, False), (Status.PASS, False)),
        ({"stalled": [0.0]}, (Status.PASS, False), (Status.FAIL, True), (Status.FAIL, True)),
        ({"saturated": 1}, (Status.PASS, False), (Status.SATURATED, False), (Status.SATURATED, False)),
    ],
)
def test_faults_as_probes_report_them(fault: dict[str, object], health: object, user: object, progress: object) -> None:
    hit = target(**fault)
    assert look(hit, HEALTH) == health
    assert look(hit, USER) == user
    assert look(hit, PROGRESS, now=61.0) == progress
    assert hit.well is (not fault)


def test_a_stall_shows_after_a_while() -> None:
    assert look(target(stalled=[10.0]), PROGRESS, now=60.0) == (Status.PASS, False)


def test_a_cut_way_times_out() -> None:
    seen = look_at(target(), HEALTH, Path(cut=True, loss=0.0, latency_s=0.0), 2.0, 0.0, Random(1))
    assert seen is not None
    assert (seen.status, seen.transport, seen.duration_s) == (Status.FAIL, True, 4.0)


def test_links_select_and_combine() -> None:
    network = Network(make_fleet())
    network.links += [
        Link("agents", "eua", loss=0.5),
        Link("probe-usa", "endpoints", loss=0.5),
        Link("store", "any", cut=True),
    ]
    network.changed()
    assert network.path("probe-usa", "eua-1").loss == pytest.approx(0.75)
    assert network.path("probe-usb", "eua-1").loss == pytest.approx(0.5)
    assert network.path("eua-1", "probe-usa").clear
    assert network.trip("probe-usa", "eua-1").loss == pytest.approx(0.75)
    assert not network.path("co", "store").cut
    assert network.trip("co", "store").cut


def test_calls_come_in_order_and_loops_run_in_their_time() -> None:
    kernel, seen = Kernel(), []
    kernel.at(2.0, seen.append, "b")
    kernel.at(1.0, seen.append, "a")
    kernel.at(2.0, seen.append, "c")
    kernel.run(5.0)
    assert seen == ["a", "b", "c"]
    assert kernel.now == 5.0
    loop = ProcessLoop(0.0)
    task = loop.create_task(asyncio.sleep(3.0, "done"))
    assert loop.run_until_idle(0.0) == 3.0
    assert not task.done()
    assert loop.run_until_idle(3.0) == float("inf")
    assert task.result() == "done"
    loop.close()


def test_leases_live_on_while_nobody_leads_the_store() -> None:
    now = [0.0]
    data = SimData(lambda: now[0])
    lease = data.grant(15.0)
    data.lose_leader()
    now[0] = 100.0
    data.expire()
    assert lease in data.leases
    data.elect()
    assert data.leases[lease].expires == 115.0
    now[0] = 116.0
    data.expire()
    assert lease not in data.leases


def test_timers_of_one_moment_ring_in_their_order_unless_cancelled() -> None:
    loop, seen = ProcessLoop(0.0), []
    for name in "abc":
        loop.call_at(2.0, seen.append, name)
    loop.call_at(1.0, seen.append, "never").cancel()
    assert loop.run_until_idle(0.0) == 2.0  # nobody wakes for what was cancelled
    loop.call_soon(seen.append, "first")
    loop.run_until_idle(2.0)
    assert seen == ["first", "a", "b", "c"]
    loop.close()


def test_a_timer_that_rounding_puts_a_hair_ahead_rings() -> None:
    """A suspended machine's clock is a difference: 70.3 - 30.1 falls short of 40.2."""
    loop, seen = ProcessLoop(0.0), []
    loop.call_at(40.2, seen.append, "rung")
    assert 70.3 - 30.1 < 40.2
    assert loop.run_until_idle(70.3 - 30.1) == float("inf")
    assert seen == ["rung"]
    loop.close()


def test_a_loop_stops_after_the_turn_and_goes_on_where_it_stood() -> None:
    loop, seen = ProcessLoop(0.0), []

    def turn() -> None:
        loop.stop()
        loop.call_soon(seen.append, "next turn")

    loop.call_soon(turn)
    loop.call_soon(seen.append, "same turn")
    loop.run_until_idle(0.0)
    assert seen == ["same turn"]
    loop.run_until_idle(5.0)
    assert seen == ["same turn", "next turn"]
    loop.close()


def test_a_node_that_moved_is_found_where_it_is() -> None:
    fleet = make_fleet()
    network = Network(fleet)
    moved = replace(fleet.services[0].endpoints[0], zone="usa")
    assert moved.name in network.selects("eua")
    service = replace(fleet.services[0], endpoints=(moved, *fleet.services[0].endpoints[1:]))
    network.load(replace(fleet, services=(service,)))
    assert moved.name not in network.selects("eua")
    assert moved.name in network.selects("usa")
    assert moved.name in network.selects("endpoints")
    assert network.selects("nobody") == set()
