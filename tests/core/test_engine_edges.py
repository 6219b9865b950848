"""The engine where two things happen at once, or something happened while nobody looked: each was wrong once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.model.fleet import Fleet
from steerd.model.route import Capabilities, Observed
from steerd.model.vote import Verdict
from tests.core.test_engine import lose, warm
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

HEALTHY, UNHEALTHY = Verdict.HEALTHY, Verdict.UNHEALTHY
ROUTE = "dns/chat.test"


def recover(bench: Bench) -> None:
    bench.muted.clear()
    bench.all_say(HEALTHY)


def pair() -> Fleet:
    return make_fleet({"eu": 1, "us": 1}, outside=3, demand=None)


def with_second_route(fleet: Fleet) -> Fleet:
    service = fleet.services[0]
    second = replace(service.routes[0], key="dns/other.test", name="other.test")
    return replace(fleet, services=(replace(service, routes=(*service.routes, second)),))


def with_routes(fleet: Fleet, **changes: object) -> Fleet:
    service = fleet.services[0]
    routes = tuple(replace(r, **changes) for r in service.routes)  # type: ignore[arg-type]  # a test's own field names
    return replace(fleet, services=(replace(service, routes=routes),))


# -- two domains at once ------------------------------------------------------------------------------------------------


def test_a_region_on_its_way_back_takes_all_when_the_other_dies() -> None:
    bench = warm(Bench(pair()))
    lose(bench, "eua")
    bench.run(5)
    recover(bench)
    bench.run(700)
    assert 0 < bench.share("eua") < 0.1
    lose(bench, "usa")
    bench.run(5)
    assert bench.share("usa") == 0


def test_a_healthy_region_that_still_waits_comes_back_when_the_other_dies() -> None:
    bench = warm(Bench(pair()))
    lose(bench, "eua")
    bench.run(5)
    recover(bench)
    bench.run(60)
    assert bench.share("eua") == 0
    lose(bench, "usa")
    bench.run(5)
    assert bench.share("usa") == 0
    assert "vetoed" not in bench.alerts()
    assert any("comes back early" in r.text for r in bench.records("restore"))


def test_a_freeze_or_unknown_health_brings_nothing_back_early() -> None:
    bench = warm(Bench(pair()))
    lose(bench, "eua")
    bench.run(5)
    recover(bench)
    bench.run(60)
    bench.command("freeze", reason="release")
    lose(bench, "usa")
    bench.run(60)
    assert bench.share("eua") == 0


def test_domains_that_operators_are_draining_still_take_what_the_dead_leave() -> None:
    bench = warm(Bench(make_fleet({"eu": 3}, outside=2, demand=None)))
    bench.command("drain", "eub", reason="x")
    bench.command("drain", "euc", reason="x")
    lose(bench, "eua")
    bench.run(5)
    assert bench.share("eua") == 0


def test_two_operator_drains_of_all_there_is_never_both_finish() -> None:
    bench = warm(Bench(make_fleet({"eu": 2}, outside=2, demand=None)))
    assert bench.command("drain", "eua", reason="x").result == "ok"
    assert bench.command("drain", "eub", reason="x").result == "ok"
    bench.run(600)
    assert bench.share("eua") == 0
    assert bench.share("eub") == pytest.approx(1.0)
    assert bench.vetoes() == ["never-empty eub"]


def test_the_floor_counts_what_left_in_the_same_instant() -> None:
    bench = warm(Bench(make_fleet(demand=None)))
    bad = [e for e in bench.fleet.endpoint_by_name if e.startswith(("eu", "usa"))]
    bench.all_say(UNHEALTHY, bad, transport=False)
    bench.run(10)
    assert bench.share("eu") == 0
    assert bench.share("usa") > 0
    assert bench.vetoes() == ["floor usa"]


def test_zones_that_are_still_down_stay_out_when_their_region_comes_back() -> None:
    bench = warm(Bench(make_fleet(demand=None)))
    bad = [e for e in bench.fleet.endpoint_by_name if e.startswith("eu")]
    bench.all_say(UNHEALTHY, bad, transport=False)
    bench.run(10)
    assert bench.drains() == ["eu 1.00 held down"]
    bench.all_say(HEALTHY, ["eua-1", "eua-2"])
    bench.run(2200)
    assert bench.share("eua") > 0.4
    assert bench.share("eub") == bench.share("euc") == 0


def test_single_endpoints_that_are_still_down_stay_out_when_their_zone_comes_back() -> None:
    bench = warm(Bench(make_fleet({"eu": 3}, per_zone=6, outside=2, demand=None)))
    zone = [f"eua-{n}" for n in range(1, 7)]
    bench.all_say(UNHEALTHY, zone, transport=False)
    bench.run(10)
    assert bench.drains() == ["eua 1.00 held down"]
    bench.all_say(HEALTHY, zone[3:])  # three left: more single endpoints than `max_ejected` would ever take out
    bench.run(2200)
    assert [round(bench.share(e), 3) for e in zone[:3]] == [0, 0, 0]
    assert bench.share("eua-5") > 0


# -- ramps --------------------------------------------------------------------------------------------------------------


def test_draining_again_what_is_on_its_way_back_never_brings_more_of_it_back() -> None:
    bench = warm(Bench(make_fleet()))
    bench.command("drain", "eua", reason="x", now=True)
    bench.command("restore", "eua")
    before = bench.share("eua")
    bench.command("drain", "eua", reason="y")
    assert bench.share("eua") <= before


@pytest.mark.parametrize("how", ["freeze", "global"])
def test_a_domain_that_fails_while_all_stands_still_is_healthy_for_long_enough_anew(how: str) -> None:
    bench = warm(Bench(make_fleet()))
    lose(bench, "eua")
    bench.run(5)
    recover(bench)
    bench.run(500)
    if how == "freeze":
        bench.command("freeze", reason="x")
        lose(bench, "eua")
        bench.run(300)
        recover(bench)
        bench.run(3)
        bench.command("unfreeze")
    else:
        bench.all_say(UNHEALTHY, transport=False)
        bench.run(300)
        assert bench.diagnoses() == ["global chat"]
        recover(bench)
        bench.run(65)
    bench.run(60)
    assert bench.drains() == ["eua 1.00 held dead"]


@pytest.mark.parametrize("caps", [WEIGHTED, MEMBERS])
def test_a_fleet_of_which_one_endpoint_survived_comes_back(caps: Capabilities) -> None:
    bench = warm(Bench(make_fleet({"eu": 3, "us": 2}, demand=500.0), caps))
    bench.all_say(UNHEALTHY, [e for e in bench.fleet.endpoint_by_name if e != "eua-1"])
    bench.run(20)
    assert len(bench.drains()) > 2
    recover(bench)
    bench.run(4000)
    assert bench.drains() == []
    assert "restore-held" not in bench.alerts()


def test_an_expired_drain_of_what_is_down_is_told_once_and_its_alert_ends() -> None:
    bench = warm(Bench(make_fleet()))
    bench.command("drain", "eua", reason="x", now=True, for_s=60.0)
    lose(bench, "eua")
    bench.run(600)
    assert "restore-held" in bench.alerts()
    assert bench.share("eua") == 0
    assert len(bench.records("restore")) == 0
    recover(bench)
    bench.run(15)
    assert len([r for r in bench.records("restore") if "expired" in r.text]) == 1
    assert "restore-held" not in bench.alerts()


def test_a_region_comes_back_to_a_fleet_that_is_too_small_anyhow() -> None:
    bench = warm(Bench(make_fleet(demand=1300.0)))
    lose(bench, "eua", "eub", "euc")
    bench.run(20)
    assert bench.share("eu") == 0
    recover(bench)
    bench.run(2000)
    assert bench.share("eu") == pytest.approx(0.5, abs=0.01)
    assert "restore-held" not in bench.alerts()


def test_held_health_alone_starts_no_drain() -> None:
    bench = warm(Bench(make_fleet(demand=None)))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    bench.command("freeze", reason="x", for_s=60.0)
    bench.all_say(UNHEALTHY, ["usa-1", "usa-2"], transport=False)
    bench.run(5)
    bench.muted = {a.name for a in bench.fleet.agents}
    written = len(bench.writes)
    bench.run(300)  # the freeze ends with nobody voting any more
    assert bench.health("usa-1") == "down"
    assert len(bench.writes) == written


# -- routes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at start", "later"])
def test_a_record_that_lacks_endpoints_never_takes_them_out_of_the_others(when: str) -> None:
    fleet = make_fleet(demand=None)
    both = with_second_route(fleet)
    partial = Observed({"eua-1": 255}, {"eua-1": ("203.0.0.1",)})
    bench = Bench(both if when == "at start" else fleet)
    if when == "at start":
        bench.served["dns/other.test"] = partial
        bench.lead()
        bench.all_say(HEALTHY)
    else:
        warm(bench)
        bench.served["dns/other.test"] = partial
        bench.reload(both)
        bench.observe("dns/other.test")
    bench.run(30)
    assert bench.drains() == []
    assert set(bench.served[ROUTE].weights.values()) == {255}


@pytest.mark.parametrize("caps", [WEIGHTED, replace(WEIGHTED, volatile=True)])
def test_a_route_that_enforces_is_set_back_before_any_decision_of_ours(caps: Capabilities) -> None:
    first = warm(Bench(make_fleet()))
    lose(first, "eua")
    first.run(5)
    on_drift = "report" if caps.volatile else "enforce"
    second = Bench(with_routes(make_fleet(), on_drift=on_drift), caps, start=first.now)
    second.served = dict(first.served)
    second.lead(epoch=3, state=first.state)
    assert second.writes == []
    second.observe(weights={"eua-1": 255, "eua-2": 255})  # the proxy was reloaded and forgot everything
    second.run(1)
    assert second.served[ROUTE].weights["eua-1"] == 0
    fence = second.served[ROUTE].fence
    assert fence is not None
    assert fence.epoch == 3
    kinds = [type(e) for _, e in second.log if isinstance(e, fx.Persist | fx.Apply)]
    assert kinds == [fx.Persist, fx.Apply]


def test_what_was_decided_in_observe_mode_is_written_when_it_ends() -> None:
    bench = warm(Bench(make_fleet(mode="observe")))
    lose(bench, "eua")
    bench.run(60)
    assert bench.writes == []
    bench.reload(make_fleet())
    bench.observe()
    bench.run(5)
    assert bench.served[ROUTE].weights["eua-1"] == 0
    assert "drift" not in bench.alerts()


def test_a_restart_out_of_observe_mode_is_no_drift() -> None:
    first = warm(Bench(make_fleet(mode="observe")))
    lose(first, "eua")
    first.run(60)
    second = Bench(make_fleet(), start=first.now)
    second.lead(epoch=3, state=first.state)
    second.run(5)
    assert "drift" not in second.alerts()
    assert second.served[ROUTE].weights["eua-1"] == 0


def test_a_drain_asked_for_before_the_routes_were_read_is_written_once_they_are() -> None:
    bench = Bench(make_fleet())
    bench._step(ev.LeadershipChanged(leading=True, epoch=2, leader="co"))
    assert bench.command("drain", "eua", reason="x", now=True).result == "ok"
    assert bench.writes == []
    bench.observe()
    bench.run(5)
    assert bench.served[ROUTE].weights["eua-1"] == 0


# -- configs ------------------------------------------------------------------------------------------------------------


def test_a_drained_zone_that_is_renamed_does_not_come_back_at_once() -> None:
    fleet = make_fleet()
    bench = warm(Bench(fleet))
    lose(bench, "eua")
    bench.run(5)
    recover(bench)
    bench.run(60)
    service = fleet.services[0]
    zones = {"eua": "eux"}
    renamed = replace(
        fleet,
        regions=tuple(replace(r, zones=tuple(zones.get(z, z) for z in r.zones)) for r in fleet.regions),
        services=(
            replace(service, endpoints=tuple(replace(e, zone=zones.get(e.zone, e.zone)) for e in service.endpoints)),
        ),
    )
    bench.reload(renamed)
    bench.run(1)
    assert bench.share("eux") < 0.01
    assert {d.split()[0] for d in bench.drains()} == {"eua-1", "eua-2"}


def test_a_drain_of_an_endpoint_that_changed_its_service_is_forgotten() -> None:
    fleet = make_fleet()
    bench = warm(Bench(fleet))
    bench.all_say(UNHEALTHY, ["eua-1"])
    bench.run(5)
    assert bench.drains() == ["eua-1 1.00 held dead"]
    service = fleet.services[0]
    moved, rest = service.endpoints[0], service.endpoints[1:]
    other = replace(service, name="other", endpoints=(replace(moved, service="other"),), routes=())
    bench.reload(replace(fleet, services=(replace(service, endpoints=rest), other)))
    assert not [k for k in bench.engine.world.drains.book if k.startswith("auto:chat:eua-1")]


def test_alerts_end_with_what_they_are_about() -> None:
    bench = warm(Bench(make_fleet(per_zone=3)))
    bench.say("probe-eua", HEALTHY, ["eua-3"], errors=("user_path: 401",))
    assert "probe-error" in bench.alerts()
    bench.reload(make_fleet(per_zone=2))
    assert "probe-error" not in bench.alerts()


def test_a_leaders_alerts_end_with_its_lead() -> None:
    bench = warm(Bench(make_fleet(demand=None)))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    bench.run(5)
    bench.all_say(UNHEALTHY, ["eub-1", "eub-2"], transport=False)
    bench.run(5)
    assert "vetoed" in bench.alerts()
    bench._step(ev.LeadershipChanged(leading=False, epoch=2, leader="other"))
    assert "vetoed" not in bench.alerts()
    assert bench.drains() == []


def test_targets_that_left_are_forgotten_once_they_are_out() -> None:
    bench = warm(Bench(make_fleet(per_zone=3, demand=None)))
    bench.reload(make_fleet(per_zone=2, demand=None))
    bench.run(5)
    bench.reload(make_fleet(per_zone=2, demand=None, mode="steer", model="new"))
    bench.run(5)
    assert len(bench.engine.world.steer.routes[ROUTE].route.targets) == 12


# -- operators ----------------------------------------------------------------------------------------------------------


def test_pins_that_cannot_hold_together_are_refused() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.command("pin", "eua", share=0.8, reason="x").result == "ok"
    assert "add up to 160%" in bench.command("pin", "eub", share=0.8, reason="x").text
    assert "unpin it first" in bench.command("pin", "eua-1", share=0.1, reason="x").text
    assert bench.command("pin", "eua", share=0.5, reason="less").result == "ok"


def test_nobody_may_pass_for_automation() -> None:
    bench = warm(Bench(make_fleet()))
    assert bench.command("drain", "eua", reason="x", by="automatic").result == "invalid"
    assert bench.drains() == []


def test_restoring_what_a_diagnosis_still_names_is_refused() -> None:
    bench = warm(Bench(make_fleet(per_zone=3)))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    bench.run(5)
    assert bench.drains() == ["eua 1.00 held down"]
    assert bench.command("restore", "eua", now=True).result == "vetoed"


def test_explain_does_not_call_the_unknown_healthy() -> None:
    bench = Bench(make_fleet())
    assert bench.engine.explain("eua", bench.now)["health"] == "unknown"


def test_a_record_bound_to_a_region_says_when_nothing_is_left_for_it() -> None:
    fleet = with_routes(make_fleet(demand=None), only=("eu",))
    inside = {e: 255 if e.startswith("eu") else 0 for e in fleet.endpoint_by_name}
    bench = warm(Bench(fleet, served=inside))
    lose(bench, "eua", "eub", "euc")
    bench.run(20)
    assert "residency-blocked" in bench.alerts()
    assert bench.served[ROUTE].weights["eua-1"] == 255
    recover(bench)
    bench.run(10)
    assert "residency-blocked" not in bench.alerts()
