"""What the rules keep: readings, windows that empty, and what a follower and a new config take over."""

from __future__ import annotations

import math
from dataclasses import replace

from steerd.core import events as ev
from steerd.core.gray import LONG, SHORT, Series, _Ring
from steerd.core.readings import Readings
from steerd.model.plan import HardState, Penalty
from steerd.model.sample import Reading
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def test_readings_keep_the_newest_of_each_agent_and_only_what_is_known() -> None:
    readings = Readings()
    readings.configure({"a", "b"}, {"one", "two"})
    readings.fold("one", [Reading("a", "ttft_s", 2.0), Reading("a", "ttft_s", 9.0, age_s=50.0)], 100.0)
    readings.fold("two", [Reading("a", "ttft_s", 4.0), Reading("x", "ttft_s", 1.0), Reading("a", "other", 1.0)], 100.0)
    readings.fold("two", [Reading("a", "ttft_s", math.nan)], 101.0)
    assert readings.values("a", "ttft_s", 110.0, 60.0) == [2.0, 4.0]
    assert readings.median("a", "ttft_s", 110.0, 60.0) == 2.0
    assert readings.median("a", "ttft_s", 200.0, 60.0) is None
    assert readings.median("x", "ttft_s", 110.0, 60.0) is None
    readings.configure({"a", "b"}, {"two"})
    assert readings.values("a", "ttft_s", 110.0, 60.0) == [4.0]
    readings.configure({"b"}, {"two"})
    assert readings.values("a", "ttft_s", 110.0, 60.0) == []


def test_a_window_forgets_slot_by_slot_and_all_at_once_after_a_gap() -> None:
    ring = _Ring(100)
    ring.add(3, 1, 100)
    ring.add(5, 0, 101)
    ring.advance(100 + SHORT)
    assert (ring.passed_short, ring.failed_short) == (8, 1)
    ring.advance(101 + SHORT)
    assert (ring.passed_short, ring.failed_short) == (5, 0)
    ring.advance(100 + LONG)
    assert (ring.passed_long, ring.failed_long) == (8, 1)
    ring.advance(101 + LONG)
    assert (ring.passed_long, ring.failed_long) == (5, 0)
    ring.advance(500)
    assert (ring.passed_long, ring.failed_long, ring.passed_short) == (0, 0, 0)
    assert Series({"z": ring}).rates(["z", "y"], short=False) == ({}, 0)


def test_a_follower_shows_the_leaders_weights_and_penalties() -> None:
    bench = Bench(make_fleet())
    bench.all_say(Verdict.HEALTHY)
    state = HardState(
        penalties={"eua": Penalty(4000.0, bench.now, 4, suppressed=True)}, factors={"eua-1": 0.5, "gone": 0.5}
    )
    bench.deliver_event(ev.StateFollowed(state))
    world = bench.engine.world
    assert world.services["chat"].factors["eua-1"][0] == 0.5
    assert "gone" not in world.services["chat"].factors
    told = " ".join(bench.engine.explain("eua", bench.now)["text"])
    assert "weighs 50%" in told
    assert "suppressed" in told
    bench.deliver_event(ev.StateFollowed(HardState()))
    assert world.services["chat"].factors == {}


def test_a_new_config_takes_its_constants_and_forgets_what_left() -> None:
    bench = Bench(make_fleet())
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(20)
    bench.all_say(Verdict.DEGRADED, ["eua-1"])
    bench.run(15)
    bench.engine.world.damper.flap("eua-1", bench.now)
    chat = bench.fleet.services[0]
    route = chat.routes[0]
    kept = replace(route, targets=tuple(t for t in route.targets if t.key != "eua-1"))
    damping = replace(bench.fleet.damping, penalty=7.0)
    service = replace(chat, endpoints=chat.endpoints[1:], routes=(kept,))
    bench.reload(replace(bench.fleet, services=(service,), damping=damping), accepted=True)
    world = bench.engine.world
    assert world.services["chat"].factors == {}
    assert "eua-1" not in world.damper.penalties
    assert world.damper.flap("eub", bench.now).value == 7.0


def test_explain_tells_what_the_gray_band_sees() -> None:
    bench = Bench(make_fleet())
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(20)
    bench.losing["eua-1"] = 0.7
    bench.run(200)
    told = " ".join(bench.engine.explain("eua-1", bench.now)["text"])
    assert "of looks over 60 s" in told
    assert "gray: down" in told
