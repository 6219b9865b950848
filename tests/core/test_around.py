"""Plans around what is given: somebody's edits, restricted routes, what serves now, what a record of members can say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.core import events as ev
from steerd.core.inputs import inputs_for
from steerd.core.load import utilization
from steerd.core.shares import Inputs, Mover, Slot, compute
from steerd.model.fleet import Fleet, Routing
from steerd.model.plan import Cause
from steerd.model.route import Route
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, make_fleet


def up(b: Bench) -> Bench:
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def test_somebodys_edit_counts_for_the_capacity_of_the_others() -> None:
    """One of six is edited down to next to nothing; another one fails: the four left may be filled, and no further."""
    b = up(Bench(make_fleet({"eu": 3}, demand=450.0, outside=2)))
    b.observe(weights={"euc-1": 1})
    assert "drift" in b.alerts()
    b.all_say(Verdict.UNHEALTHY, ["eua-1"], transport=False)
    b.run(30)
    weights = b.served["dns/chat.test"].weights
    assert weights["euc-1"] == 1
    load = utilization(b.engine.world, "chat", b.engine.world.services["chat"].shares)
    assert max(u for e, u in load.items() if e not in ("eua-1", "euc-1")) <= 1.01
    assert load["eua-1"] > 0.2, "what fits nowhere stays"
    assert "capacity-short" in b.alerts()
    b.observe()
    assert "drift" in b.alerts(), "the edit is still somebody else's"
    b.command("restore", "euc-1")
    b.run(5)
    assert "drift" not in b.alerts()
    assert b.share("eua-1") == 0
    assert "capacity-short" not in b.alerts()


def test_an_edit_of_a_zones_weight_is_planned_around_too() -> None:
    b = up(Bench(make_fleet({"eu": 3, "us": 3}, demand=600.0, per="zone")))
    b.observe(weights={"usa": 10})
    b.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    b.run(30)
    assert b.served["dns/chat.test"].weights["usa"] == 10
    load = utilization(b.engine.world, "chat", b.engine.world.services["chat"].shares)
    assert max(load.values()) <= 0.82


def test_an_operators_pin_is_seen_by_the_capacity_rule() -> None:
    slots = tuple(Slot(f"e{n}", "z", "r", 100.0) for n in range(5))
    mover = Mover("down", Cause.DOWN, frozenset({"e4"}), 1.0)
    result = compute(Inputs(slots, (mover,), demand=350.0, pins={"e0": 0.02}))
    assert result.shares["e0"] == pytest.approx(0.02)
    assert max(s * 350.0 for e, s in result.shares.items() if e != "e4") <= 100.0 + 1e-6
    assert result.kept["down"] == pytest.approx(result.shares["e4"])
    assert sum(result.shares.values()) == pytest.approx(1.0)


# -- a route with its own plan ---------------------------------------------------------------------------------------------


def restricted(demand: float) -> tuple[Fleet, Route]:
    fleet = make_fleet({"eu": 3, "us": 3}, demand=demand, outside=3)
    service = fleet.services[0]
    whole = service.routes[0]
    targets = tuple(t for t in whole.targets if t.key.startswith("eu"))
    inside = replace(whole, key="dns/eu.chat.test", name="eu.chat.test", only=("eu",), targets=targets)
    return replace(fleet, services=(replace(service, routes=(whole, inside)),)), inside


def test_a_restricted_route_leaves_a_down_zone_with_its_own_part_of_the_demand() -> None:
    fleet, route = restricted(600.0)
    b = up(Bench(fleet))
    b.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    b.run(30)
    assert {t for t, w in b.served[route.key].weights.items() if w > 0} == {"eub-1", "eub-2", "euc-1", "euc-2"}
    assert "capacity-short" not in b.alerts()


def test_a_restricted_route_that_is_short_says_so_and_is_planned_again_when_demand_falls() -> None:
    fleet, route = restricted(1000.0)
    b = up(Bench(fleet))
    b.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    b.run(30)
    assert b.served[route.key].weights["eua-1"] > 0
    text = b.engine.world.alerts.active["capacity-short", route.key].text
    assert "eua" in text
    b.deliver_event(ev.DemandObserved("chat", 500.0))
    b.run(5)
    assert b.served[route.key].weights["eua-1"] == 0
    assert ("capacity-short", route.key) not in b.engine.world.alerts.active


# -- what stays ------------------------------------------------------------------------------------------------------------


def test_what_is_out_gets_nothing_back_when_its_zone_goes_too() -> None:
    """The first endpoint of a zone is out; then the zone is named, and what has no room stays on the one that serves."""
    b = up(Bench(make_fleet({"eu": 3}, demand=480.0, outside=2)))
    b.all_say(Verdict.UNHEALTHY, ["eua-1"], transport=False)
    b.run(30)
    assert b.share("eua-1") == 0
    b.all_say(Verdict.UNHEALTHY, ["eua-2"], transport=False)
    b.run(120)
    assert b.diagnoses() == ["zone eua"]
    assert b.share("eua-1") == 0
    assert b.share("eua-2") > 0.15, "what has no room stays"


def test_idle_endpoints_are_told_from_those_that_serve() -> None:
    b = up(Bench(make_fleet({"eu": 3}, demand=400.0, outside=2)))
    b.all_say(Verdict.UNHEALTHY, ["eua-1"], transport=False)
    b.run(10)
    world = b.engine.world
    drains = world.drains.of_service("chat", world.domains)
    assert "eua-1" in inputs_for(world, "chat", drains).idle
    slots = tuple(Slot(e, "z", "r", 100.0) for e in ("a", "b", "c"))
    mover = Mover("zone", Cause.DOWN, frozenset({"a", "b"}), 1.0)
    kept = compute(Inputs(slots, (mover,), demand=150.0, idle=frozenset({"a"}))).shares
    assert kept["a"] == 0
    assert kept["b"] == pytest.approx(1 / 3)
    nobody = compute(Inputs(slots, (mover,), demand=150.0, idle=frozenset({"a", "b"}))).shares
    assert nobody["a"] == nobody["b"] == pytest.approx(1 / 6), "where nobody serves, each has its part"


# -- members only ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "us"),
    [
        (Routing(mode="active-passive", order=("eu", "us"), trickle=0.01), 0.0),
        (Routing(prefer={"eu": 0.95, "us": 0.05}), 0.0),
        (Routing(prefer={"eu": 0.7, "us": 0.3}), 0.5),
        (Routing(), 0.5),
    ],
    ids=["trickle", "small preference", "preference", "by capacity"],
)
def test_a_record_of_members_leaves_out_what_it_cannot_express(routing: Routing, us: float) -> None:
    fleet = make_fleet({"eu": 2, "us": 2}, capacity=200.0, demand=200.0, routing=routing)
    b = Bench(fleet, MEMBERS, served={})
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(30)
    assert b.share("us") == pytest.approx(us)
    b.command("drain", "eu", reason="x", now=True)
    b.run(5)
    assert b.share("us") == pytest.approx(1.0)


# -- force -----------------------------------------------------------------------------------------------------------------


def test_a_forced_drain_that_stands_is_no_licence_for_later_moves() -> None:
    """Members only: without the wrong zone, the others would run at 107%. An endpoint forced out long ago changes nothing."""
    b = up(Bench(make_fleet({"eu": 3}, per_zone=4, demand=750.0, outside=2), MEMBERS))
    b.command("drain", "euc-1", reason="x", now=True, force=True)
    b.run(60)
    assert b.share("euc-1") == 0, "force passes in the write that it is for"
    before = dict(b.served["dns/chat.test"].weights)
    b.all_say(Verdict.UNHEALTHY, [f"eua-{n}" for n in (1, 2, 3, 4)], transport=False)
    b.run(30)
    assert b.served["dns/chat.test"].weights == before
    assert "capacity-short" in b.alerts()
