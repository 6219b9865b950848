"""What holds a drain back after its start: velocity, dwell, repeat, the receivers; and what outlives a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steerd.core import relief
from steerd.model.fleet import Fleet, Objectives
from steerd.model.plan import HardState, Phase, Strain
from steerd.model.rules import Guards, Ramp
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

HEALTHY, UNHEALTHY, DEGRADED = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.DEGRADED


def with_capacity(fleet: Fleet, **capacity: float) -> Fleet:
    chat = fleet.services[0]
    endpoints = tuple(replace(e, capacity=capacity.get(e.zone, e.capacity)) for e in chat.endpoints)
    return replace(fleet, services=(replace(chat, endpoints=endpoints),))


def warm(fleet: Fleet | None = None, **kwargs: Any) -> Bench:
    bench = Bench(fleet if fleet is not None else make_fleet(**kwargs))
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(20)
    return bench


def wrong(bench: Bench, *names: str) -> None:
    members = [e for e, s in bench.fleet.endpoint_by_name.items() if {e, s.zone} & set(names)]
    bench.all_say(UNHEALTHY, members, transport=False, reason="wrong answer")


def uneven() -> Fleet:
    """Zone eua holds 70% of the capacity."""
    return with_capacity(make_fleet({"eu": 3, "us": 3}, demand=100), eua=1166.7)


def test_what_does_not_fit_the_window_goes_on_as_it_frees() -> None:
    bench = warm(uneven())
    wrong(bench, "eua")
    bench.run(1)
    drain = bench.engine.world.drains.book["auto:chat:eua"]
    assert drain.phase is Phase.DRAINING
    assert drain.fraction == pytest.approx(0.5 / 0.7, abs=0.01)
    assert bench.vetoes() == ["velocity eua"]
    assert "vetoed" in bench.alerts()
    bench.run(290)
    assert bench.share("eua") > 0.1
    bench.run(80)
    assert bench.share("eua") == 0
    assert bench.engine.world.drains.book["auto:chat:eua"].phase is Phase.HELD
    assert "vetoed" not in bench.alerts()


def test_a_full_window_stops_the_next_domain_until_there_is_room() -> None:
    bench = warm(uneven())
    wrong(bench, "eua")
    bench.run(1)
    wrong(bench, "usa-1")
    bench.run(30)
    assert bench.drains()[1:] == []
    assert "velocity usa-1" in bench.vetoes()
    bench.run(400)
    assert bench.share("usa-1") == 0


def test_what_is_out_already_takes_no_room_of_the_window_again() -> None:
    """One endpoint of the zone, 35% of the capacity, is out: the zone is about the other one, and 15% are left for it."""
    bench = warm(uneven())
    wrong(bench, "eua-1")
    bench.run(5)
    assert bench.share("eua-1") == 0
    wrong(bench, "eua-2")
    bench.run(5)
    assert bench.engine.world.drains.book["auto:chat:eua"].fraction == pytest.approx(0.15 / 0.35, abs=0.01)


def test_the_dead_are_not_held_back_by_velocity() -> None:
    bench = warm(uneven())
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"])
    bench.run(1)
    assert bench.share("eua") == 0
    assert bench.drains() == ["eua 1.00 held dead"]


def test_what_flapped_comes_back_later() -> None:
    bench = warm()
    for _ in range(4):
        wrong(bench, "eua")
        bench.run(10)
        bench.all_say(HEALTHY)
        bench.run(10)
    told = bench.engine.explain("eua", bench.now)
    assert any("suppressed" in line for line in told["text"])
    assert any("flapped" in line for line in told["text"])
    bench.run(1500)
    assert bench.share("eua") == 0  # 10 min are long over
    bench.run(3600)
    assert bench.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_penalties_factors_and_the_window_survive_a_restart() -> None:
    bench = warm(uneven())
    wrong(bench, "eua")
    bench.run(5)
    bench.all_say(DEGRADED, ["usa-1"])
    bench.run(15)
    state = bench.state
    assert isinstance(state, HardState)
    assert state.penalties["eua"].value == pytest.approx(1000, rel=0.05)
    assert state.factors == {"usa-1": 0.5} or "usa-1" in {v.name for v in bench.engine.world.services["chat"].vetoes}
    bench.start_anew()
    bench.lead(9, state)
    bench.run(2)
    world = bench.engine.world
    assert world.velocity.room("chat", bench.now) < 0.1
    assert world.damper.current("eua", bench.now) is not None
    assert {e: f for e, (f, _) in world.services["chat"].factors.items()} == dict(state.factors)


def test_a_zone_that_comes_back_is_not_taken_out_again_within_the_dwell_unless_dead() -> None:
    fleet = make_fleet()
    ramp = Ramp(restore_after_s=20.0, restore_steps=(0.5, 1.0), restore_step_every_s=10.0)
    fleet = replace(fleet, services=(replace(fleet.services[0], ramp=ramp),))
    bench = warm(fleet)
    wrong(bench, "eua")
    bench.run(5)
    bench.all_say(HEALTHY)
    bench.run(53)
    assert bench.share("eua") == 0  # 20 s well, but 60 s must lie between out and in
    bench.run(4)
    assert bench.share("eua") > 0
    wrong(bench, "eua")
    bench.run(30)
    assert bench.share("eua") > 0
    bench.run(40)
    assert bench.share("eua") == 0
    bench.all_say(HEALTHY)
    bench.run(110)
    assert bench.drains() == []
    wrong(bench, "eua")
    bench.run(2)
    assert bench.vetoes() == ["dwell eua"]
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"])
    bench.run(2)
    assert bench.share("eua") == 0


def test_a_gray_zone_that_dies_leaves_at_once_and_one_that_is_only_down_under_the_guards() -> None:
    bench = warm()
    bench.all_say(DEGRADED, ["eub-1", "eub-2"])
    bench.run(15)
    assert bench.drains() == ["eub 0.25 draining gray"]
    wrong(bench, "eub")
    bench.run(3)
    assert bench.drains() == ["eub 1.00 held down"]
    other = warm()
    other.all_say(DEGRADED, ["eub-1", "eub-2"])
    other.run(15)
    other.all_say(UNHEALTHY, ["eub-1", "eub-2"])
    other.run(3)
    assert other.drains() == ["eub 1.00 held dead"]


def test_a_single_endpoint_that_is_out_stays_out_while_its_zone_drains_in_steps() -> None:
    bench = warm(per_zone=3)
    wrong(bench, "eub-1")
    bench.run(5)
    bench.all_say(DEGRADED, ["eub-2", "eub-3"])
    bench.run(15)
    assert bench.drains() == ["eub 0.25 draining gray", "eub-1 1.00 held down"]
    assert bench.share("eub-1") == 0
    bench.run(200)
    assert bench.drains() == ["eub 1.00 held gray"]


def test_a_relapse_of_a_gray_zone_counts_for_damping() -> None:
    bench = warm()
    bench.all_say(DEGRADED, ["eub-1", "eub-2"])
    bench.run(210)
    bench.all_say(HEALTHY)
    bench.run(700)
    assert "restoring" in bench.drains()[0]
    bench.all_say(DEGRADED, ["eub-1", "eub-2"])
    bench.run(15)
    assert bench.drains() == ["eub 1.00 held gray"]
    assert bench.engine.world.damper.current("eub", bench.now) is not None


def test_a_global_diagnosis_stops_a_gray_drain_where_it_is() -> None:
    bench = warm()
    bench.all_say(DEGRADED, ["eub-1", "eub-2"])
    bench.run(15)
    bench.all_say(DEGRADED)
    bench.run(300)
    assert bench.drains() == ["eub 0.25 draining gray"]
    assert len(bench.writes) == 1


def test_an_operators_drain_stops_when_the_receivers_suffer_and_goes_on_when_asked_again() -> None:
    bench = warm(objectives=Objectives(ttft_s=2.0))
    bench.read("ttft_s", dict.fromkeys(bench.fleet.endpoint_by_name, 0.4))
    bench.command("drain", "eua", reason="maintenance")
    bench.run(65)
    bench.read("ttft_s", dict.fromkeys(bench.fleet.endpoint_by_name, 3.0))
    bench.run(60)
    assert bench.drains() == ["eua 0.25 held operator"]
    assert "drain-stopped" in bench.alerts()
    assert any("no further" in line for line in bench.engine.explain("eua", bench.now)["text"])
    bench.read("ttft_s", dict.fromkeys(bench.fleet.endpoint_by_name, 0.4))
    assert bench.command("drain", "eua", reason="maintenance").result == "ok"
    bench.run(300)
    assert bench.share("eua") == 0


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        pytest.param(Strain(0.0, 0.3), Strain(0.02, 0.5), False, id="within both"),
        pytest.param(Strain(0.0, 0.3), Strain(0.10, 0.5), True, id="errors"),
        pytest.param(Strain(0.10, 0.3), Strain(0.10, 0.5), False, id="errors as before"),
        pytest.param(Strain(0.0, 0.3), Strain(0.0, 2.5), True, id="slow"),
        pytest.param(Strain(0.0, 2.5), Strain(0.0, 2.6), False, id="slow as before"),
        pytest.param(Strain(0.0, None), Strain(0.0, 2.6), True, id="slow, not measured before"),
        pytest.param(Strain(0.0, 0.3), Strain(0.0, None), False, id="not measured"),
        pytest.param(None, Strain(0.10, 0.3), True, id="errors, nobody knows how it was"),
        pytest.param(None, Strain(0.02, 2.6), True, id="slow, nobody knows how it was"),
        pytest.param(None, Strain(0.02, 0.3), False, id="within both, nobody knows how it was"),
    ],
)
def test_receivers_suffer_when_they_are_past_the_objective_and_worse_than_before(
    before: Strain | None, after: Strain, *, worse: bool
) -> None:
    assert (relief.worse(before, after, Objectives(ttft_s=2.0, availability=0.99)) is not None) is worse


def test_a_record_set_that_cannot_express_the_plan_stays_as_it_is() -> None:
    """Membership only: without the wrong zone, the others would run at 106%."""
    fleet = make_fleet({"eu": 3}, outside=2, demand=425)
    bench = Bench(fleet, MEMBERS)
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(20)
    wrong(bench, "eua")
    bench.run(20)
    assert bench.writes == []
    assert "capacity dns/chat.test" in bench.vetoes()
    assert "capacity-short" in bench.alerts()
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"])
    bench.run(5)
    assert bench.share("eua") == 0  # the dead leave all the same


def test_the_floor_holds_on_what_membership_really_leaves_in() -> None:
    fleet = replace(make_fleet({"eu": 4}, per_zone=1, demand=10), guards=Guards(min_in_rotation=0.9))
    bench = Bench(fleet, WEIGHTED)
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(20)
    wrong(bench, "eua")
    bench.run(5)
    assert bench.writes == []
    assert "floor eua" in bench.vetoes()
