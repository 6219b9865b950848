"""The engine as a whole, in virtual time: what a fleet's votes do to its traffic."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from steerd.core import effects as fx
from steerd.model.plan import HardState
from steerd.model.route import Fence, Observed
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, make_fleet

HEALTHY, UNHEALTHY = Verdict.HEALTHY, Verdict.UNHEALTHY


def warm(bench: Bench) -> Bench:
    """At the lead, everything healthy for a while."""
    bench.lead()
    bench.all_say(HEALTHY)
    bench.run(30)
    assert bench.writes == []
    return bench


def outside(bench: Bench, *zones: str) -> list[str]:
    return [a.name for a in bench.fleet.agents if a.zone not in zones]


def lose(bench: Bench, *zones: str) -> list[str]:
    """Zones lose power: their agents fall silent, everybody else sees their endpoints dead. Returns the endpoints."""
    bench.muted |= {a.name for a in bench.fleet.agents if a.zone in zones}
    endpoints = [e.name for e in bench.fleet.services[0].endpoints if e.zone in zones]
    bench.all_say(UNHEALTHY, endpoints, outside(bench, *zones))
    return endpoints


def test_a_start_with_healthy_votes_writes_nothing() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.alerts() == set()
    assert bench.store == []


def test_a_start_with_no_votes_at_all_changes_nothing_and_says_so() -> None:
    bench = Bench(make_fleet())
    bench.lead()
    bench.run(600)
    assert bench.writes == []
    assert "quorum-lost" in bench.alerts()


def test_a_lost_zone_is_one_decision_and_comes_back_in_steps() -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    assert bench.diagnoses() == ["zone eua"]
    assert len(bench.writes) == 1
    assert bench.share("eua") == 0
    assert bench.share("us") == pytest.approx(0.5, abs=0.01)
    bench.run(300)
    bench.muted.clear()
    bench.all_say(HEALTHY)
    back = bench.now
    bench.run(599)
    assert bench.share("eua") == 0
    bench.run(3000)
    assert bench.share("eua") == pytest.approx(1 / 6, abs=0.01)
    assert [round(t - back) for t, _ in bench.writes[1:]] == [600, 900, 1200, 1500]
    assert bench.drains() == []


def test_a_relapse_while_returning_goes_back_to_zero_at_once() -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    bench.muted.clear()
    bench.all_say(HEALTHY)
    bench.run(910)
    assert bench.share("eua") > 0.03
    lose(bench, "eua")
    bench.run(3)
    assert bench.share("eua") == 0
    assert bench.drains() == ["eua 1.00 held dead"]


def test_one_dead_endpoint_leaves_alone() -> None:
    bench = warm(Bench(make_fleet(per_zone=4)))
    bench.all_say(UNHEALTHY, ["eua-1"])
    bench.run(5)
    assert bench.diagnoses() == ["endpoint eua-1"]
    assert bench.share("eua-1") == 0
    assert bench.share("eua-2") > 1 / 24
    assert bench.share("us") == pytest.approx(0.5, abs=0.01)


def test_minority_voices_move_nothing() -> None:
    bench = warm(Bench(make_fleet()))
    bench.all_say(UNHEALTHY, agents=["probe-eua"])
    bench.run(60)
    assert bench.writes == []
    assert "vantage-isolated" in bench.alerts()
    bench.all_say(UNHEALTHY, agents=["probe-eub", "probe-euc"])
    bench.run(60)  # one whole region of vantage points: three voices of seven
    assert bench.writes == []


def test_a_majority_from_one_region_only_moves_nothing() -> None:
    bench = warm(Bench(make_fleet({"eu": 5, "us": 1})))
    eu = [a.name for a in bench.fleet.agents if a.zone.startswith("eu")]
    bench.all_say(UNHEALTHY, ["usa-1", "usa-2"], eu)
    bench.run(60)
    assert bench.health("usa-1") == "healthy"
    assert bench.writes == []


def test_abstaining_agents_count_for_nothing() -> None:
    bench = warm(Bench(make_fleet()))
    for agent in bench.fleet.agents:
        bench.abstaining[agent.name] = "no network"
    bench.all_say(UNHEALTHY)
    bench.run(60)
    assert bench.writes == []
    assert bench.health("eua-1") == "healthy"
    assert {"quorum-lost", "agent-abstaining"} <= bench.alerts()


def test_a_silent_fleet_holds_its_health() -> None:
    bench = warm(Bench(make_fleet()))
    bench.muted = {a.name for a in bench.fleet.agents}
    bench.run(600)
    assert bench.writes == []
    assert bench.health("usb-2") == "healthy"
    assert "quorum-lost" in bench.alerts()


def test_everything_down_at_once_freezes_and_names_it() -> None:
    bench = warm(Bench(make_fleet()))
    bench.all_say(UNHEALTHY, transport=False, reason="status 500")
    bench.run(120)
    assert bench.diagnoses() == ["global chat"]
    assert bench.writes == []
    assert "global" in bench.alerts()
    bench.all_say(HEALTHY)
    bench.run(65)
    assert bench.diagnoses() == []


def test_a_new_version_everywhere_is_called_a_deploy() -> None:
    bench = warm(Bench(make_fleet()))
    bench.all_say(HEALTHY, version="v1")
    bench.run(10)
    bench.all_say(UNHEALTHY, transport=False, reason="status 500", version="v2")
    bench.run(5)
    assert bench.engine.world.diagnoser.services["chat"].current[0].label == "deploy"


def test_a_lost_region_moves_whole_and_says_that_the_rest_is_overloaded() -> None:
    bench = warm(Bench(make_fleet(demand=700.0)))
    lose(bench, "eua", "eub", "euc")
    bench.run(20)
    assert bench.diagnoses() == ["region eu"]
    assert bench.share("eu") == 0
    assert "overload-accepted" in bench.alerts()


def test_a_down_zone_that_nobody_has_room_for_keeps_what_does_not_fit() -> None:
    bench = warm(Bench(make_fleet({"eu": 3}, demand=500.0, outside=2)))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False, reason="status 500")
    bench.run(5)
    assert bench.share("eua") == pytest.approx(1 - 400 / 500, abs=0.01)
    assert "capacity-short" in bench.alerts()


def test_a_second_zone_in_the_region_is_stopped_by_the_blast_radius() -> None:
    bench = warm(Bench(make_fleet(demand=None, per_zone=2)))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    bench.run(30)
    bench.all_say(UNHEALTHY, ["eub-1", "eub-2"], transport=False)
    bench.run(30)
    assert bench.share("eub") > 0
    assert bench.vetoes() == ["blast-radius eub"]
    assert any(r.data.get("guard") == "blast-radius" for r in bench.records("veto"))


def test_a_dead_second_zone_is_exempt_from_the_blast_radius() -> None:
    bench = warm(Bench(make_fleet(demand=None)))
    lose(bench, "eua")
    bench.run(30)
    lose(bench, "eub")
    bench.run(30)
    assert bench.share("eub") == 0
    assert bench.share("eua") == 0


def test_the_last_endpoint_is_never_taken_out() -> None:
    bench = warm(Bench(make_fleet({"eu": 1, "us": 1}, per_zone=1, outside=3, demand=None)))
    lose(bench, "eua")
    bench.run(10)
    assert bench.share("usa") == 1
    lose(bench, "usa")
    bench.run(60)
    assert bench.share("usa") == 1
    assert all(any(w.values()) for _, w in bench.writes)


def test_an_operators_drain_goes_in_steps_and_expires() -> None:
    bench = warm(Bench(make_fleet()))
    answer = bench.command("drain", "eub", reason="kernel", for_s=1800.0)
    assert answer.result == "ok"
    assert answer.data["preview"]["moved"] == pytest.approx(1 / 6)
    begun = bench.now
    assert bench.share("eub") == pytest.approx(0.125, abs=0.003)
    bench.run(240)
    assert bench.share("eub") == 0
    bench.run(1500)
    assert bench.share("eub") == 0
    bench.run(1200)
    assert bench.share("eub") == pytest.approx(1 / 6, abs=0.01)
    steps = [round(t - begun) for t, _ in bench.writes]
    assert steps == [0, 60, 120, 180, 1800, 2100, 2400, 2700]


def test_an_operators_drain_of_all_there_is_is_vetoed() -> None:
    bench = warm(Bench(make_fleet({"eu": 1}, outside=3)))
    answer = bench.command("drain", "eu", reason="why not", now=True, force=True)
    assert answer.result == "vetoed"
    assert "never-empty" in answer.text
    assert bench.writes == []


@pytest.mark.parametrize(
    ("verb", "name", "kwargs", "needle"),
    [
        ("drain", "nowhere", {"reason": "x"}, "nothing is called nowhere"),
        ("drain", "chat", {"reason": "x"}, "chat is a service"),
        ("drain", "eua", {}, "needs a reason"),
        ("drain", "eua", {"reason": "x", "for_s": 80 * 3600.0}, "at most 72 h"),
        ("restore", "eua", {}, "eua is not drained"),
        ("pin", "eua", {"reason": "x", "share": 1.5}, "between 0% and 100%"),
        ("pin", "eua", {"reason": "x", "share": 0.1, "for_s": 80 * 3600.0}, "at most 72 h"),
        ("unpin", "eua", {}, "not pinned"),
        ("freeze", "", {}, "needs a reason"),
        ("unfreeze", "", {}, "nothing is frozen"),
    ],
)
def test_commands_that_make_no_sense_say_what_would(
    verb: str, name: str, kwargs: dict[str, object], needle: str
) -> None:
    bench = warm(Bench(make_fleet()))
    answer = bench.command(verb, name, **kwargs)
    assert answer.result == "invalid"
    assert needle in answer.text
    assert bench.store == []


def test_a_freeze_stops_even_the_confirmed_dead_and_says_so() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.command("freeze", reason="release").result == "ok"
    lose(bench, "eua")
    bench.run(60)
    assert bench.writes == []
    assert bench.command("unfreeze").result == "ok"
    bench.run(1)
    assert bench.share("eua") == 0


def test_a_pin_wins_over_automation_and_expires() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.command("pin", "eua", share=0.1, reason="test", for_s=600.0).result == "ok"
    assert bench.share("eua") == pytest.approx(0.1, abs=0.003)
    lose(bench, "eua")
    bench.run(60)
    assert bench.share("eua") == pytest.approx(0.1, abs=0.003)
    assert bench.vetoes() == ["pin eua"]
    bench.run(600)
    assert bench.share("eua") == 0


def test_restoring_what_is_still_down_is_refused_with_advice() -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    answer = bench.command("restore", "eua")
    assert answer.result == "vetoed"
    assert "still down" in answer.text


def test_an_operator_can_bring_a_recovered_zone_back_early() -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    bench.muted.clear()
    bench.all_say(HEALTHY)
    bench.run(20)
    assert bench.command("restore", "eua", now=True).result == "ok"
    assert bench.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_a_failed_write_is_tried_again_with_growing_pauses() -> None:
    bench = warm(Bench(make_fleet()))
    bench.fail = "throttled"
    lose(bench, "eua")
    bench.run(30)
    tries = [t for t, e in bench.log if isinstance(e, fx.Apply)]
    gaps = [b - a for a, b in pairwise(tries)]
    assert len(tries) >= 4
    assert gaps == sorted(gaps)
    assert "write-failed" in bench.alerts()
    bench.fail = None
    bench.run(40)
    assert "write-failed" not in bench.alerts()
    assert bench.served["dns/chat.test"].weights["eua-1"] == 0
    assert len([d for d in bench.store if d is not None]) == 1


def test_a_decision_that_never_reached_the_store_is_persisted_before_its_retry() -> None:
    bench = warm(Bench(make_fleet()))
    bench.fail = "not-persisted"
    lose(bench, "eua")
    bench.run(0.1)
    bench.fail = None
    bench.run(5)
    kinds = [
        type(e).__name__
        for _, e in bench.log
        if isinstance(e, fx.Persist | fx.Apply) and getattr(e, "decision", "") is not None
    ]
    assert kinds == ["Persist", "Apply", "Persist", "Apply"]


def test_somebody_elses_edit_is_reported_and_kept() -> None:
    bench = warm(Bench(make_fleet()))
    bench.observe(weights={"usa-1": 10})
    assert "drift" in bench.alerts()
    assert bench.writes == []
    lose(bench, "eua")
    bench.run(5)
    assert bench.writes[-1][1]["usa-1"] == 10
    assert bench.writes[-1][1]["eua-1"] == 0
    bench.observe()
    assert "drift" in bench.alerts()
    assert bench.command("restore", "usa-1").result == "ok"
    assert bench.writes[-1][1]["usa-1"] > 100
    assert "drift" not in bench.alerts()


def test_an_edit_set_back_ends_the_drift() -> None:
    bench = warm(Bench(make_fleet()))
    bench.observe(weights={"usa-1": 10})
    bench.observe(weights={"usa-1": 255})
    assert "drift" not in bench.alerts()


def test_enforced_routes_are_set_back() -> None:
    fleet = make_fleet()
    service = fleet.services[0]
    service = replace(service, routes=tuple(replace(r, on_drift="enforce") for r in service.routes))
    bench = warm(Bench(replace(fleet, services=(service,))))
    lose(bench, "eua")
    bench.run(5)
    bench.observe(weights={"usa-1": 10})
    assert bench.served["dns/chat.test"].weights["usa-1"] > 100


def test_an_empty_record_is_published_once_health_is_known() -> None:
    bench = Bench(make_fleet(), served={})
    bench.lead()
    bench.run(20)
    assert bench.writes == []
    bench.all_say(HEALTHY, [e for e in bench.fleet.endpoint_by_name if e != "usa-1"])
    bench.all_say(UNHEALTHY, ["usa-1"])
    bench.run(1)
    assert len(bench.writes) == 1
    assert bench.share("usa-1") == 0
    assert bench.share("usa-2") > 0.05


def test_a_new_endpoint_starts_at_nothing_and_ramps_in() -> None:
    bench = warm(Bench(make_fleet()))
    bench.reload(make_fleet(per_zone=3))
    bench.run(1)
    assert bench.share("eua-3") == 0
    bench.all_say(HEALTHY)
    bench.run(2)
    assert 0 < bench.share("eua-3") < 0.01
    bench.run(1000)
    assert bench.share("eua-3") == pytest.approx(1 / 18, abs=0.01)


def test_a_removed_endpoint_leaves_in_one_step() -> None:
    bench = warm(Bench(make_fleet(per_zone=3, demand=None)))
    bench.reload(make_fleet(per_zone=2, demand=None))
    bench.run(1)
    assert len(bench.writes) == 1
    assert bench.writes[0][1]["eua-3"] == 0


def test_a_config_that_removes_most_of_a_service_needs_acceptance() -> None:
    bench = warm(Bench(make_fleet()))
    smaller = make_fleet({"eu": 2}, per_zone=1)
    bench.reload(smaller)
    assert "config-refused" in bench.alerts()
    assert "usc-2" in bench.engine.world.board.states
    bench.reload(smaller, accepted=True)
    assert "config-refused" not in bench.alerts()
    assert "usc-2" not in bench.engine.world.board.states


def test_observe_mode_decides_and_writes_nothing() -> None:
    bench = warm(Bench(make_fleet(mode="observe")))
    lose(bench, "eua")
    bench.run(60)
    assert bench.writes == []
    assert bench.drains() == ["eua 1.00 held dead"]
    assert bench.records("decision")


def test_a_restart_goes_on_from_the_store() -> None:
    first = warm(Bench(make_fleet()))
    lose(first, "eua")
    first.run(10)
    second = Bench(make_fleet(), start=first.now)
    second.served = dict(first.served)
    second.lead(epoch=3, state=first.state)
    second.run(60)
    assert second.writes == []
    assert second.drains() == ["eua 1.00 held dead"]
    second.all_say(HEALTHY)
    second.run(2000)
    assert second.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_a_decision_without_a_receipt_is_issued_again_under_the_new_epoch() -> None:
    first = warm(Bench(make_fleet()))
    first.fail = "unreachable"
    lose(first, "eua")
    first.run(0.5)
    decision = next(d for d in first.store if d is not None)
    second = Bench(make_fleet(), start=first.now)
    second.lead(epoch=3, state=first.state, open_=((decision, tuple(decision.routes)),))
    second.run(1)
    assert len(second.writes) == 1
    assert second.writes[0][1]["eua-1"] == 0
    fence = second.served["dns/chat.test"].fence
    assert fence is not None
    assert (fence.epoch, fence.seq) > (decision.epoch, decision.seq)


def test_a_fence_above_our_epoch_raises_it() -> None:
    bench = Bench(make_fleet())
    seen = bench.served["dns/chat.test"]
    bench.served["dns/chat.test"] = Observed(seen.weights, seen.values, Fence("test", 41, 7, "x"))
    bench.lead(epoch=2)
    bench.all_say(HEALTHY)
    bench.run(5)
    lose(bench, "eua")
    bench.run(5)
    fence = bench.served["dns/chat.test"].fence
    assert fence is not None
    assert fence.epoch == 42


def test_a_follower_sees_the_same_and_does_nothing() -> None:
    bench = Bench(make_fleet())
    bench.all_say(HEALTHY)
    bench.run(10)
    lose(bench, "eua")
    bench.run(10)
    assert bench.diagnoses() == ["zone eua"]
    assert not [e for _, e in bench.log if isinstance(e, fx.Persist | fx.Apply)]
    assert "does not lead" in bench.command("drain", "eub", reason="x").text


def test_suspects_are_confirmed_by_everybody_else_once_an_interval() -> None:
    bench = warm(Bench(make_fleet()))
    bench.say("probe-eua", HEALTHY, ["usa-1"], suspect=True)
    asked = bench.confirms()
    assert [c.endpoints for c in asked] == [("usa-1",)]
    assert "probe-eua" not in asked[0].agents
    assert len(asked[0].agents) == 6
    bench.say("probe-eub", HEALTHY, ["usa-1"], suspect=True)
    assert len(bench.confirms()) == 1
    bench.run(6)
    bench.say("probe-euc", HEALTHY, ["usa-1"], suspect=True, version="x")
    assert len(bench.confirms()) == 2


def test_confirms_are_bounded_in_a_region_outage() -> None:
    bench = warm(Bench(make_fleet({"eu": 3, "us": 3}, per_zone=60)))
    lost = [e for e in bench.fleet.endpoint_by_name if e.startswith("eu")]
    bench.all_say(HEALTHY, lost, ["probe-usa"], suspect=True)
    assert sum(len(c.endpoints) for c in bench.confirms()) <= 50


def test_membership_routes_are_in_or_out() -> None:
    bench = Bench(make_fleet({"eu": 3}, per_zone=1, outside=2, demand=None), MEMBERS)
    warm(bench)
    lose(bench, "eua")
    bench.run(5)
    assert bench.writes[-1][1] == {"eua-1": 0, "eub-1": 1, "euc-1": 1}
    bench.muted.clear()
    bench.all_say(HEALTHY)
    bench.run(601 + 300)
    assert bench.writes[-1][1]["eua-1"] == 0  # 25% of its fair share is not enough to come in
    bench.run(300)
    assert bench.writes[-1][1]["eua-1"] == 1


def test_a_zone_route_weighs_zones_and_serves_the_addresses_that_carry_traffic() -> None:
    bench = warm(Bench(make_fleet(per="zone", per_zone=4, demand=None)))
    bench.all_say(UNHEALTHY, ["eua-1"])
    bench.run(5)
    served = bench.served["dns/chat.test"]
    assert "203.0.0.1" not in served.values["eua"]
    assert served.weights["eua"] > 0
    lose(bench, "eua")
    bench.run(5)
    assert bench.served["dns/chat.test"].weights["eua"] == 0


def test_the_same_events_give_the_same_effects() -> None:
    def play() -> list[str]:
        bench = warm(Bench(make_fleet()))
        lose(bench, "eua")
        bench.run(60)
        bench.command("drain", "usb", reason="x")
        bench.run(200)
        return [repr(e) for _, e in bench.log]

    assert play() == play()


def test_state_survives_as_plain_data() -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    assert isinstance(bench.state, HardState)
    assert bench.state.drains[0].name == "eua"
    assert bench.state.desired["dns/chat.test"].weights["eua-1"] == 0


@pytest.mark.parametrize(
    ("layer", "paid"), [(Layer.LIVENESS, ()), (Layer.USER_PATH, ("usa-1",)), (Layer.CORRECTNESS, ("usa-1",))]
)
def test_checks_that_cost_tokens_are_confirmed_only_where_they_failed(layer: Layer, paid: tuple[str, ...]) -> None:
    bench = warm(Bench(make_fleet()))
    bench.say("probe-eua", HEALTHY, ["usa-1"], suspect=True, layer=layer, paid=bool(paid))
    assert [c.paid for c in bench.confirms()] == [paid]


def test_a_service_with_a_dead_zone_out_of_the_way_is_degraded_not_well() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.engine.status(bench.now)["services"]["chat"]["health"] == "healthy"
    lose(bench, "eua")
    bench.run(5)
    assert bench.engine.status(bench.now)["services"]["chat"]["health"] == "degraded"
