"""A fleet under loss with everything that decides as in production: ballot boxes, cadences and confirms of real agents, the engine
at the lead, and a provider in memory that takes every write. Only the looks are made up, by `loss_trace`.

Looks of a check that is plainly well are left out up to the next that gets lost, and counted when somebody asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from benchmarks.loss_trace import START_S, Case, Link, lost_slots
from steerd.agent.watchlist import Watch, watchlist
from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.ballot_box import COALESCE_S, HEARTBEAT_S, BallotBox
from steerd.core.engine import Engine
from steerd.core.verdict import CheckRun, Recheck
from steerd.model.fleet import Agent, Check, Coordinator, Demand, Endpoint, Fleet, ProviderSpec, Region, Service
from steerd.model.route import Capabilities, Fence, Observed, Route, Target
from steerd.model.rules import Quorum
from steerd.model.sample import Layer, Sample, Status

__all__ = ["INTERVAL_S", "Moves", "Shard", "make_fleet"]

INTERVAL_S = 5.0
TIMEOUT_S = 2.0
ZONES, REGIONS = 9, 3
_CONFIRM_RATE = 50.0
_CAPABILITIES = Capabilities(weight_max=255, compare_and_set=True, dns=True, ttl=True)
_LESS = 0.995


def make_fleet(agents: int, endpoints: int, shard: int, shards: int) -> Fleet:
    """One of `shards` parts of a fleet: 3 regions of 3 zones, at most one agent per zone, spread over the regions. The parts share
    the global limit of confirms between them."""
    regions = tuple(Region(f"r{r}", tuple(f"r{r}{'abc'[z]}" for z in range(ZONES // REGIONS))) for r in range(REGIONS))
    zones = [regions[n % REGIONS].zones[n // REGIONS] for n in range(ZONES)]
    members = tuple(
        Endpoint(
            f"s{shard}-{n}", "chat", zones[n % ZONES], "http://192.0.2.1", 100.0, address=f"198.51.{shard}.{n + 1}"
        )
        for n in range(endpoints)
    )
    targets = tuple(Target(e.name, (e.name,), {e.name: (e.address or "",)}) for e in members)
    service = Service(
        name="chat",
        endpoints=members,
        routes=(
            Route(key="dns/chat", service="chat", provider="dns", name="chat.test", per="endpoint", targets=targets),
        ),
        demand=Demand(value=60.0 * endpoints),
        checks=(Check("liveness", Layer.LIVENESS, "http", INTERVAL_S, TIMEOUT_S),),
    )
    return Fleet(
        name="loss",
        regions=regions,
        agents=tuple(Agent(f"probe-{zone}", zone) for zone in zones[:agents]),
        coordinators=(Coordinator("co", regions[0].name, "http://127.0.0.1:1"),),
        providers=(ProviderSpec("dns", "memory"),),
        services=(service,),
        config_hash="loss",
        quorum=Quorum(vantage_regions=2, confirm_rate_per_s=_CONFIRM_RATE / shards),
    )


@dataclass
class Moves:
    """What came of it: weights that automation took down although every endpoint was well, and how much was looked at."""

    decreases: int = 0
    health: dict[str, int] = field(default_factory=dict)
    confirms: int = 0
    regular: int = 0
    texts: list[str] = field(default_factory=list)


class _Pair:
    """One agent's looks at one endpoint. `slot` is the next that is neither made nor counted, `lost` the next that gets lost."""

    __slots__ = ("agent", "armed", "failing", "link", "lost", "rng", "run", "slot", "slots", "steady", "watch")

    def __init__(
        self, agent: _Agent, watch: Watch, run: CheckRun, link: Link, slots: Iterator[int], rng: Random
    ) -> None:
        self.agent, self.watch, self.run, self.link, self.slots, self.rng = agent, watch, run, link, slots, rng
        self.slot = watch.cadence.after(START_S)
        self.lost = next(slots, None)
        self.steady = False
        self.armed = 0
        self.failing = 0

    def fails(self, at: float) -> bool:
        """Whether a look out of turn gets lost."""
        return self.link.cut(at) or (self.link.rate > 0.0 and self.rng.random() < self.link.rate)

    def calm(self, until: float) -> bool:
        """Well, and no look is lost or about to be lost up to `until`: one more that passes changes nothing."""
        at_ease = self.steady and not self.failing
        return at_ease and (self.lost is None or self.watch.cadence.time(self.lost) > until)

    def settle(self, now: float) -> None:
        """Counts the looks that were left out up to `now`, which all passed."""
        if not self.steady:
            return
        upto = self.watch.cadence.after(now)
        if self.lost is not None:
            upto = min(upto, self.lost)
        passed = upto - self.slot
        if passed > 0:
            self.run.passed += passed - 1
            self.run.looks += passed - 1
            self.slot = upto
            began = self.watch.cadence.time(upto - 1)
            self.run.passes(began, began)


@dataclass
class _Agent:
    """A ballot box and the pairs that feed it."""

    box: BallotBox
    pairs: dict[str, _Pair] = field(default_factory=dict)
    flush_at: float | None = None


class Shard:
    """A part of a fleet, run from `START_S` on. Deterministic for (case, agents, seed, shard)."""

    def __init__(self, case: Case, fleet: Fleet, seed: str, seconds: float) -> None:
        self.fleet, self.moves, self._seconds = fleet, Moves(), seconds
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()
        self._now = START_S
        self._engine = Engine("co")
        self._fair = 1.0 / len(fleet.services[0].endpoints)
        route = fleet.services[0].routes[0]
        values = {t.key: t.values_for(frozenset(t.endpoints)) for t in route.targets}
        self._served = Observed({t.key: 255 for t in route.targets}, values, Fence(fleet.name, 1, 0, ""), exists=True)
        self._agents = {a.name: self._agent(case, a, n, seed) for n, a in enumerate(fleet.agents)}

    def _agent(self, case: Case, agent: Agent, vantage: int, seed: str) -> _Agent:
        plan = watchlist(self.fleet, agent.name)
        made = _Agent(BallotBox(agent.name, 1))
        made.box.configure(plan.subjects, plan.shared, self.fleet.verdict, self.fleet.config_hash, START_S)
        zones = {z: n for n, z in enumerate(dict.fromkeys(e.zone for e in self.fleet.services[0].endpoints))}
        links = [Link(case, seed, vantage, zone, self._seconds) for zone in range(len(zones))]
        for watch in plan.watches:
            link = links[zones[watch.zone]]
            slots = lost_slots(link, watch.cadence, seed, vantage, watch.subject)
            rng = Random(f"confirms {seed} {vantage} {watch.subject}")
            pair = _Pair(made, watch, made.box.run(watch.subject, watch.check.name), link, slots, rng)
            made.pairs[watch.subject] = pair
            for _ in range(self.fleet.verdict.rise):
                made.box.observe(_sample(pair, Status.PASS, START_S - INTERVAL_S, regular=True), START_S)
        return made

    def run(self) -> Moves:
        """The whole time."""
        self._step(ev.ConfigLoaded(self.fleet, {"dns": _CAPABILITIES}))
        self._step(ev.LeadershipChanged(leading=True, epoch=2, leader="co"))
        self._step(ev.RouteObserved("dns/chat", self._served))
        for n, agent in enumerate(self._agents.values()):
            self._step(ev.BallotReceived(agent.box.full(START_S)))
            self._at(START_S + HEARTBEAT_S * (n + 1) / len(self._agents), self._heartbeat, agent)
            for pair in agent.pairs.values():
                self._plan(pair)
        end = START_S + self._seconds
        wake = self._now
        while True:
            at = min(wake, self._heap[0][0])
            if at > end:
                return self.moves
            self._now = at
            if wake <= at < self._heap[0][0]:  # everything of this moment is in
                self._step(ev.Tick())
                wake = max(self._engine.wake_at(at), at + 0.001)
                continue
            _, _, what, args = heapq.heappop(self._heap)
            what(*args)
            wake = min(wake, self._engine.wake_at(at))

    def _at(self, at: float, what: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._heap, (at, next(self._order), what, args))

    # -- looks ----------------------------------------------------------------------------------------------------------

    def _plan(self, pair: _Pair) -> None:
        """The next look that must be made: the next at all, or of a check that is well the next that gets lost."""
        pair.steady = pair.run.steady
        pair.armed += 1
        if not pair.steady:
            self._at(pair.watch.cadence.time(pair.slot), self._due, pair, pair.armed)
            return
        pair.run.last_at = float("inf")
        if pair.lost is not None:
            self._at(pair.watch.cadence.time(pair.lost), self._due, pair, pair.armed)

    def _due(self, pair: _Pair, armed: int) -> None:
        if armed != pair.armed:
            return
        pair.settle(self._now)
        lost = pair.slot == pair.lost
        pair.slot += 1
        if lost:
            pair.lost = next(pair.slots, None)
        self.moves.regular += 1
        self._look(pair, lost=lost, counts_as=1, regular=True)

    def _look(self, pair: _Pair, *, lost: bool, counts_as: int, regular: bool) -> None:
        if not lost:
            self._done(pair, Status.PASS, self._now, counts_as, regular)
            return
        pair.failing += 1
        self._at(self._now + TIMEOUT_S, self._done, pair, Status.FAIL, self._now, counts_as, regular)
        if regular:
            self._plan(pair)

    def _done(self, pair: _Pair, status: Status, began: float, counts_as: int, regular: bool) -> None:
        pair.failing -= status is Status.FAIL
        pair.settle(self._now)
        was = pair.steady
        seen = pair.agent.box.observe(_sample(pair, status, began, counts_as=counts_as, regular=regular), self._now)
        if seen.urgent:
            self._flush(pair.agent)
        elif seen.changed and pair.agent.flush_at is None:
            pair.agent.flush_at = self._now + COALESCE_S
            self._at(pair.agent.flush_at, self._flush_due, pair.agent)
        for recheck in seen.confirm:
            self._confirm(pair, recheck)
        if (regular and status is Status.PASS) or pair.run.steady != was:
            self._plan(pair)

    def _confirm(self, pair: _Pair, recheck: Recheck) -> None:
        gap_s = self.fleet.verdict.confirm_gap_s
        times = [self._now + number * gap_s for number in range(recheck.looks)]
        lost = [pair.fails(at) for at in times]
        self.moves.confirms += len(times)
        if pair.calm(times[-1]) and not any(lost):
            return
        for at, fails in zip(times, lost, strict=True):
            self._at(at, self._confirm_look, pair, fails, recheck.counts_as)

    def _confirm_look(self, pair: _Pair, lost: bool, counts_as: int) -> None:
        self._look(pair, lost=lost, counts_as=counts_as, regular=False)

    # -- ballots and decisions ------------------------------------------------------------------------------------------

    def _heartbeat(self, agent: _Agent) -> None:
        self._at(self._now + HEARTBEAT_S, self._heartbeat, agent)
        agent.box.refresh()
        self._flush(agent)
        self._step(ev.BallotReceived(agent.box.heartbeat(self._now)))

    def _flush_due(self, agent: _Agent) -> None:
        if agent.flush_at is not None:
            self._flush(agent)

    def _flush(self, agent: _Agent) -> None:
        agent.flush_at = None
        if agent.box.dirty:
            for name in agent.box.waiting:
                agent.pairs[name].settle(self._now)
            self._step(ev.BallotReceived(agent.box.delta(self._now)))

    def _step(self, event: ev.Event) -> None:
        queue: list[ev.Event] = [event]
        while queue:
            for effect in self._engine.step(queue.pop(0), self._now):
                queue += self._carry_out(effect)

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        if isinstance(effect, fx.ConfirmNow):
            self._ask(effect)
        elif isinstance(effect, fx.Apply):
            return [self._write(effect)]
        elif isinstance(effect, fx.Verify):
            now = self._now
            return [
                ev.VerifyFinished(
                    effect.route, effect.decision, in_sync=True, authoritative_at=now, observed=self._served
                )
            ]
        elif isinstance(effect, fx.Record) and effect.kind == "health":
            word = str(effect.data["health"])
            self.moves.health[word] = self.moves.health.get(word, 0) + 1
        return []

    def _ask(self, effect: fx.ConfirmNow) -> None:
        for name in effect.agents:
            agent = self._agents[name]
            for endpoint in effect.endpoints:
                for recheck in agent.box.asked(endpoint, self._now, paid=endpoint in effect.paid):
                    self._confirm(agent.pairs[endpoint], recheck)

    def _write(self, effect: fx.Apply) -> ev.ApplyFinished:
        weights = {m.target: m.weight for m in effect.desired.members}
        old, new = _shares(self._served.weights), _shares(weights)
        less = [e for e in new if new[e] < _LESS * min(old.get(e, 0.0), self._fair)]
        self.moves.decreases += len(less)
        if less and len(self.moves.texts) < 20:
            self.moves.texts.append(f"+{self._now - START_S:.0f} s {', '.join(less)}")
        values = {m.target: m.values for m in effect.desired.members}
        self._served = Observed(weights, values, effect.fence)
        return ev.ApplyFinished(effect.route, effect.decision, "applied", accepted_at=self._now, observed=self._served)


def _sample(pair: _Pair, status: Status, began: float, *, counts_as: int = 1, regular: bool) -> Sample:
    lost = status is Status.FAIL
    return Sample(
        endpoint=pair.watch.subject,
        check=pair.watch.check.name,
        layer=pair.watch.check.layer,
        status=status,
        at=began,
        reason="connect timed out" if lost else None,
        transport=lost,
        duration_s=TIMEOUT_S if lost else 0.005,
        counts_as=counts_as,
        confirm=not regular,
        unpaid=lost,
    )


def _shares(weights: dict[str, int]) -> dict[str, float]:
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}
