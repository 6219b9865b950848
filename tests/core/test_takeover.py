"""What a leader finds when it begins, what providers answer, and events about what is not there (any more)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.engine import Engine
from steerd.model.fleet import Fleet, Objectives
from steerd.model.plan import HardState
from steerd.model.route import Capabilities, Fence, Observed
from steerd.model.vote import Ballot, Heartbeat, Verdict
from tests.core.test_engine import lose, warm
from tests.core.test_engine_edges import ROUTE, with_second_route
from tests.support.bench import Bench
from tests.support.fleets import WEIGHTED, make_fleet

HEALTHY, UNHEALTHY = Verdict.HEALTHY, Verdict.UNHEALTHY


class Slow(Bench):
    """Name servers that do not serve yet what was written, while `behind`."""

    behind = True

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        if isinstance(effect, fx.Verify) and self.behind:
            return [ev.VerifyFinished(effect.route, effect.decision, False, "ns2 serves the old record")]
        return super()._carry_out(effect)


def epochs(bench: Bench) -> list[int]:
    return [d.epoch for d in bench.store if d is not None]


# -- epochs and fences --------------------------------------------------------------------------------------------------


def test_a_new_leader_writes_under_a_higher_epoch_than_anything_stored() -> None:
    """Also when the store's own count of leaders was lost: it was restored from a backup, say."""
    first = warm(Bench(make_fleet()))
    lose(first, "eua")
    first.run(10)
    assert first.state is not None
    second = Bench(make_fleet(), start=first.now)
    second.served = {k: replace(seen, fence=None) for k, seen in first.served.items()}
    second.lead(epoch=1, state=first.state)
    second.all_say(HEALTHY)
    second.run(700)
    assert min(epochs(second)) > max(epochs(first))


def test_two_fleets_that_write_one_record_are_told_of() -> None:
    bench = Bench(make_fleet())
    seen = bench.served[ROUTE]
    bench.served[ROUTE] = replace(seen, fence=Fence("somebody", 99, 1, ""))
    bench.lead(epoch=2)
    assert "foreign-fence" in bench.alerts()
    assert bench.engine.world.epoch == 2, "their epochs are not ours"
    bench.served[ROUTE] = seen
    bench.observe()
    assert "foreign-fence" not in bench.alerts()


# -- routes that are not known ------------------------------------------------------------------------------------------


def test_a_route_that_cannot_be_read_is_told_and_left_alone_until_it_can() -> None:
    bench = Bench(with_second_route(make_fleet()))
    bench.deliver_event(ev.LeadershipChanged(True, 2, "co"))
    bench.deliver_event(ev.RouteObserved(ROUTE, bench.served[ROUTE]))
    bench.deliver_event(ev.RouteObserved("dns/other.test", None, "SERVFAIL"))
    bench.all_say(HEALTHY)
    bench.run(3)
    assert ("route-unreadable", "dns/other.test") in bench.engine.world.alerts.active
    assert not bench.engine.world.services["chat"].adopted, "it may be read yet"
    bench.run(10)
    lose(bench, "eua")
    bench.run(10)
    written = {e.route for _, e in bench.log if isinstance(e, fx.Apply)}
    assert written == {ROUTE}, "what the other serves is not known, so nothing is written to it"
    assert "last trouble: SERVFAIL" in bench.engine.explain("dns/other.test", bench.now)["text"]
    bench.observe("dns/other.test")
    bench.run(5)
    assert "route-unreadable" not in bench.alerts()
    assert bench.served["dns/other.test"].weights["eua-1"] == 0


def test_a_record_that_is_empty_waits_for_health_beside_one_that_serves() -> None:
    bench = Bench(with_second_route(make_fleet()))
    bench.served["dns/other.test"] = Observed(dict.fromkeys(bench.served[ROUTE].weights, 0), exists=False)
    bench.lead()
    bench.run(15)
    assert bench.engine.world.services["chat"].adopted
    assert bench.writes == [], "nobody knows yet who is well"
    bench.all_say(HEALTHY)
    bench.run(15)
    assert all(bench.served["dns/other.test"].weights.values())
    assert [e.route for _, e in bench.log if isinstance(e, fx.Apply)] == ["dns/other.test"]


def test_what_joined_the_config_while_nobody_led_starts_at_nothing() -> None:
    first = warm(Bench(make_fleet()))
    lose(first, "eua")
    first.run(10)
    second = Bench(make_fleet(per_zone=3), start=first.now, served=dict(first.served[ROUTE].weights))
    second.lead(epoch=3, state=first.state)
    second.all_say(HEALTHY)
    second.run(1)
    assert second.share("eub-3") < 0.01
    second.run(3000)
    assert second.share("eub-3") == pytest.approx(1 / 18, abs=0.01)


def test_a_plan_that_the_system_cannot_express_at_all_is_never_written() -> None:
    """Every share is under the smallest this system knows: it would be left with nothing."""
    coarse = Capabilities(weight_max=255, minimum=0.2, dns=True)
    bench = warm(Bench(make_fleet(), coarse))
    lose(bench, "eua")
    bench.run(30)
    assert bench.writes == []
    assert f"never-empty {ROUTE}" in bench.vetoes()


def test_a_plan_made_anew_that_comes_out_the_same_is_not_written() -> None:
    bench = warm(Bench(make_fleet()))
    service = replace(bench.fleet.services[0], objectives=Objectives(rto_s=17.0))
    bench.reload(replace(bench.fleet, services=(service,)))
    bench.run(70)
    assert bench.writes == []
    assert bench.store == []


# -- answers ------------------------------------------------------------------------------------------------------------


def test_a_write_that_is_not_served_everywhere_is_alerted_until_it_is() -> None:
    bench = Slow(make_fleet())
    warm(bench)
    lose(bench, "eua")
    bench.run(1)
    assert bench.engine.world.alerts.active["write-failed", ROUTE].text == f"{ROUTE}: ns2 serves the old record"
    bench.behind = False
    bench.run(40)
    assert "write-failed" not in bench.alerts()
    in_sync = bench.records("in-sync")[-1].data
    assert in_sync["decided_at"] <= in_sync["accepted_at"] <= in_sync["authoritative_at"]


@pytest.mark.parametrize(
    "event",
    [
        ev.RouteObserved("dns/gone", Observed({})),
        ev.ApplyFinished("dns/gone", "2.1", "applied"),
        ev.VerifyFinished("dns/gone", "2.1", True),
        ev.VerifyFinished(ROUTE, "1.1", True),
        ev.AgentLost("nobody"),
        ev.DemandObserved("gone", 5.0),
        ev.HookFinished("gone", "eu", 0, True),
        ev.BallotReceived(Ballot("nobody", 1, 1, True)),
    ],
    ids=lambda e: type(e).__name__,
)
def test_events_about_what_is_not_there_do_nothing(event: ev.Event) -> None:
    bench = warm(Bench(make_fleet()))
    mark, state = len(bench.log), bench.engine.hard_state()
    bench.deliver_event(event)
    assert bench.log[mark:] == []
    assert bench.engine.hard_state() == state


def test_a_route_that_left_while_its_write_was_to_be_tried_again_is_let_go() -> None:
    bench = warm(Bench(with_second_route(make_fleet())))
    bench.fail = "unreachable"
    lose(bench, "eua")
    bench.run(2)
    bench.fail = None
    bench.reload(make_fleet())
    mark = len(bench.log)
    bench.run(120)
    assert {e.route for _, e in bench.log[mark:] if isinstance(e, fx.Apply)} == {ROUTE}


# -- who leads, who is heard --------------------------------------------------------------------------------------------


def test_a_leader_does_not_follow_what_another_one_stored() -> None:
    bench = warm(Bench(make_fleet()))
    bench.command("drain", "eua", reason="r", now=True)
    bench.deliver_event(ev.StateFollowed(HardState()))
    assert bench.drains() == ["eua 1.00 held operator"]


def test_a_quorum_is_heard_when_any_endpoint_is_decided() -> None:
    bench = Bench(make_fleet())
    assert not bench.engine.hears_quorum()
    bench.all_say(HEALTHY)
    assert bench.engine.hears_quorum()
    assert bench.engine.incarnation_of("probe-eua") == 1
    assert bench.engine.incarnation_of("nobody") == -1
    empty = Engine("co")
    empty.step(ev.ConfigLoaded(Fleet(name="empty")), 0.0)
    assert empty.hears_quorum(), "nothing to hear of"


def test_a_vote_that_its_agent_calls_stale_ends_by_itself() -> None:
    bench = warm(Bench(make_fleet({"eu": 3}, outside=0)))
    bench.all_say(UNHEALTHY, ["eua-1"], ["probe-eua"])
    state = bench.engine.world.board.states["eua-1"]
    assert {v.zone for v in state.voices} == {"eua", "eub", "euc"}
    stale = ("eua-1",)
    for _ in range(10):
        bench.run(2)
        bench.deliver(Heartbeat("probe-eua", 1, bench._number("probe-eua"), stale, (), None, "c0ffee"))
        bench.muted = {"probe-eua"}
    assert {v.zone for v in state.voices} == {"eub", "euc"}
    assert state.undecided_why == "2 of 3 voices"


def test_demand_that_falls_lets_go_what_had_no_room() -> None:
    bench = warm(Bench(make_fleet({"eu": 2, "us": 1}, demand=400.0), WEIGHTED))
    bench.deliver_event(ev.DemandObserved("chat", 550.0))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False)
    bench.run(5)
    assert bench.share("eua") > 0
    assert "capacity-short" in bench.alerts()
    bench.deliver_event(ev.DemandObserved("chat", 200.0))
    bench.run(5)
    assert bench.share("eua") == 0
    assert "capacity-short" not in bench.alerts()
