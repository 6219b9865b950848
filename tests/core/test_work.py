"""Work: what one changed endpoint costs does not grow with the fleet. Counted in lines of the core that are executed.

Timings are benchmarks (`python -m benchmarks decision`); here the lines run during a step are counted, loops and comprehensions
included, in a fleet of 200 and in one ten times as large with the same zones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import steerd.core
from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.engine import Engine
from steerd.model.fleet import Fleet
from steerd.model.route import Fence, Observed
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, CheckCounts, Heartbeat, Verdict, Vote
from tests.support.fleets import WEIGHTED, make_fleet, repeated

CORE = str(Path(steerd.core.__file__).parent)
MODEL = str(Path(steerd.core.__file__).parent.parent / "model")
SMALL, LARGE = 25, 250
"""Endpoints in each of 8 zones."""
MORE = 1.25
"""A little may grow: a binary search takes a step more, integers come out otherwise for another number of endpoints."""


def lines_of(work: Callable[[], Any]) -> int:
    """Lines of the core and the model executed by `work`."""
    count = 0

    def line(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, _event: str, _arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith((CORE, MODEL)) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class Lead:
    """A leader whose fleet is well, and whose routes serve all of it. `dying` says what agents say of the dead."""

    def __init__(self, fleet: Fleet, *, dead: bool = True) -> None:
        self.fleet, self.dead = fleet, dead
        self.engine = Engine("co")
        self.now, self.number = 1000.0, 0
        self.step(ev.ConfigLoaded(fleet, {"dns": WEIGHTED}))
        self.step(ev.LeadershipChanged(True, 2, "co", None))
        for route in fleet.route_by_key.values():
            values = {t.key: t.values_for(frozenset(t.endpoints)) for t in route.targets}
            self.step(
                ev.RouteObserved(route.key, Observed(dict.fromkeys(values, 255), values, Fence("test", 1, 0, "")))
            )
        for _ in range(2):
            self.number += 1
            self.now += 1.0
            for agent in fleet.agents:
                self.step(ev.BallotReceived(Ballot(agent.name, 1, self.number, True, self.well())))
        self.now += 20.0  # whatever was due at the start has been
        self.quiet()

    def well(self) -> tuple[Vote, ...]:
        looks = (CheckCounts("liveness", self.number, 0),)
        return tuple(Vote(e, Verdict.HEALTHY, self.number, counts=looks) for e in self.fleet.endpoint_by_name)

    def step(self, event: ev.Event) -> tuple[fx.Effect, ...]:
        """One step, and the tick after it that the engine asks for when something waits to be judged."""
        out = self.engine.step(event, self.now)
        return out + self.engine.step(ev.Tick(), self.now) if self.engine.wake_at(self.now) <= self.now else out

    def quiet(self) -> None:
        """Ticks and heartbeats of two seconds."""
        for _ in range(2):
            self.now += 1.0
            self.number += 1
            for agent in self.fleet.agents:
                self.step(ev.BallotReceived(Heartbeat(agent.name, 1, self.number)))
            self.step(ev.Tick())

    def die(self, endpoint: str) -> list[tuple[int, bool]]:
        """Every agent's ballot on it: (lines executed, whether the step decided)."""
        found = []
        self.number += 1
        for agent in self.fleet.agents:
            vote = Vote(
                endpoint,
                Verdict.UNHEALTHY,
                100 + self.number,
                Layer.LIVENESS,
                "liveness",
                "refused",
                self.dead,
                all_failed=True,
            )
            event = ev.BallotReceived(Ballot(agent.name, 1, self.number, False, (vote,)))
            out: tuple[fx.Effect, ...] = ()

            def take(event: ev.Event = event) -> None:
                nonlocal out
                out = self.step(event)

            lines = lines_of(take)
            found.append((lines, any(isinstance(e, fx.Apply) for e in out)))
            for effect in out:
                if isinstance(effect, fx.Apply):
                    self.written(effect)
        return found

    def written(self, effect: fx.Apply) -> None:
        members = effect.desired.members
        seen = Observed({m.target: m.weight for m in members}, {m.target: m.values for m in members}, effect.fence)
        self.step(ev.ApplyFinished(effect.route, effect.decision, "applied", accepted_at=self.now))
        self.step(ev.VerifyFinished(effect.route, effect.decision, True, observed=seen))


def fleet_of(per_zone: int, *, per: str = "endpoint", demand_of_one: float | None = None) -> Fleet:
    demand = demand_of_one * 8 * per_zone if demand_of_one is not None else None
    return make_fleet({"eu": 4, "us": 4}, per_zone=per_zone, demand=demand, outside=1, per=per)


@pytest.mark.parametrize("demand", [None, 50.0], ids=["demand-unknown", "demand-known"])
@pytest.mark.parametrize("dead", [True, False], ids=["dead", "down"])
def test_a_decision_on_one_endpoint_costs_the_same_in_a_large_fleet(demand: float | None, dead: bool) -> None:
    costs = {}
    for per_zone in (SMALL, LARGE):
        lead = Lead(fleet_of(per_zone, demand_of_one=demand), dead=dead)
        lead.die("usb-3")  # the first one makes what is remembered from then on
        lead.quiet()
        steps = lead.die("usb-5")
        assert [decided for _, decided in steps].count(True) == 1
        costs[per_zone] = steps
    for small, large in zip(costs[SMALL], costs[LARGE], strict=True):
        assert large[1] == small[1]
        assert large[0] <= MORE * small[0] + 100, (costs[SMALL], costs[LARGE])


def test_a_record_of_zones_costs_its_zone_alone() -> None:
    """With a target per zone the addresses of the zone that lost one are listed anew, and nothing else is."""
    costs = {}
    for per_zone in (SMALL, LARGE):
        lead = Lead(fleet_of(per_zone, per="zone"))
        lead.die("usb-3")
        costs[per_zone] = max(lines for lines, _ in lead.die("usb-5"))
    one_zone = LARGE - SMALL
    assert costs[LARGE] <= MORE * costs[SMALL] + 6 * one_zone, costs


def test_other_services_cost_nothing() -> None:
    """Ten services instead of one, and one endpoint of one of them dies."""
    alone, among = (Lead(repeated(fleet_of(SMALL), count)) for count in (1, 10))
    for lead in (alone, among):
        lead.die("s000-usb-3")
    cost = [max(lines for lines, _ in lead.die("s000-usb-5")) for lead in (alone, among)]
    assert cost[1] <= MORE * cost[0] + 100, cost


def test_a_quiet_fleet_costs_its_agents_not_its_endpoints() -> None:
    """Heartbeats and ticks, with what is looked at every two seconds."""
    small, large = (lines_of(Lead(fleet_of(n)).quiet) for n in (SMALL, LARGE))
    assert large <= MORE * small, (small, large)


def test_a_vote_that_is_only_suspect_is_not_counted_anew() -> None:
    """A first failure and the pass after it: what it tells is taken, and no voice is counted and no latch looked at."""
    lead = Lead(fleet_of(SMALL))
    board, counted = lead.engine.world.board, []
    counts = board._count
    board._count = lambda state, now: counted.append(state.name) or counts(state, now)  # type: ignore[method-assign,func-returns-value]
    agent = lead.fleet.agents[0].name
    for suspect, reason in ((True, "timed out"), (False, None)):
        lead.number += 1
        lead.now += 0.25
        vote = Vote("usb-3", Verdict.HEALTHY, 100 + lead.number, reason=reason, suspect=suspect)
        lead.step(ev.BallotReceived(Ballot(agent, 1, lead.number, False, (vote,))))
        state = board.states["usb-3"]
        assert (state.suspect_at is not None) is suspect
        assert [v.reason for v in state.voices if agent in v.agents] == [reason]
    assert counted == []
    lead.die("usb-3")
    assert set(counted) == {"usb-3"}


def test_a_vote_that_only_counts_on_costs_itself() -> None:
    """A full ballot with other counts: some lines a vote, and none for the endpoint's voices or its service."""
    lead = Lead(fleet_of(SMALL))
    lead.number += 1
    ballot = Ballot(lead.fleet.agents[0].name, 1, lead.number, True, lead.well())
    lines = lines_of(lambda: lead.step(ev.BallotReceived(ballot)))
    assert lines <= 40 * len(ballot.votes), lines / len(ballot.votes)
