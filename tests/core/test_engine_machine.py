"""The engine as a state machine under random votes, silences, operators, providers that fail, reloads and changes of leadership.

After every step the invariants of decisions.md that need no knowledge of the story are checked. That the order of sets in memory
does not matter has a test of its own below, that of ballots in test_order.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.model.plan import Phase
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

SHAPES: tuple[dict[str, Any], ...] = (
    {"regions": {"eu": 3, "us": 2}, "per_zone": 2, "demand": 500.0},
    {"regions": {"eu": 1, "us": 1}, "per_zone": 1, "outside": 2, "demand": None},
    {"regions": {"eu": 3}, "per_zone": 2, "outside": 2, "per": "zone", "demand": 300.0},
    {"regions": {"eu": 2, "us": 2}, "per_zone": 3, "per": "region", "demand": None},
)
NAMES = ("eua", "eub", "usa", "eu", "us", "eua-1", "eub-1", "usa-1")
VERDICTS = (Verdict.HEALTHY, Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.DEGRADED, Verdict.UNKNOWN)


class World(RuleBasedStateMachine):
    """Every rule is something that happens to a real fleet."""

    @initialize(shape=st.sampled_from(SHAPES), caps=st.sampled_from((WEIGHTED, MEMBERS)))
    def start(self, shape: dict[str, Any], caps: Any) -> None:
        self.shape = shape
        self.caps = caps
        self.bench = Bench(make_fleet(**shape), caps)
        self.epoch = 2
        self.bench.lead(self.epoch)
        self.bench.all_say(Verdict.HEALTHY)
        self.bench.run(20)
        self.seen = len(self.bench.log)
        self.fences: dict[str, tuple[int, int]] = {}

    @property
    def world(self) -> Any:
        return self.bench.engine.world

    @rule(name=st.sampled_from(NAMES), verdict=st.sampled_from(VERDICTS), transport=st.booleans(), data=st.data())
    def vote(self, name: str, verdict: Verdict, transport: bool, data: Any) -> None:
        members = sorted(self.world.domains.members("chat", name))
        agents = [a.name for a in self.bench.fleet.agents]
        some = data.draw(st.one_of(st.just(agents), st.lists(st.sampled_from(agents), unique=True)))
        self.bench.all_say(verdict, members, some, transport=transport)

    @rule(well=st.sampled_from((Verdict.HEALTHY, Verdict.UNHEALTHY)))
    def everywhere(self, well: Verdict) -> None:
        self.bench.all_say(well)

    @rule(zone=st.sampled_from(("eua", "eub", "usa", "out0")), silent=st.booleans())
    def mute(self, zone: str, silent: bool) -> None:
        agents = {a.name for a in self.bench.fleet.agents if a.zone == zone}
        self.bench.muted = self.bench.muted | agents if silent else self.bench.muted - agents

    @rule(seconds=st.sampled_from((0.5, 3.0, 20.0, 70.0, 400.0, 1000.0)))
    def wait(self, seconds: float) -> None:
        self.bench.run(seconds)

    @rule(
        verb=st.sampled_from(("drain", "drain", "restore", "pin", "unpin", "freeze", "unfreeze")),
        name=st.sampled_from(NAMES),
        share=st.sampled_from((0.0, 0.1, 0.5, 1.0)),
        for_s=st.sampled_from((30.0, 600.0)),
        now=st.booleans(),
        force=st.booleans(),
    )
    def operator(self, verb: str, name: str, **kwargs: Any) -> None:
        self.bench.command(verb, name, reason="r", **kwargs)

    @rule(result=st.sampled_from((None, None, "unreachable", "conflict", "not-persisted")))
    def provider(self, result: str | None) -> None:
        self.bench.fail = result

    @rule(fewer=st.booleans(), demand=st.sampled_from((None, 100.0, 900.0)))
    def reload(self, fewer: bool, demand: float | None) -> None:
        shape = {**self.shape, "demand": demand}
        fleet = make_fleet(**shape)
        if fewer and self.shape["per_zone"] > 1:
            service = fleet.services[0]
            fleet = replace(fleet, services=(replace(service, endpoints=service.endpoints[1:]),))
            gone = service.endpoints[0].name
            routes = tuple(
                replace(
                    r,
                    targets=tuple(
                        replace(t, endpoints=tuple(e for e in t.endpoints if e != gone))
                        for t in r.targets
                        if t.endpoints != (gone,)
                    ),
                )
                for r in service.routes
            )
            fleet = replace(fleet, services=(replace(fleet.services[0], routes=routes),))
        self.bench.reload(fleet, self.caps, accepted=True)

    @precondition(lambda self: self.bench.state is not None)
    @rule(away=st.sampled_from((0.0, 30.0)))
    def lead_again(self, away: float) -> None:
        pending = [s for s in self.world.steer.routes.values() if s.decision is not None and s.accepted_at is None]
        without_receipt = tuple((s.decision, (s.route.key,)) for s in pending)
        self.bench._step(ev.LeadershipChanged(leading=False, epoch=0, leader="other"))
        self.bench.run(away) if away else None
        self.epoch += 1
        self.bench.lead(self.epoch, self.bench.state, without_receipt)

    # -- what always holds ----------------------------------------------------------------------------------------------

    @invariant()
    def effects_are_sound(self) -> None:
        fresh = [e for _, e in self.bench.log[self.seen :]]
        self.seen = len(self.bench.log)
        for effect in fresh:
            if isinstance(effect, fx.Apply):
                assert not effect.desired.empty
                fence = (effect.fence.epoch, effect.fence.seq)
                assert fence >= self.fences.get(effect.route, (0, 0)), "an older fence was written"
                self.fences[effect.route] = fence
            if isinstance(effect, fx.Persist) and effect.decision is not None:
                shares = effect.decision.shares
                assert abs(sum(shares.values()) - 1.0) < 1e-6, shares
                assert effect.decision.config_hash
                assert effect.decision.why["text"]

    @invariant()
    def the_book_is_sound(self) -> None:
        for key, drain in self.world.drains.book.items():
            assert key == drain.key
            assert self.world.domains.touches(drain)
            assert 0.0 < drain.fraction <= 1.0
            if (
                drain.phase is Phase.HELD and not drain.automatic
            ):  # a reason may end half way, an operator's wish does not
                assert drain.fraction == 1.0
        assert not self.world.dirty, "a rule fights itself"
        assert len(self.world.timers._heap) < 500

    @invariant()
    def pins_hold(self) -> None:
        state = self.world.services["chat"]
        if not self.world.leading or state.result is None or state.reason is None or not state.adopted:
            return
        for pin in self.world.pins.values():
            members = self.world.domains.members("chat", pin.name)
            free = self.world.domains.members_of_service("chat") - {
                e for p in self.world.pins.values() for e in self.world.domains.members("chat", p.name)
            }
            planned = state.result.shares
            if members and sum(planned.get(e, 0.0) for e in free) > 0:
                assert abs(sum(planned[e] for e in members) - pin.share) < 1e-6, (pin, planned)

    @invariant()
    def views_never_fail(self) -> None:
        engine, now = self.bench.engine, self.bench.now
        engine.status(now)
        engine.preview(now)
        engine.explain("chat", now)
        engine.explain("eua", now)

    def teardown(self) -> None:
        """Faults stop, operators let go: everything comes back (invariant 16)."""
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        bench.fail = None
        bench.muted.clear()
        bench.deliver_event(
            ev.DemandObserved("chat", 100.0)
        )  # a removal accepted against the odds is told until demand fits
        for name in list(self.world.pins):
            bench.command("unpin", name)
        bench.command("unfreeze")
        bench.all_say(Verdict.HEALTHY)
        bench.run(5000)
        assert bench.drains() == []
        assert bench.alerts() == set()
        desired = self.world.steer.routes["dns/chat.test"].desired
        assert desired is None or desired.weights == {
            k: w for k, w in bench.served["dns/chat.test"].weights.items() if k in desired.weights
        }


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)

_STORY = """
from tests.core.test_engine import lose, warm
from tests.support.bench import Bench
from tests.support.fleets import make_fleet
from steerd.model.vote import Verdict
import hashlib
bench = warm(Bench(make_fleet(demand=700.0)))
lose(bench, "eua", "eub")
bench.run(30)
bench.command("drain", "us", reason="x")
bench.command("pin", "euc", share=0.3, reason="x")
bench.run(300)
bench.muted.clear()
bench.all_say(Verdict.UNHEALTHY, transport=False)
bench.run(60)
bench.all_say(Verdict.HEALTHY)
bench.run(3000)
print(hashlib.sha256(repr([e for _, e in bench.log]).encode()).hexdigest())
"""


def test_the_order_of_sets_in_memory_changes_nothing() -> None:
    """The same story under several hash seeds: the effects are the same, byte for byte, in every process."""
    root = Path(__file__).parents[2]
    said = set()
    for seed in ("1", "2", "3"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", _STORY], cwd=root, env=env, capture_output=True, text=True, check=True
        )
        said.add(done.stdout)
    assert len(said) == 1
