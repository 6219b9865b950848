"""Endpoints that weigh less, and demand as the engines tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steerd.core.progress import demand_from_progress
from steerd.model.fleet import Demand
from steerd.model.sample import Reading
from steerd.model.vote import Heartbeat, Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet

HEALTHY, DEGRADED, SATURATED = Verdict.HEALTHY, Verdict.DEGRADED, Verdict.SATURATED


def warm(**kwargs: Any) -> Bench:
    bench = Bench(make_fleet(**kwargs))
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(20)
    return bench


def weighs(bench: Bench) -> dict[str, float]:
    return {e: f for e, (f, _) in bench.engine.world.services["chat"].factors.items()}


def test_a_degraded_endpoint_weighs_half_once_it_has_been_so_for_a_while() -> None:
    bench = warm()
    bench.all_say(DEGRADED, ["eua-1"])
    bench.run(9)
    assert weighs(bench) == {}
    bench.run(2)
    assert weighs(bench) == {"eua-1": 0.5}
    assert bench.share("eua-1") == pytest.approx(0.5 / 11, abs=1e-3)
    assert bench.share("us") == pytest.approx(0.5, abs=1e-2)
    assert any("weighs 50%" in line for line in bench.engine.explain("eua-1", bench.now)["text"])
    assert bench.engine.status(bench.now)["services"]["chat"]["endpoints"]["eua-1"]["weighs"] == 0.5


def test_where_the_others_have_no_room_it_weighs_as_little_as_they_can_take() -> None:
    bench = warm(regions={"eu": 3}, demand=450, outside=2)
    bench.all_say(DEGRADED, ["eua-1"])
    bench.run(30)
    assert weighs(bench) == {"eua-1": 0.75}
    full = warm(regions={"eu": 3}, demand=590, outside=2)
    full.all_say(DEGRADED, ["eua-1"])
    full.run(30)
    assert weighs(full) == {}
    assert full.vetoes() == ["capacity eua-1"]
    assert "capacity-short" in full.alerts()
    full.all_say(HEALTHY)
    full.run(30)
    assert full.alerts() == set()


def test_a_saturated_endpoint_sheds_only_onto_those_with_room() -> None:
    bench = warm()
    bench.all_say(SATURATED, ["eua-1"])
    bench.run(15)
    assert weighs(bench) == {"eua-1": 0.7}
    full = warm(demand=1150)
    full.all_say(SATURATED, ["eua-1"])
    full.run(15)
    assert weighs(full) == {}
    assert full.vetoes() == []


def test_saturation_is_held_five_minutes_each_way() -> None:
    bench = warm()
    for _ in range(6):
        bench.all_say(SATURATED, ["eua-1"])
        bench.run(30)
        bench.all_say(HEALTHY, ["eua-1"])
        bench.run(30)
    assert len(bench.writes) <= 3


def test_everything_saturated_moves_nothing() -> None:
    bench = warm()
    bench.all_say(SATURATED)
    bench.run(60)
    assert bench.writes == []


def test_demand_unknown_still_lets_a_degraded_endpoint_weigh_half() -> None:
    bench = warm(demand=None)
    bench.all_say(DEGRADED, ["eua-1"])
    bench.run(15)
    assert weighs(bench) == {"eua-1": 0.5}


def test_a_pin_and_a_freeze_hold_the_weight() -> None:
    bench = warm()
    bench.command("pin", "eua-1", share=0.1, reason="test")
    bench.all_say(DEGRADED, ["eua-1"])
    bench.run(30)
    assert weighs(bench) == {}
    bench.command("freeze", reason="release")
    bench.all_say(DEGRADED, ["usa-1"])
    bench.run(30)
    assert weighs(bench) == {}
    bench.command("unfreeze")
    bench.run(30)
    assert weighs(bench) == {"usa-1": 0.5}


def send(bench: Bench, agent: str, **values: float) -> None:
    readings = tuple(
        Reading(endpoint, name, value) for name, value in values.items() for endpoint in bench.fleet.endpoint_by_name
    )
    number = bench._number(agent)
    bench.deliver(Heartbeat(agent, 1, number, (), readings, None, bench.fleet.config_hash))


def test_demand_is_what_runs_and_waits_in_the_engines() -> None:
    bench = Bench(make_fleet(demand=None))
    chat = bench.fleet.services[0]
    bench.reload(replace(bench.fleet, services=(replace(chat, demand=Demand(progress=True)),)))
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(30)
    assert "demand-unknown" in bench.alerts()
    send(bench, "probe-eua", running=40.0, waiting=10.0)
    send(bench, "probe-eub", running=44.0)
    send(bench, "probe-euc", running=9000.0)  # the middle one counts
    bench.run(15)
    assert bench.engine.world.services["chat"].demand == pytest.approx(12 * 54)
    assert "demand-unknown" not in bench.alerts()
    send(bench, "probe-eua", running=42.0)
    bench.run(15)
    assert bench.engine.world.services["chat"].demand == pytest.approx(12 * 54)  # not worth a new plan
    assert demand_from_progress(bench.engine.world, "chat", bench.now + 100) is None
    bench.run(120)
    assert bench.engine.world.services["chat"].demand is None
    assert "demand-unknown" in bench.alerts()
