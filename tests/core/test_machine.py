"""The engine as a state machine: random fleets, agents that lie, repeat and fall silent, operators, providers that fail, leaders
that change. After every step the invariants of decisions.md are checked with means of this file's own.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.engine import Engine
from steerd.model.health import Health
from steerd.model.plan import Cause, Phase
from steerd.model.vote import Ballot, Verdict, Vote
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

TOPOLOGIES = ({"eu": 3, "us": 3}, {"eu": 2, "us": 2, "ap": 2}, {"eu": 4}, {"eu": 1, "us": 3})
VERDICTS = (Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.DEGRADED, Verdict.SATURATED, Verdict.UNKNOWN)
EPSILON = 1e-6


class Machine(RuleBasedStateMachine):
    """One coordinator's core, and what was seen of it so far."""

    @initialize(
        topology=st.sampled_from(TOPOLOGIES),
        per_zone=st.integers(1, 3),
        demand=st.sampled_from([None, 0.2, 0.6, 0.95]),
        caps=st.sampled_from([WEIGHTED, WEIGHTED, MEMBERS]),
    )
    def begin(self, topology: dict[str, int], per_zone: int, demand: float | None, caps: object) -> None:
        total = 100.0 * per_zone * sum(topology.values())
        fleet = make_fleet(topology, per_zone=per_zone, demand=demand and demand * total)
        self.bench = Bench(fleet, caps)  # type: ignore[arg-type]  # one of two capabilities
        self.bench.lead()
        self.bench.all_say(Verdict.HEALTHY)
        self.bench.run(5)
        self.epoch = 2
        self.seen = 0
        self.forced = False
        self.out: dict[str, float] = {}
        self.removed: list[tuple[float, float]] = []
        self.fractions: dict[str, float] = {}
        self.came_in: dict[str, float] = {}
        self.decided: list[tuple[int, int]] = []
        self.meddled = False
        self.flapped_at = self.bench.now

    # -- what happens -----------------------------------------------------------------------------------------------

    def _some(self, data: st.DataObject, names: list[str], most: int) -> list[str]:
        return data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True))

    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS), transport=st.booleans())
    def a_domain_is_seen(self, data: st.DataObject, verdict: Verdict, transport: bool) -> None:
        """Most agents agree on a zone, a region or an endpoint."""
        places = sorted({*self.bench.engine.world.domains.zones["chat"], *self.bench.fleet.endpoint_by_name, "eu"})
        place = data.draw(st.sampled_from(places))
        members = sorted(self.bench.engine.world.domains.members("chat", place))
        agents = [a.name for a in self.bench.fleet.agents]
        quiet = data.draw(st.sampled_from([None, *agents]))
        self.bench.all_say(verdict, members, [a for a in agents if a != quiet], transport=transport)

    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS))
    def some_agents_say_something(self, data: st.DataObject, verdict: Verdict) -> None:
        agents = self._some(data, [a.name for a in self.bench.fleet.agents], 4)
        endpoints = self._some(data, list(self.bench.fleet.endpoint_by_name), 4)
        self.bench.all_say(verdict, endpoints, agents)

    @rule()
    def everybody_is_well(self) -> None:
        self.bench.muted.clear()
        self.bench.losing.clear()
        self.bench.all_say(Verdict.HEALTHY)

    @rule(data=st.data(), rate=st.sampled_from([0.0, 0.1, 0.3, 0.7]))
    def looks_are_lost(self, data: st.DataObject, rate: float) -> None:
        for endpoint in self._some(data, list(self.bench.fleet.endpoint_by_name), 3):
            self.bench.losing[endpoint] = rate

    @rule(data=st.data())
    def an_old_frame_comes_again(self, data: st.DataObject) -> None:
        """Late, repeated and reordered frames change nothing, whatever they say."""
        agent = data.draw(st.sampled_from([a.name for a in self.bench.fleet.agents]))
        if self.bench.engine.world.votes.agents[agent].number < 1:
            return  # this process never heard that agent: nothing from it is old
        before = self._view()
        votes = tuple(Vote(e, Verdict.UNHEALTHY, 1, all_failed=True) for e in self.bench.fleet.endpoint_by_name)
        self.bench.deliver(Ballot(agent, 1, data.draw(st.integers(0, 1)), True, votes))
        assert self._view() == before

    @rule(data=st.data())
    def agents_fall_silent_or_come_back(self, data: st.DataObject) -> None:
        self.bench.muted ^= set(self._some(data, [a.name for a in self.bench.fleet.agents], 3))

    @rule(seconds=st.sampled_from([1, 11, 65, 310, 700]))
    def time_passes(self, seconds: int) -> None:
        for _ in range(max(1, seconds // 65)):
            self.bench.run(min(seconds, 65))
            self.check()

    @rule(data=st.data(), verb=st.sampled_from(["drain", "restore", "pin", "unpin"]), now=st.booleans())
    def an_operator_moves_something(self, data: st.DataObject, verb: str, now: bool) -> None:
        names = [*self.bench.fleet.endpoint_by_name, *self.bench.engine.world.domains.zones["chat"], "nobody"]
        name = data.draw(st.sampled_from(names))
        share = data.draw(st.sampled_from([0.0, 0.1])) if verb == "pin" else None
        self.meddled = True
        self.bench.command(verb, name, reason="test", now=now and verb != "pin", share=share, for_s=900.0)

    @rule()
    def an_operator_freezes_or_lets_go(self) -> None:
        verb = "freeze" if self.bench.engine.world.freeze is None else "unfreeze"
        self.bench.command(verb, reason="test")

    @rule(result=st.sampled_from([None, None, "unreachable", "throttled", "conflict"]))
    def the_provider_fails_or_works(self, result: str | None) -> None:
        self.bench.fail = result

    @precondition(lambda self: self.bench.state is not None)
    @rule(again=st.booleans())
    def another_leads(self, again: bool) -> None:
        """Leadership is lost and won with a higher epoch, from what was stored; with `again` by a process that starts anew."""
        self.epoch += 2
        self.bench.deliver_event(ev.LeadershipChanged(False, self.epoch - 1, "other"))
        if again:
            self.bench.start_anew()
        self.bench.lead(self.epoch, self.bench.state)
        self.bench.run(3)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def _view(self) -> tuple[object, ...]:
        world = self.bench.engine.world
        return (
            {n: s.health for n, s in world.board.states.items()},
            dict(world.services["chat"].shares),
            sorted(world.drains.book),
        )

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "bench"):
            return
        self._damping()
        self._velocity_and_dwell()
        self._ejection_and_blast_radius()
        self._pins()
        self._decisions()
        self.bench.engine.status(self.bench.now)
        self.bench.engine.preview(self.bench.now)

    def _damping(self) -> None:
        world, now = self.bench.engine.world, self.bench.now
        for name in list(world.damper.penalties):
            penalty = world.damper.current(name, now)
            assert penalty is None or 0 <= penalty.value <= 12000
            until = world.damper.suppressed_until(name, now)
            assert until is None or until <= now + 3600 + EPSILON

    def _velocity_and_dwell(self) -> None:
        """Both from the drain book alone: how far each endpoint is out, and which way each automatic drain moved last."""
        world, now = self.bench.engine.world, self.bench.now
        out: dict[str, tuple[float, Cause]] = {}
        for drain in sorted(
            world.drains.book.values(), key=lambda d: (d.fraction, d.cause in (Cause.DOWN, Cause.GRAY))
        ):
            for endpoint in world.domains.members("chat", drain.name):
                out[endpoint] = (drain.fraction, drain.cause)
        total = len(world.services["chat"].shares) or 1
        part = sum(
            fraction - self.out.get(e, 0.0)
            for e, (fraction, cause) in out.items()
            if cause in (Cause.DOWN, Cause.GRAY) and fraction > self.out.get(e, 0.0)
        )
        if part > EPSILON:
            self.removed.append((now, part / total))
        self.out = {e: f for e, (f, _) in out.items()}
        recent = sum(p for at, p in self.removed if now - at < 300 - 65)  # seen up to a step late
        assert recent <= 0.5 + EPSILON or self.meddled, self.bench.drains()

    def _ejection_and_blast_radius(self) -> None:
        world = self.bench.engine.world
        active = [
            d for d in world.drains.book.values() if d.automatic and d.phase is not Phase.RESTORING and d.fraction > 0
        ]
        bound = [d for d in active if d.cause in (Cause.DOWN, Cause.GRAY)]
        singles = [d for d in bound if d.kind == "endpoint"]
        assert len(singles) <= max(2, 0.2 * len(self.bench.fleet.endpoint_by_name)), self.bench.drains()
        regions = {d.name for d in bound if d.kind == "region"}
        assert len(regions) <= 1, self.bench.drains()

    def _pins(self) -> None:
        world = self.bench.engine.world
        if world.freeze is not None:
            return  # nothing moves, so what a pin holds stays held, with an alert
        assert all(p.until > self.bench.now - 1.0 for p in world.pins.values()), "a pin outlived its expiry"

    def _decisions(self) -> None:
        """What was decided since the last look: never empty, ordered, and nothing automatic under a freeze."""
        for _, effect in self.bench.log[self.seen :]:
            if isinstance(effect, fx.Apply):
                assert any(m.weight > 0 for m in effect.desired.members)
            if isinstance(effect, fx.Persist) and effect.decision is not None:
                mark = (effect.decision.epoch, effect.decision.seq)
                assert not self.decided or mark > self.decided[-1]
                assert sum(effect.decision.shares.values()) == pytest.approx(1.0, abs=1e-6)
                assert effect.decision.why["drains"] is not None
                self.decided.append(mark)
        self.seen = len(self.bench.log)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- single invariants, each with a property of its own ---------------------------------------------------------------


def warm(**kwargs: object) -> Bench:
    bench = Bench(make_fleet(**kwargs))  # type: ignore[arg-type]  # a test's keywords
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(20)
    return bench


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(["one zone", "one region"]))
def test_a_minority_of_vantages_is_impotent_whatever_it_sends(data: st.DataObject, who: str) -> None:
    """Invariant 6: one vantage zone, or all of one vantage region, says and counts what it likes."""
    bench = warm(regions={"eu": 4, "us": 1}, outside=1)
    zones = ["eua"] if who == "one zone" else ["eua", "eub", "euc", "eud"]
    liars = [a.name for a in bench.fleet.agents if a.zone in zones]
    bench.blind_to_loss = {a.name for a in bench.fleet.agents} - set(liars)
    for _ in range(4):
        endpoints = data.draw(st.lists(st.sampled_from(sorted(bench.fleet.endpoint_by_name)), min_size=1, unique=True))
        bench.all_say(data.draw(st.sampled_from(VERDICTS)), endpoints, liars)
        bench.losing = dict.fromkeys(endpoints, data.draw(st.sampled_from([0.0, 0.5, 1.0])))
        bench.run(data.draw(st.sampled_from([3, 40, 200])))
        assert all(s.health in (Health.HEALTHY, Health.UNKNOWN) for s in bench.engine.world.board.states.values())
    assert bench.writes == []


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_freeze_stops_everything_automatic(data: st.DataObject) -> None:
    """Invariant 4: under an operator's freeze no weight changes, whatever agents say and however long it lasts."""
    bench = warm()
    bench.all_say(Verdict.UNHEALTHY, ["eua-1"], transport=False)
    bench.run(5)
    bench.command("freeze", reason="release")
    writes, shares = len(bench.writes), dict(bench.engine.world.services["chat"].shares)
    for _ in range(3):
        zone = data.draw(st.sampled_from(bench.engine.world.domains.zones["chat"]))
        members = bench.engine.world.domains.members("chat", zone)
        bench.all_say(data.draw(st.sampled_from(VERDICTS)), sorted(members), transport=data.draw(st.booleans()))
        bench.run(data.draw(st.sampled_from([5, 100, 900])))
    assert len(bench.writes) == writes
    assert bench.engine.world.services["chat"].shares == shares


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["wrong", "slow", "well"]), st.integers(1, 400)), min_size=2, max_size=8))
@example([("slow", 10), ("well", 200), ("well", 400), ("wrong", 1)])
@example([("wrong", 10), ("well", 400), ("well", 400), ("wrong", 1)])
def test_opposite_automatic_moves_of_a_domain_are_a_minute_apart(story: list[tuple[str, int]]) -> None:
    """Dwell, read off what was decided: of a zone that is wrong, slow and well by turns."""
    bench = warm()
    zone = ["eub-1", "eub-2"]
    for word, seconds in story:
        if word == "wrong":
            bench.all_say(Verdict.UNHEALTHY, zone, transport=False)
        else:
            bench.all_say(Verdict.DEGRADED if word == "slow" else Verdict.HEALTHY, zone)
        bench.run(seconds)
    plans = [e.decision for _, e in bench.log if isinstance(e, fx.Persist) and e.decision is not None]
    shares = [(d.at, sum(d.shares[e] for e in zone)) for d in plans]
    directions = [
        (at, "in" if after > before else "out")
        for (_, before), (at, after) in pairwise(shares)
        if abs(after - before) > EPSILON
    ]
    for (t1, first), (t2, second) in pairwise(directions):
        assert first == second or t2 - t1 >= 60 - EPSILON, directions


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_the_same_events_give_the_same_effects(data: st.DataObject) -> None:
    """Two engines fed the same do the same, byte for byte: what replay rests on."""
    bench = warm(per_zone=1)
    for _ in range(4):
        endpoints = data.draw(st.lists(st.sampled_from(sorted(bench.fleet.endpoint_by_name)), min_size=1, unique=True))
        bench.all_say(data.draw(st.sampled_from(VERDICTS)), endpoints)
        bench.run(data.draw(st.sampled_from([3, 70])))
    other = Engine("co")
    again = [effect for event, now in bench.fed for effect in other.step(event, now)]
    assert repr(again) == repr([e for _, e in bench.log])
