"""Active-passive on the engine: takeover, failback, the data gate, activation steps, and what waits for a human."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.activate import ready_endpoints
from steerd.model.fleet import Dependency, Fleet, Objectives, Routing
from steerd.model.sample import Reading
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet

EU = ("eua-1", "eua-2", "eub-1", "eub-2", "euc-1", "euc-2")
US = ("usa-1", "usa-2", "usb-1", "usb-2", "usc-1", "usc-2")
EU_AGENTS = {"probe-eua", "probe-eub", "probe-euc"}
READY_THEN_LAG = ({"wait_ready": 4, "timeout_s": 60.0}, {"wait_lag": "state", "timeout_s": 60.0})
HOOK = ({"scale": {"webhook": "http://127.0.0.1:1/scale", "body": {"replicas": 8}}, "timeout_s": 60.0},)


def fleet(
    *,
    trickle: float = 0.01,
    failback: Any = "manual",
    stateful: bool = False,
    activate: Mapping[str, Any] | None = None,
    rpo_s: float | None = 60.0,
) -> Fleet:
    made = make_fleet(
        {"eu": 3, "us": 3},
        capacity=200.0,
        routing=Routing(mode="active-passive", order=("eu", "us"), trickle=trickle, failback=failback),
        objectives=Objectives(rto_s=300.0, rpo_s=rpo_s),
        activate=dict(activate or {}),
        depends_on=("state",) if stateful else (),
    )
    if not stateful:
        return made
    return replace(made, dependencies=(Dependency("state", "postgres", True, 30.0, {}, {"eu": {}, "us": {}}),))


def served(trickle: float = 0.01) -> dict[str, int]:
    """Weights as a healthy fleet would have them."""
    return {**dict.fromkeys(EU, 255), **dict.fromkeys(US, round(255 * trickle / (1 - trickle)))}


def bench(made: Fleet, trickle: float = 0.01) -> Bench:
    b = Bench(made, served=served(trickle))
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def lag(b: Bench, seconds: float, region: str = "us", *, agents: int = 4) -> None:
    for agent in b.fleet.agents[-agents:]:
        b._step(ev.ReadingReceived(agent.name, (Reading(f"state@{region}", "lag_s", seconds),)))


def lose(b: Bench, region: str = "eu") -> None:
    """The region loses power: its agents fall silent, the others are refused."""
    b.muted |= {f"probe-{z}" for r in b.fleet.regions if r.name == region for z in r.zones}
    b.all_say(Verdict.UNHEALTHY, EU if region == "eu" else US)


def back(b: Bench, endpoints: tuple[str, ...] = EU) -> None:
    b.muted = set()
    b.all_say(Verdict.HEALTHY, endpoints)


def hooks(b: Bench) -> list[fx.RunHook]:
    return [e for _, e in b.log if isinstance(e, fx.RunHook)]


def test_a_healthy_standby_carries_its_trickle_and_nothing_is_written() -> None:
    b = bench(fleet())
    assert b.share("us") == pytest.approx(0.01, abs=0.003)
    b.run(300)
    assert b.writes == []


@pytest.mark.parametrize("trickle", [0.0, 0.01])
def test_the_standby_takes_over_and_failback_waits_for_a_human(trickle: float) -> None:
    b = bench(fleet(trickle=trickle), trickle)
    lose(b)
    b.run(30)
    assert (b.share("eu"), b.share("us")) == pytest.approx((0.0, 1.0))
    assert b.engine.world.active["chat"].region == "us"
    back(b)
    b.run(3600)
    assert (b.share("eu"), b.share("us")) == pytest.approx((0.0, 1.0)), "no trickle to a region that is held out"
    assert "restore-held" in b.alerts()
    assert b.command("restore", "eu").result == "ok"
    b.run(1)
    assert b.share("eu") == pytest.approx(0.05, abs=0.01)
    b.run(1800)
    assert b.share("eu") == pytest.approx(1 - trickle, abs=0.005)
    assert b.engine.world.active["chat"].region == "eu"
    assert "restore-held" not in b.alerts()


def test_automatic_failback_goes_through_the_restore_ramp() -> None:
    b = bench(fleet(failback="automatic"))
    lose(b)
    b.run(30)
    back(b)
    b.run(500)
    assert b.share("eu") == 0.0
    b.run(150)
    assert b.share("eu") == pytest.approx(0.05, abs=0.01)
    b.run(1500)
    assert b.share("eu") > 0.98


def test_which_region_is_active_survives_a_restart() -> None:
    b = bench(fleet())
    lose(b)
    b.run(30)
    state = b.state
    assert state is not None
    assert state.active["chat"].region == "us"
    again = Bench(b.fleet, served=dict(b.writes[-1][1]))
    again.all_say(Verdict.HEALTHY)
    again.lead(3, state)
    again.run(3600)
    assert again.share("eu") == 0.0


def test_errors_that_are_not_proof_of_death_move_the_region_too() -> None:
    b = bench(fleet(trickle=0.0), 0.0)
    b.all_say(Verdict.UNHEALTHY, EU, transport=False, reason="wrong answer")
    b.run(30)
    assert b.share("us") == pytest.approx(1.0)


def test_a_lagging_standby_does_not_take_over() -> None:
    b = bench(fleet(stateful=True, activate={"us": READY_THEN_LAG}))
    lag(b, 600.0)
    b.run(30)
    lose(b)
    b.run(300)
    assert b.share("eu") > 0.9
    assert "data-behind" in b.alerts()
    lag(b, 0.0)  # measured without a primary: says nothing
    b.run(300)
    assert b.share("eu") > 0.9
    answer = b.command("drain", "eu", reason="we take the loss")
    assert (answer.result, answer.data["veto"]["guard"]) == ("vetoed", "data")
    assert b.command("drain", "eu", reason="really", force=True).result == "vetoed"
    assert b.command("drain", "eu", reason="really", now=True, accept_data_loss=True).result == "ok"
    b.run(5)
    assert b.share("us") == pytest.approx(1.0)


def test_recent_data_takes_over_and_lag_that_grows_after_the_loss_does_not_count() -> None:
    b = bench(fleet(stateful=True, activate={"us": READY_THEN_LAG}))
    lag(b, 3.0)
    b.run(10)
    lose(b)
    b.run(1)
    lag(b, 900.0)
    b.run(20)
    assert b.share("us") == pytest.approx(1.0)
    assert "data-behind" not in b.alerts()
    took = b.records("takeover")
    assert [r.of for r in took] == ["us"]
    assert took[0].data["rto_s"] == 300.0


@pytest.mark.parametrize("known", [False, True])
def test_unknown_lag_blocks_and_what_was_stored_counts(known: bool) -> None:
    b = bench(fleet(stateful=True))
    if known:
        lag(b, 3.0)
        b.run(1)
        state = b.state
        b = Bench(b.fleet, served=served())
        b.all_say(Verdict.HEALTHY)
        b.lead(3, state)
        b.run(5)
    lose(b)
    b.run(60)
    assert (b.share("us") > 0.999) is known
    assert ("data-behind" in b.alerts()) is not known


def test_one_lying_agent_decides_nothing_about_lag() -> None:
    b = bench(fleet(stateful=True))
    lag(b, 600.0)
    b._step(ev.ReadingReceived("probe-usa", (Reading("state@us", "lag_s", 0.0),)))
    b._step(ev.ReadingReceived("nobody", (Reading("state@us", "lag_s", 0.0),)))
    b._step(ev.ReadingReceived("probe-usb", (Reading("state@us", "lag_s", float("nan")),)))
    lose(b)
    b.run(60)
    assert "data-behind" in b.alerts()


def test_a_hook_runs_before_the_takeover_and_its_end_lets_it_go() -> None:
    b = bench(fleet(trickle=0.0, activate={"us": (*HOOK, {"wait_ready": 4, "timeout_s": 60.0})}), 0.0)
    lose(b)
    b.run(20)
    assert [(h.service, h.region, h.step) for h in hooks(b)] == [("chat", "us", 0)]
    assert b.share("eu") == pytest.approx(1.0)
    b._step(ev.HookFinished("chat", "us", 0, True, "202"))
    b.run(2)
    assert b.share("us") == pytest.approx(1.0)
    assert any(r.text.startswith("ready after") for r in b.records("activate"))


@pytest.mark.parametrize(("on_failure", "moved"), [("stop", False), ("continue", True)])
def test_a_failed_step_stops_or_goes_on(on_failure: str, moved: bool) -> None:
    step = {**HOOK[0], "on_failure": on_failure}
    b = bench(fleet(activate={"us": (step,)}))
    lose(b)
    b.run(20)
    b._step(ev.HookFinished("chat", "us", 0, False, "500 Internal Server Error"))
    b.run(5)
    assert (b.share("us") > 0.999) is moved
    assert "activation-failed" in b.alerts() or moved
    if not moved:
        assert any(v.startswith("activate") for v in b.vetoes())
        assert b.command("drain", "eu", reason="again").result == "ok"
        b.run(1)
        assert len(hooks(b)) == 2, "an operator's drain runs the steps anew"


def test_a_hook_that_never_answers_fails_at_its_timeout() -> None:
    b = bench(fleet(activate={"us": HOOK}))
    lose(b)
    b.run(90)
    assert "activation-failed" in b.alerts()
    b._step(ev.HookFinished("chat", "us", 0, True, "late"))
    b.run(5)
    assert b.share("eu") > 0.9


def test_an_operators_drain_waits_for_the_steps_and_then_ramps() -> None:
    b = bench(fleet(trickle=0.0, activate={"us": HOOK}), 0.0)
    answer = b.command("drain", "eu", reason="maintenance")
    assert answer.result == "ok"
    assert "as soon as" in answer.text
    b.run(30)
    assert b.share("eu") == pytest.approx(1.0)
    b._step(ev.HookFinished("chat", "us", 0, True))
    b.run(2)
    assert b.share("us") == pytest.approx(0.25, abs=0.01)
    b.run(200)
    assert b.share("us") == pytest.approx(1.0)
    assert b.engine.world.active["chat"].region == "us"


def test_active_regions_of_two_run_their_steps_beside_the_move() -> None:
    made = make_fleet({"eu": 3, "us": 3}, activate={"us": HOOK})
    b = Bench(made)
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    lose(b)
    b.run(30)
    assert b.share("us") == pytest.approx(1.0)
    assert len(hooks(b)) == 1


def test_a_standby_that_differs_is_told_before_it_matters() -> None:
    b = Bench(fleet(), served=served())
    b.lead()
    b.all_say(Verdict.HEALTHY, EU, version="v2")
    b.all_say(Verdict.HEALTHY, US, version="v1")
    b.run(30)
    assert "standby-drift" not in b.alerts()
    b.run(60)
    assert "standby-drift" in b.alerts()
    b.all_say(Verdict.HEALTHY, US, version="v2")
    b.run(12)
    assert "standby-drift" not in b.alerts()
    b.all_say(Verdict.UNHEALTHY, ("usa-1",))
    b.run(70)
    text = next(a.text for (kind, _), a in b.engine.world.alerts.active.items() if kind == "standby-drift")
    assert "5 of its 6" in text


def test_only_a_quorum_makes_an_endpoint_ready() -> None:
    """Health that is held from before tells nothing of a region that is about to take over."""
    b = bench(fleet())
    assert ready_endpoints(b.engine.world, "chat", "us") == 6
    b.all_say(Verdict.DEGRADED, ("usa-1",))
    assert ready_endpoints(b.engine.world, "chat", "us") == 5
    b.muted = {a.name for a in b.fleet.agents}
    b.run(20)
    assert b.health("usb-1") == "healthy"
    assert ready_endpoints(b.engine.world, "chat", "us") == 0


def test_followers_keep_lag_and_health_but_no_steps_run() -> None:
    b = Bench(fleet(stateful=True, activate={"us": HOOK}), served=served())
    b.all_say(Verdict.HEALTHY)
    lag(b, 3.0)
    lose(b)
    b.run(30)
    assert hooks(b) == []
    assert b.writes == []
