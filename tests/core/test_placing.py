"""Residency, fallback services, previews and explanations on the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.core import events as ev
from steerd.core.fallback import compute_with_fallback
from steerd.core.shares import Inputs, Mover, Slot
from steerd.model.fleet import Coordinator, Demand, Endpoint, Fleet, Routing
from steerd.model.plan import Cause
from steerd.model.route import Route, Target
from steerd.model.vote import Verdict
from tests.core.test_passive import EU, HOOK, US, bench, lag, lose
from tests.core.test_passive import fleet as passive_fleet
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def resident(*, also_everywhere: bool = True) -> Fleet:
    """One route for everybody and one that may only be served from eu."""
    made = make_fleet({"eu": 3, "us": 3})
    service = made.services[0]
    wide = service.routes[0]
    only = replace(wide, key="dns/eu.test", name="eu.test", only=("eu",))
    routes = (wide, only) if also_everywhere else (only,)
    return replace(made, services=(replace(service, routes=routes),))


def up(b: Bench) -> Bench:
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def carrying(b: Bench, key: str) -> set[str]:
    return {t for t, w in b.served[key].weights.items() if w > 0}


def test_a_dead_region_leaves_the_open_route_and_the_restricted_one_stays() -> None:
    b = Bench(resident(), served=None)
    b.served["dns/eu.test"] = replace(
        b.served["dns/eu.test"], weights={**dict.fromkeys(EU, 255), **dict.fromkeys(US, 0)}
    )
    up(b)
    lose(b)
    b.run(30)
    assert carrying(b, "dns/chat.test") == set(US)
    assert carrying(b, "dns/eu.test") == set(EU)
    assert ("residency-blocked", "dns/eu.test") in b.engine.world.alerts.active
    b.muted = set()
    b.all_say(Verdict.HEALTHY, EU)
    b.run(1800)
    assert "residency-blocked" not in b.alerts()


def test_the_only_route_being_restricted_vetoes_even_by_force() -> None:
    b = up(Bench(resident(also_everywhere=False)))
    assert b.command("drain", "eu", reason="r", force=True, now=True).result == "vetoed"
    assert b.command("drain", "eua", reason="r", force=True, now=True).result == "ok"
    assert carrying(b, "dns/eu.test") <= set(EU)


def test_an_edit_that_serves_from_outside_is_not_kept() -> None:
    b = Bench(resident())
    b.served["dns/eu.test"] = replace(
        b.served["dns/eu.test"], weights={**dict.fromkeys(EU, 255), **dict.fromkeys(US, 0)}
    )
    up(b)
    b.observe("dns/eu.test", {"usa-1": 255})
    b.run(5)
    assert carrying(b, "dns/eu.test") == set(EU)
    b.observe("dns/eu.test", {"eua-1": 0})
    b.run(5)
    assert "eua-1" not in carrying(b, "dns/eu.test"), "any other edit is kept, like a pin"


def test_what_a_leader_finds_served_from_outside_is_taken_out() -> None:
    b = up(Bench(resident()))
    b.run(5)
    assert carrying(b, "dns/eu.test") == set(EU)


def slots(n: int, capacity: float) -> tuple[Slot, ...]:
    return tuple(Slot(f"e{i}", f"z{i}", "r", capacity) for i in range(n))


@pytest.mark.parametrize(("room", "diverted"), [(0.0, 0.0), (40.0, 0.1), (500.0, 0.2), (None, 0.0)])
def test_the_fallback_takes_what_does_not_fit_up_to_its_room(room: float | None, diverted: float) -> None:
    inputs = Inputs(slots(5, 100.0), (Mover("m", Cause.GRAY, frozenset({"e0"}), 1.0),), demand=400.0)
    result = compute_with_fallback(inputs, room)
    assert result.diverted == pytest.approx(diverted)
    assert sum(result.shares.values()) == pytest.approx(1.0)
    for name, share in result.shares.items():
        if name != "e0":
            assert share * 400.0 * (1 - result.diverted) <= 80.0 + 1e-6
    kept = 0.2 - diverted
    assert result.shares["e0"] * (1 - result.diverted) == pytest.approx(kept, abs=1e-6)


def with_fallback(small_demand: float | None = 50.0) -> Fleet:
    made = make_fleet({"eu": 3}, demand=500.0, outside=2, fallback="small", shortfall="shed")
    small = tuple(
        Endpoint(f"small-{n}", "small", "eua", f"http://10.9.0.{n}:8000", 200.0, address=f"203.9.0.{n}") for n in (1, 2)
    )
    targets = tuple(Target(e.name, (e.name,), {e.name: (e.address or "",)}) for e in small)
    route = Route(
        key="dns/small.test", service="small", provider="dns", name="small.test", per="endpoint", targets=targets
    )
    service = replace(
        made.services[0], name="small", endpoints=small, routes=(route,), fallback=None,
        demand=Demand(value=small_demand) if small_demand is not None else None,
    )  # fmt: skip
    return replace(made, services=(*made.services, service))


def test_a_shortfall_goes_to_the_fallback_service_and_its_demand_grows() -> None:
    b = up(Bench(with_fallback()))
    assert b.command("drain", "eub", reason="kernel", now=True).result == "ok"
    b.run(2)
    assert b.share("eub") == 0.0
    assert ("fallback-used", "chat") in b.engine.world.alerts.active
    status = b.engine.status(b.now)["services"]
    assert status["small"]["demand"] == pytest.approx(50.0 + 500.0 - 320.0)
    plan = b.engine.preview(b.now)["services"]
    assert plan["chat"]["diverted"] == pytest.approx(0.36)
    assert max(plan["chat"]["utilization"].values()) <= 0.8 + 1e-3
    assert any("belongs on small" in note for note in plan["chat"]["notes"])
    assert any("whose fallback this is" in note for note in plan["small"]["notes"])
    assert any("fallback of chat" in line for line in b.engine.explain("small", b.now)["text"])
    b.command("restore", "eub", now=True)
    b.run(2)
    assert "fallback-used" not in b.alerts()
    assert b.engine.status(b.now)["services"]["small"]["demand"] == 50.0


def test_a_fallback_whose_demand_is_unknown_takes_nothing() -> None:
    b = up(Bench(with_fallback(None)))
    b.command("drain", "eub", reason="kernel", now=True)
    b.run(2)
    assert b.share("eub") > 0.2
    assert "capacity-short" in b.alerts()
    assert "fallback-used" not in b.alerts()


def test_a_previews_words_name_who_takes_over_and_it_runs_nothing() -> None:
    b = bench(passive_fleet(stateful=True, activate={"us": HOOK}))
    refused = b.command("drain", "eu", reason="r")
    assert refused.result == "vetoed"
    assert any("nobody knows how far" in note for note in refused.data["preview"]["notes"])
    lag(b, 3.0)
    answer = b.command("drain", "eu", reason="r")
    preview = answer.data["preview"]
    assert "us takes chat over; first: scale by webhook" in preview["notes"]
    assert {r["name"] for r in preview["receives"]} == set(US)
    assert preview["moved"] == pytest.approx(0.99, abs=0.01)
    assert preview["after_utilization"] == pytest.approx(600 / 1200, abs=0.01)


def test_explain_tells_the_chain_for_every_kind_of_name() -> None:
    made = replace(
        passive_fleet(stateful=True, activate={"us": HOOK}),
        coordinators=(Coordinator("co", "eu", "https://eu.test"), Coordinator("co-us", "us", "https://us.test")),
    )
    b = bench(made)
    lag(b, 90.0)
    b.all_say(Verdict.UNHEALTHY, ("eua-1",))
    b.run(5)
    engine, now = b.engine, b.now
    endpoint = engine.explain("eua-1", now)
    assert {s["agent"] for s in endpoint["samples"]} == {a.name for a in made.agents}
    assert set(endpoint["samples"][0]["checks"]) == {"liveness"}
    assert any("probe-usa says unhealthy (refused)" in line for line in endpoint["text"])
    service = engine.explain("chat", now)
    assert any(line.startswith("eu is active") for line in service["text"])
    us = engine.explain("us", now)
    assert any("90 s behind" in line and "may not take over" in line for line in us["text"])
    assert any("takes over when eu is drained" in line for line in us["would_change"])
    state = engine.explain("state", now)
    assert any("chat in us: 90 s behind, RPO 60 s" in line for line in state["text"])
    assert engine.explain("co-us", now)["text"] == ["coordinator co-us in us (https://us.test) follows co"]
    for name in ("eu", "eua", "probe-eua", "dns/chat.test"):
        assert engine.explain(name, now)["text"]
    with pytest.raises(KeyError):
        engine.explain("nothing", now)


def test_automatic_order_change_comes_back_by_the_ramp() -> None:
    """A region that becomes first in the order takes its place in steps."""
    b = bench(passive_fleet(failback="automatic"))
    service = b.fleet.services[0]
    turned = replace(service, routing=Routing(mode="active-passive", order=("us", "eu"), trickle=0.01))
    b.reload(replace(b.fleet, services=(turned,)))
    b.run(2)
    assert b.share("us") == pytest.approx(0.05, abs=0.01)
    b.run(1800)
    assert b.share("us") > 0.98
    assert [r.of for r in b.records("takeover")] == ["us"]


def test_a_stale_hook_answer_changes_nothing() -> None:
    b = bench(passive_fleet(activate={"us": HOOK}))
    b._step(ev.HookFinished("chat", "us", 0, True))
    b.run(2)
    assert b.writes == []
