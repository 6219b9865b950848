"""One state machine per route: what is sent when, in which order, and what answers count."""

from __future__ import annotations

import pytest

from steerd.core import effects as fx
from steerd.core.events import ApplyFinished, VerifyFinished
from steerd.core.steer import RouteState, Steer
from steerd.core.timers import Timers
from steerd.model.plan import Decision, HardState
from steerd.model.route import Desired, Fence, Member, Observed, Route, Target
from tests.support.fleets import WEIGHTED

WEIGHTS = dict[str, int]


class Rig:
    """Routes that serve `served`, and everything that was asked for."""

    def __init__(self, **served: WEIGHTS) -> None:
        self.timers, self.sent = Timers(), list[fx.Effect]()
        self.steer = Steer(self.timers, self.sent.append)
        for key, weights in served.items():
            targets = tuple(Target(t, (t,)) for t in weights)
            route = Route(key=key, service="chat", provider="dns", name=key, per="zone", targets=targets)
            self.steer.routes[key] = RouteState(route, WEIGHTED, observed=Observed(weights))

    def decide(self, seq: int, now: float = 0.0, **routes: WEIGHTS) -> Decision:
        desired = {k: Desired(tuple(Member(t, w) for t, w in sorted(ws.items()))) for k, ws in routes.items()}
        decision = Decision(
            epoch=1, seq=seq, at=now, service="chat", routes=desired, shares={}, config_hash="c", plan="p"
        )
        self.steer.assign(decision, Fence("test", 1, seq, "p"), fx.Persist(decision, HardState()), now)
        return decision

    def applied(self, route: str, seq: int, now: float, result: str = "applied", **more: float) -> None:
        self.steer.applied(ApplyFinished(route, f"1.{seq}", result, **more), now)  # type: ignore[arg-type]  # a test's word

    def verified(self, route: str, seq: int, now: float, *, in_sync: bool = True) -> None:
        self.steer.verified(VerifyFinished(route, f"1.{seq}", in_sync), now)

    def pump(self, now: float) -> None:
        """Every alarm of a route that is due."""
        for _, key in self.timers.due(now):
            self.steer.pump(key, now)

    def words(self) -> list[str]:
        """What was asked for since the last call."""
        said, self.sent[:] = [_word(e) for e in self.sent], []
        return said

    def phase(self, route: str) -> str:
        return self.steer.routes[route].phase


def _word(effect: fx.Effect) -> str:
    if isinstance(effect, fx.Apply | fx.Verify):
        return f"{type(effect).__name__.lower()} {effect.route} {effect.decision}"
    return type(effect).__name__.lower()


def both() -> Rig:
    """Zones a and b behind one record; b's endpoints behind another, where b2 is out."""
    return Rig(wide={"a": 10, "b": 10}, inner={"b1": 10, "b2": 0})


def test_it_is_stored_then_applied_then_verified() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    assert rig.words() == ["persist", "apply r 1.1"]
    rig.applied("r", 1, 1.0)
    assert rig.words() == ["verify r 1.1"]
    rig.verified("r", 1, 2.0)
    assert rig.phase("r") == "synced"
    assert (rig.steer.routes["r"].accepted_at, rig.steer.routes["r"].authoritative_at) == (1.0, 2.0)


def test_narrowing_goes_first_and_widening_follows_once_it_is_accepted() -> None:
    rig = both()
    rig.decide(1, inner={"b1": 5, "b2": 5}, wide={"a": 10, "b": 0})
    assert rig.words() == ["persist", "apply wide 1.1"], "b2 comes in from nothing: that widens"
    rig.applied("wide", 1, 0.3)
    assert rig.words() == ["verify wide 1.1", "apply inner 1.1"]


def test_widening_waits_at_most_five_seconds_for_a_narrowing_that_fails() -> None:
    rig = both()
    rig.decide(1, inner={"b1": 5, "b2": 5}, wide={"a": 10, "b": 0})
    rig.applied("wide", 1, 0.3, "unreachable", retry_after_s=60.0)
    rig.words()
    rig.pump(4.9)
    assert rig.words() == []
    rig.pump(5.0)
    assert rig.words() == ["apply inner 1.1"]
    rig.pump(60.3)
    assert rig.words() == ["apply wide 1.1"]


def test_widening_does_not_wait_for_a_route_that_went_on_to_something_newer() -> None:
    rig = both()
    rig.decide(1, inner={"b1": 5, "b2": 5}, wide={"a": 10, "b": 0})
    rig.decide(2, 1.0, wide={"a": 10, "b": 5})
    rig.words()
    rig.steer.pump("inner", 1.0)
    assert rig.words() == ["apply inner 1.1"]


def test_a_newer_decision_replaces_the_one_in_flight() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 5})
    rig.decide(2, 0.1, r={"a": 10, "b": 0})
    assert rig.words() == ["persist", "apply r 1.1", "persist"], "one write of a route at a time"
    rig.applied("r", 1, 0.2)
    assert rig.words() == ["apply r 1.2"]


@pytest.mark.parametrize(
    ("seq", "in_sync", "phase"), [(1, True, "verifying"), (2, True, "synced"), (2, False, "backoff")]
)
def test_only_an_answer_about_the_decision_that_stands_counts(seq: int, in_sync: bool, phase: str) -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 5})
    rig.applied("r", 1, 0.1)
    rig.decide(2, 0.2, r={"a": 10, "b": 0})
    rig.applied("r", 2, 0.3)
    rig.verified("r", seq, 0.4, in_sync=in_sync)
    assert rig.phase("r") == phase


def test_what_is_not_served_everywhere_is_written_again() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    rig.applied("r", 1, 0.0)
    rig.verified("r", 1, 5.0, in_sync=False)
    rig.words()
    rig.pump(6.3)
    assert rig.words() == ["apply r 1.1"]


def test_answers_for_a_route_that_is_gone_or_idle_change_nothing() -> None:
    rig = Rig(r={"a": 10})
    rig.applied("gone", 1, 0.0)
    rig.verified("gone", 1, 0.0)
    rig.applied("r", 1, 0.0)
    rig.verified("r", 1, 0.0)
    assert (rig.words(), rig.phase("r")) == ([], "idle")


def test_our_own_mistakes_are_tried_rarely_and_a_providers_wish_is_heeded() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    rig.applied("r", 1, 0.0, "misconfigured")
    assert 24.0 <= rig.steer.routes["r"].next_at <= 36.0
    rig.pump(36.0)
    rig.applied("r", 1, 36.0, "throttled", retry_after_s=120.0)
    assert rig.steer.routes["r"].next_at == 156.0


def test_a_lost_lead_sends_nothing_more() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    rig.applied("r", 1, 0.0, "unreachable")
    rig.steer.halt()
    rig.words()
    rig.pump(100.0)
    rig.applied("r", 1, 100.0)
    assert rig.words() == []


def test_in_observe_mode_nothing_is_sent() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    state = rig.steer.routes["r"]
    state.observe_only = True
    rig.decide(1, r={"a": 10, "b": 0})
    state.phase = "pending"
    rig.steer.pump("r", 1.0)
    assert rig.words() == ["persist"]


def test_a_read_while_we_write_is_no_drift() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    assert rig.steer.observe("r", Observed({"a": 1, "b": 9}), 0.1) == {}
    assert rig.steer.routes["r"].served == {"a": 10, "b": 10}


def test_a_route_that_enforces_writes_its_decision_again() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    object.__setattr__(rig.steer.routes["r"].route, "on_drift", "enforce")
    rig.decide(1, r={"a": 10, "b": 0})
    rig.applied("r", 1, 0.1)
    rig.verified("r", 1, 0.2)
    rig.words()
    assert rig.steer.observe("r", Observed({"a": 10, "b": 7}), 60.0) == {"b": 7}
    assert rig.words() == ["apply r 1.1"]


def test_a_difference_in_observe_mode_is_told_each_time() -> None:
    rig = Rig(r={"a": 10, "b": 10})
    state = rig.steer.routes["r"]
    object.__setattr__(state.route, "on_drift", "enforce")
    state.observe_only = True
    rig.decide(1, r={"a": 10, "b": 0})
    rig.words()
    for now in (60.0, 120.0):
        assert rig.steer.observe("r", Observed({"a": 10, "b": 7}), now) == {"b": 7}
    assert rig.words() == []
    assert state.served == {"a": 10, "b": 7}


def test_a_late_write_of_an_older_epoch_is_set_back_and_an_edit_is_kept() -> None:
    """Where a system has no compare-and-set, a paused coordinator's write can land after ours: it carries its old fence."""
    rig = Rig(r={"a": 10, "b": 10})
    rig.decide(1, r={"a": 10, "b": 0})
    state = rig.steer.routes["r"]
    assert state.decision is not None
    state.fence = Fence("test", 4, 1, "p")
    rig.applied("r", 1, 0.1)
    rig.verified("r", 1, 0.2)
    rig.words()
    edited = Observed({"a": 10, "b": 7}, fence=Fence("test", 4, 1, "p"))
    assert rig.steer.observe("r", edited, 60.0) == {"b": 7}
    assert rig.words() == []
    assert state.held == {"b": 7}
    elsewhere = Observed({"a": 10, "b": 7}, fence=Fence("other", 3, 9, "p"))
    assert not state.overtaken(elsewhere)
    late = Observed({"a": 10, "b": 7}, fence=Fence("test", 3, 9, "p"))
    assert rig.steer.observe("r", late, 120.0) == {"b": 7}
    assert rig.words() == ["apply r 1.1"]
