"""A new config takes capacity away, or a fallback: what is asked before, and what is forgotten after."""

from __future__ import annotations

from dataclasses import replace

from steerd.core import events as ev
from steerd.model.fleet import Fleet
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet, with_second


def up(fleet: Fleet) -> Bench:
    b = Bench(fleet)
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def without(fleet: Fleet, *zones: str) -> Fleet:
    service = fleet.services[0]
    endpoints = tuple(e for e in service.endpoints if e.zone not in zones)
    names = {e.name for e in endpoints}
    routes = tuple(replace(r, targets=tuple(t for t in r.targets if t.key in names)) for r in service.routes)
    return replace(fleet, config_hash="less", services=(replace(service, endpoints=endpoints, routes=routes),))


def test_a_removal_that_leaves_too_little_room_is_refused_until_accepted_and_then_told() -> None:
    b = up(make_fleet(demand=760.0))
    less = without(b.fleet, "eua", "eub")
    b.reload(less)
    b.run(5)
    assert b.engine.world.fleet.config_hash == "c0ffee"
    refused = next(a.text for a in b.engine.world.alerts.active.values() if a.kind == "config-refused")
    assert "95%" in refused
    assert "steerd config accept" in refused
    assert b.writes == []
    b.reload(less, accepted=True)
    b.run(5)
    assert b.engine.world.fleet.config_hash == "less"
    assert b.share("us") > 0.7
    assert ("capacity-short", "chat/removed") in b.engine.world.alerts.active
    b.deliver_event(ev.DemandObserved("chat", 500.0))
    b.run(5)
    assert "capacity-short" not in b.alerts()


def test_a_removal_that_fits_and_one_of_what_is_out_anyhow_are_taken_at_once() -> None:
    b = up(make_fleet(demand=600.0))
    b.reload(without(b.fleet, "eua"))
    b.run(5)
    assert b.engine.world.fleet.config_hash == "less"
    tight = up(make_fleet(demand=880.0))
    tight.command("drain", "eua", reason="gone", now=True, force=True)
    tight.run(5)
    tight.reload(without(tight.fleet, "eua"))
    tight.run(5)
    assert tight.engine.world.fleet.config_hash == "less", "it carried nothing: its removal takes nothing away"


def test_with_unknown_demand_only_half_of_the_capacity_is_a_reason_to_refuse() -> None:
    fleet = make_fleet(demand=None)
    b = up(fleet)
    b.reload(without(fleet, "eua", "eub", "usa", "usb"))
    b.run(5)
    refused = next(a.text for a in b.engine.world.alerts.active.values() if a.kind == "config-refused")
    assert "67% of the capacity of chat" in refused
    assert b.engine.world.fleet.config_hash == "c0ffee"
    b.reload(without(fleet, "eua", "eub"))
    b.run(5)
    assert b.engine.world.fleet.config_hash == "less"
    assert "config-refused" not in b.alerts()


def test_the_demand_of_a_fallback_goes_with_the_fallback() -> None:
    fleet = with_second(make_fleet({"eu": 3}, demand=500.0, fallback="small"), fallback=None)
    for change in ("fallback", "service"):
        b = up(fleet)
        b.muted = {"probe-eua"}
        b.all_say(Verdict.UNHEALTHY, [e.name for e in fleet.services[0].endpoints if e.zone == "eua"])
        b.run(20)
        assert b.engine.world.services["small"].spill == {"chat": 180.0}
        assert ("fallback-used", "chat") in b.engine.world.alerts.active
        first, second = fleet.services
        left = (replace(first, fallback=None), second) if change == "fallback" else (second,)
        b.reload(replace(fleet, services=left, config_hash=change), accepted=True)
        b.run(5)
        assert b.engine.world.services["small"].spill == {}
        assert "fallback-used" not in b.alerts()


def test_what_the_route_says_of_a_target_that_left_is_kept_until_it_is_out() -> None:
    fleet = make_fleet(demand=600.0)
    service = fleet.services[0]
    route = service.routes[0]
    groups = {t.key: f"arn:{t.key}" for t in route.targets}
    routes = (replace(route, settings={"target_groups": groups}),)
    b = up(replace(fleet, services=(replace(service, routes=routes),)))
    less = without(b.fleet, "eua")
    names = {e.name for e in less.services[0].endpoints}
    stay = {k: v for k, v in groups.items() if k in names}
    service = less.services[0]
    routes = tuple(replace(r, settings={"target_groups": stay}) for r in service.routes)
    b.reload(replace(less, services=(replace(service, routes=routes),)))
    assert b.engine.routes()[route.key].settings["target_groups"] == groups
    b.run(60)
    b.reload(replace(b.fleet, config_hash="again"))
    assert b.engine.routes()[route.key].settings["target_groups"] == stay
