"""Operators' drains: every service they cover is asked, asking again counts, and what they say is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from steerd.core import events as ev
from steerd.model.fleet import Demand, Fleet, Objectives, Routing
from steerd.model.plan import HardState
from steerd.model.sample import Reading
from steerd.model.vote import Verdict
from tests.core.test_passive import HOOK, bench, lag
from tests.core.test_passive import fleet as passive_fleet
from tests.support.bench import Bench
from tests.support.fleets import make_fleet, with_second


def up(fleet: Fleet) -> Bench:
    b = Bench(fleet)
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def ttft(b: Bench, slow: Callable[[str], bool]) -> None:
    for endpoint in b.fleet.endpoint_by_name:
        b.read("ttft_s", {endpoint: 5.0 if slow(endpoint) else 0.3})


def go(b: Bench, seconds: float, slow: Callable[[str], bool]) -> None:
    """Runs while TTFT is read every 20 s."""
    for _ in range(int(seconds / 20)):
        ttft(b, slow)
        b.run(20)


@pytest.mark.parametrize("suffering", ["chat", "small"])
def test_a_step_out_stops_when_the_receivers_of_any_service_suffer(suffering: str) -> None:
    b = up(with_second(make_fleet(objectives=Objectives(ttft_s=2.0))))
    ttft(b, lambda e: False)
    b.command("drain", "eua", reason="kernel")
    go(b, 400, lambda e: b.fleet.endpoint_by_name[e].service == suffering and b.fleet.endpoint_by_name[e].zone != "eua")
    assert b.drains() == ["eua 0.00 held operator"]
    assert "drain-stopped" in b.alerts()
    assert suffering in b.records("step")[-1].text


@pytest.mark.parametrize("manual", ["chat", "small"])
def test_manual_failback_of_any_service_keeps_the_region_out(manual: str) -> None:
    fleet = with_second(make_fleet())
    services = tuple(
        replace(s, routing=Routing(failback="manual" if s.name == manual else "automatic")) for s in fleet.services
    )
    b = up(replace(fleet, services=services))
    b.command("drain", "eu", reason="x", for_s=900.0, now=True)
    b.run(4000)
    assert b.drains() == ["eu 1.00 held operator"]
    assert "restore-held" in b.alerts()
    b.command("restore", "eu")
    assert "restore-held" not in b.alerts(), "what it waited for was done"
    b.run(2000)
    assert b.drains() == []


def test_a_service_whose_own_drain_keeps_the_zone_out_does_not_hold_the_others() -> None:
    b = up(with_second(make_fleet()))
    dead = [e for e, s in b.fleet.endpoint_by_name.items() if s.zone == "eua" and s.service == "small"]
    b.all_say(Verdict.UNHEALTHY, dead)
    b.run(10)
    b.command("drain", "eua", reason="x", for_s=300.0, now=True)
    b.run(2000)
    assert b.share("eua", "chat") == pytest.approx(1 / 6, abs=0.01)
    assert b.share("eua", "small") == 0


def test_the_steps_of_a_staged_drain_are_written_once_when_activation_ends_at_once() -> None:
    """The standby has what it needs: the drain goes at once, and is not taken back by its own review."""
    b = bench(passive_fleet(activate={"us": ({"wait_ready": 4, "timeout_s": 60.0},)}))
    answer = b.command("drain", "eu", reason="kernel")
    assert "25% at once" in answer.text
    assert "capacity-short" not in b.alerts()
    assert b.share("us") > 0.2
    b.run(50)
    assert b.share("us") > 0.2
    b.run(200)
    assert b.share("us") > 0.98
    assert len([r for r in b.records("activate") if "prepares" in r.text]) == 1


def test_what_takes_over_is_asked_when_a_drain_is_asked_for_again() -> None:
    b = bench(passive_fleet(activate={"us": HOOK}))
    b.command("drain", "eu", reason="kernel")
    b.run(5)
    answer = b.command("drain", "eu", reason="kernel, now", now=True)
    assert (answer.result, "as soon as it can" in answer.text) == ("ok", True)
    assert "receives" in answer.data["preview"]
    b.run(5)
    assert b.share("us") < 0.02, "its hook still runs"
    b.deliver_event(ev.HookFinished("chat", "us", 0, True, "ok"))
    b.run(5)
    assert b.share("us") > 0.98


def test_asking_again_with_accept_data_loss_goes_on_and_without_it_says_what_to_add() -> None:
    b = bench(passive_fleet(stateful=True))
    lag(b, 1.0)
    b.command("drain", "eu", reason="kernel")
    b.run(10)
    lag(b, 300.0)
    b.run(120)
    assert b.drains() == ["eu 0.25 draining operator"]
    refused = b.command("drain", "eu", reason="kernel", force=True)
    assert refused.result == "vetoed"
    assert "--accept-data-loss" in refused.text
    assert "--force does not" in refused.text
    assert b.command("drain", "eu", reason="kernel", accept_data_loss=True).result == "ok"
    b.command("drain", "eu", reason="still")  # once said, it stays said
    b.run(300)
    assert b.share("us") > 0.98


def test_a_new_leader_judges_receivers_by_how_they_stood_when_the_drain_began() -> None:
    def story(*, change: bool, before: bool) -> list[str]:
        b = up(make_fleet(objectives=Objectives(ttft_s=2.0)))
        go(b, 20, lambda e: before)
        b.command("drain", "eua", reason="x")
        go(b, 40, lambda e: not e.startswith("eua"))
        if change:
            state: HardState | None = b.state
            b.start_anew()
            ttft(b, lambda e: not e.startswith("eua"))
            b.run(1)
            b.lead(5, state)
        go(b, 400, lambda e: not e.startswith("eua"))
        return b.drains()

    assert story(change=True, before=False) == story(change=False, before=False) == ["eua 0.00 held operator"]
    assert story(change=True, before=True) == ["eua 1.00 held operator"], "it was so before: no reason to stop"


def test_restore_now_of_what_comes_back_in_steps_brings_it_back_at_once() -> None:
    b = up(make_fleet())
    b.command("drain", "eua", reason="x", now=True)
    b.run(60)
    b.command("restore", "eua")
    b.run(5)
    assert b.share("eua") < 0.02
    b.command("restore", "eua", now=True)
    b.run(5)
    assert b.drains() == []
    assert b.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_a_drain_of_what_is_pinned_says_that_the_pin_wins() -> None:
    b = up(make_fleet())
    b.command("pin", "eua", share=0.3, reason="canary", by="alice")
    answer = b.command("drain", "eua", reason="x", now=True)
    assert "pinned to 30.0% by alice" in answer.text
    assert any("the pin wins" in note for note in answer.data["preview"]["notes"])
    assert b.share("eua") == pytest.approx(0.3, abs=0.01)


# -- a region with one zone is a region ------------------------------------------------------------------------------------


def single(lag_s: float, routing: Routing, zones: int = 1) -> Bench:
    made = passive_fleet(stateful=True)
    small = make_fleet(
        {"eu": zones, "us": zones}, per_zone=3, capacity=200.0, outside=3, routing=routing,
        objectives=Objectives(rto_s=300.0, rpo_s=60.0), depends_on=("state",),
    )  # fmt: skip
    b = Bench(replace(small, dependencies=made.dependencies))
    b.lead()
    b.all_say(Verdict.HEALTHY)
    for region in ("us", "eu"):
        for agent in b.fleet.agents:
            b.deliver_event(ev.ReadingReceived(agent.name, (Reading(f"state@{region}", "lag_s", lag_s),)))
    b.run(5)
    return b


@pytest.mark.parametrize("mode", ["active-active", "active-passive"])
@pytest.mark.parametrize(("lag_s", "moves"), [(500.0, False), (1.0, True)])
def test_the_data_gate_asks_whatever_leaves_a_region_empty(mode: str, lag_s: float, *, moves: bool) -> None:
    b = single(lag_s, Routing(mode=mode, order=("eu", "us") if mode == "active-passive" else ()))  # type: ignore[arg-type]  # the two modes
    b.muted |= {"probe-eua"}
    b.all_say(Verdict.UNHEALTHY, [e for e in b.fleet.endpoint_by_name if e.startswith("eua")])
    b.run(30)
    assert b.diagnoses() == ["zone eua"]
    assert (b.share("eu") == 0) is moves
    assert ("data us" in b.vetoes()) is not moves


def test_the_last_zone_of_a_region_waits_for_its_data_and_an_operator_may_accept_the_loss() -> None:
    b = single(500.0, Routing(), zones=2)
    assert b.command("drain", "eua", reason="x", now=True).result == "ok"
    b.run(5)
    refused = b.command("drain", "eub", reason="x", now=True, force=True)
    assert (refused.result, "--accept-data-loss" in refused.text) == ("vetoed", True)
    assert b.command("drain", "eub", reason="x", now=True, force=True, accept_data_loss=True).result == "ok"
    b.run(5)
    assert b.share("eu") == 0


def test_one_drains_force_opens_no_other_region() -> None:
    """An endpoint forced out in the standby is no reason to send it what has no room in the active region."""
    made = passive_fleet(activate={"us": HOOK})
    b = bench(replace(made, services=(replace(made.services[0], demand=Demand(value=1150.0)),)))
    b.command("drain", "usa-1", reason="x", now=True, force=True)
    b.run(5)
    assert b.share("us") < 0.02
    b.command("drain", "eua-1", reason="x", now=True, force=True)
    b.run(5)
    assert b.share("us") > 0.02, "forced in the active region: what has no room there goes, ready or not"
