"""Invariant 8: the same ballots in any arrival order give the same health and the same plan, whatever was so before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.engine import Engine
from steerd.model.fleet import Fleet
from steerd.model.route import Capabilities
from steerd.model.vote import Ballot, CheckCounts, Heartbeat, Verdict, Vote
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

TOPOLOGIES = ({"eu": 2, "us": 2}, {"eu": 3}, {"eu": 2, "us": 1, "ap": 1}, {"eu": 1, "us": 3})
SAYS = (
    (Verdict.HEALTHY, False),
    (Verdict.HEALTHY, False),
    (Verdict.UNHEALTHY, True),
    (Verdict.UNHEALTHY, True),
    (Verdict.UNHEALTHY, False),
    (Verdict.DEGRADED, False),
    (Verdict.SATURATED, False),
    (Verdict.UNKNOWN, False),
)
Frame = Ballot | Heartbeat


class Teller:
    """Draws what agents send: frames whose numbers and counts go on."""

    def __init__(self, fleet: Fleet, data: st.DataObject) -> None:
        self._data = data
        self.agents = [a.name for a in fleet.agents]
        self._endpoints = list(fleet.endpoint_by_name)
        self._number = dict.fromkeys(self.agents, 0)
        self._looks: dict[tuple[str, str], tuple[int, int]] = {}

    def well(self, agent: str) -> Frame:
        """Its first, full ballot."""
        votes = tuple(self._vote(agent, e, (Verdict.HEALTHY, False), (200, 0)) for e in self._endpoints)
        return Ballot(agent, 1, self._next(agent), True, votes)

    def instant(self) -> list[Frame]:
        """What some agents send at one time, one or two frames each."""
        found: list[Frame] = []
        for agent in self._data.draw(st.lists(st.sampled_from(self.agents), min_size=1, max_size=12)):
            about = self._data.draw(st.lists(st.sampled_from(self._endpoints), unique=True, max_size=3))
            kind = self._data.draw(st.sampled_from(("delta", "delta", "delta", "beat", "abstain")))
            if kind == "beat":
                found.append(Heartbeat(agent, 1, self._next(agent), stale=tuple(about)))
                continue
            votes = tuple(
                self._vote(
                    agent,
                    e,
                    self._data.draw(st.sampled_from(SAYS)),
                    self._data.draw(st.sampled_from(((1, 0), (3, 0), (2, 4), (0, 9)))),
                )
                for e in about
            )
            doubt = "its own loop is late" if kind == "abstain" else None
            found.append(Ballot(agent, 1, self._next(agent), False, votes, abstaining=doubt))
        return found

    def _next(self, agent: str) -> int:
        self._number[agent] += 1
        return self._number[agent]

    def _vote(self, agent: str, endpoint: str, says: tuple[Verdict, bool], looks: tuple[int, int]) -> Vote:
        passed, failed = self._looks.get((agent, endpoint), (0, 0))
        self._looks[agent, endpoint] = passed, failed = passed + looks[0], failed + looks[1]
        verdict, all_failed = says
        return Vote(
            endpoint,
            verdict,
            passed + failed,
            reason=f"as {agent} saw it" if verdict is not Verdict.HEALTHY else None,
            transport=all_failed,
            all_failed=all_failed,
            suspect=bool(looks[1]),
            counts=(CheckCounts("liveness", passed, failed),),
        )


def shuffled(frames: list[Frame], data: st.DataObject) -> list[Frame]:
    """Another order of arrival; what one agent sends comes in the order in which it sent it (its stream keeps it)."""
    queues: dict[str, list[Frame]] = {}
    for frame in frames:
        queues.setdefault(frame.agent, []).append(frame)
    places = data.draw(st.permutations([frame.agent for frame in frames]))
    return [queues[agent].pop(0) for agent in places]


def view(bench: Bench) -> dict[str, Any]:
    """Health with its latches, and the plan."""
    world = bench.engine.world
    return {
        "health": {
            n: (s.health, s.down, s.degraded, s.saturated, s.gray_down, s.gray_degraded, s.decided, s.dead, s.reason)
            for n, s in world.board.states.items()
        },
        "diagnoses": bench.diagnoses(),
        "drains": bench.drains(),
        "shares": dict(world.services["chat"].shares),
        "served": bench.served,
    }


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ballots_of_one_instant_in_any_order_give_the_same_health_plan_and_writes(data: st.DataObject) -> None:
    """Random fleets and histories, so that latches are set and half set when the ballots come: at each of several instants what
    agents send comes in two orders. Some fall silent, so that votes end in the instant in which others come."""
    fleet = make_fleet(
        data.draw(st.sampled_from(TOPOLOGIES)),
        per_zone=data.draw(st.integers(1, 2)),
        outside=data.draw(st.integers(0, 2)),
        demand=data.draw(st.sampled_from([None, 300.0])),
    )
    caps: Capabilities = data.draw(st.sampled_from([WEIGHTED, MEMBERS]))
    teller = Teller(fleet, data)
    benches = Bench(fleet, caps), Bench(fleet, caps)
    beginning = [teller.well(agent) for agent in teller.agents]
    for bench in benches:
        bench.lead()
        bench.deliver(*beginning)
        bench.run(2.0)
    for _ in range(data.draw(st.integers(1, 6))):
        frames = teller.instant()
        orders = frames, shuffled(frames, data)
        seconds = data.draw(st.sampled_from([0.3, 2.0, 2.5, 7.0, 13.0, 15.0]))
        sleeps = data.draw(st.booleans())
        for bench, order in zip(benches, orders, strict=True):
            if sleeps:  # no tick comes before the frames do
                bench.now += seconds
            else:
                bench.run(seconds)
            bench.deliver(*order)
        assert view(benches[0]) == view(benches[1])
    for bench in benches:
        bench.run(30.0)
    assert view(benches[0]) == view(benches[1])
    applies = [[(t, e) for t, e in bench.log if isinstance(e, fx.Apply)] for bench in benches]
    assert applies[0] == applies[1]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_waits_is_judged_by_a_later_step_as_a_tick_would_have_done(data: st.DataObject) -> None:
    """One engine gets a tick at the end of every instant, the other none: the next frame, or the tick of the end, comes later."""
    fleet = make_fleet(data.draw(st.sampled_from(TOPOLOGIES)), per_zone=1)
    teller = Teller(fleet, data)
    story: list[tuple[float, list[Frame]]] = [(1000.0, [teller.well(agent) for agent in teller.agents])]
    for _ in range(data.draw(st.integers(1, 5))):
        story.append((story[-1][0] + data.draw(st.sampled_from([0.001, 1.0, 4.0])), teller.instant()))
    told = []
    for ticks in (True, False):
        engine, out = Engine("co"), []
        engine.step(ev.ConfigLoaded(fleet, {"dns": WEIGHTED}), 999.0)
        for now, frames in story:
            for frame in frames:
                out += engine.step(ev.BallotReceived(frame), now)
            if ticks:
                out += engine.step(ev.Tick(), now)
        out += engine.step(ev.Tick(), story[-1][0])
        told.append(out)
    assert told[0] == told[1]


def warm(**kwargs: Any) -> Bench:
    bench = Bench(make_fleet(**kwargs))
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(20)
    return bench


def said(agent: str, verdict: Verdict, *endpoints: str, number: int = 10_000) -> Ballot:
    bad = verdict is Verdict.UNHEALTHY
    return Ballot(agent, 1, number, False, tuple(Vote(e, verdict, number, all_failed=bad) for e in endpoints))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_voice_falls_silent_while_another_is_well_again(order: tuple[int, int]) -> None:
    """Two of four voices are unhealthy, which is between the thresholds. One of the well ones falls silent: two of three would be
    enough, did the other ballot of the same instant not say that one of the two is well again."""
    bench = warm(regions={"eu": 2, "us": 2}, per_zone=2, outside=0)
    bench.all_say(Verdict.UNHEALTHY, ["eua-1"], ["probe-eua", "probe-usa"])
    bench.run(1)
    frames = (said("probe-usb", Verdict.UNKNOWN, "eua-1"), said("probe-usa", Verdict.HEALTHY, "eua-1"))
    bench.deliver(*(frames[n] for n in order))
    assert bench.health("eua-1") == "healthy"
    assert not bench.records("health")
    assert not bench.writes


@pytest.mark.parametrize(("dies", "halfway"), [("eua-1", "eub-1"), ("eub-1", "eua-1")])
def test_who_is_halfway_in_the_same_instant_is_waited_for_whatever_its_name(dies: str, halfway: str) -> None:
    """Settle (section 4): conclusions wait for whoever sits between the thresholds, named before or after."""
    bench = warm()
    agents = [a.name for a in bench.fleet.agents]
    bench.deliver(*(said(a, Verdict.UNHEALTHY, *((dies, halfway) if n < 3 else (dies,))) for n, a in enumerate(agents)))
    assert bench.health(dies) == "healthy"
    bench.run(2.1)
    assert (bench.health(dies), bench.health(halfway)) == ("down", "healthy")


def test_a_ballot_is_taken_in_at_once_and_judged_by_the_tick_that_the_engine_asks_for() -> None:
    bench = warm()
    engine, now = bench.engine, bench.now + 0.25
    assert engine.wake_at(now) > now
    for number, agent in enumerate(bench.fleet.agents, 10_000):
        frame = said(agent.name, Verdict.UNHEALTHY, "eua-1", number=number)
        assert engine.step(ev.BallotReceived(frame), now) == ()
    assert engine.wake_at(now) == now
    assert any(isinstance(e, fx.Apply) for e in engine.step(ev.Tick(), now))
    assert engine.wake_at(now) > now


def test_a_heartbeat_that_changes_nothing_asks_for_no_tick() -> None:
    bench = warm()
    now = bench.now + 0.25
    bench.engine.step(ev.BallotReceived(Heartbeat("probe-eua", 1, 20_000)), now)
    assert bench.engine.wake_at(now) > now


@pytest.mark.parametrize("event", [ev.AgentLost("nobody"), ev.OperatorCommand("1", "drain", "ann", "usa", "test")])
def test_any_other_event_has_what_waits_judged_first(event: ev.Event) -> None:
    bench = warm()
    now = bench.now + 0.25
    for agent in bench.fleet.agents:
        bench.engine.step(ev.BallotReceived(said(agent.name, Verdict.UNHEALTHY, "eua-1")), now)
    out = bench.engine.step(event, now)
    first = next(e for e in out if isinstance(e, fx.Record))
    assert (first.kind, first.of, first.at) == ("health", "eua-1", now)


def test_an_instant_that_ends_with_the_lead_moves_nothing() -> None:
    """What came before the loss of the lead is judged, and nobody acts on it: the next leader does."""
    bench = Bench(make_fleet({"eu": 2, "us": 2}))
    bench.all_say(Verdict.HEALTHY)
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    dead = next(iter(bench.fleet.endpoint_by_name))
    bench.effects.clear()
    for agent in bench.fleet.agents:
        bench._take(agent.name, Verdict.UNHEALTHY, [dead])
    effects = bench.engine.step(ev.LeadershipChanged(False, 3, "other"), bench.now)
    assert not [e for e in (*bench.effects, *effects) if isinstance(e, fx.Persist | fx.Apply | fx.RunHook)]
    assert bench.engine.status(bench.now)["services"]["chat"]["endpoints"][dead]["health"] == "down"
