"""A bench for the engine: virtual time, agents that say what they are told, and a provider that serves what it is given.

No sockets, no clocks. `Bench.run` steps the engine through time and carries its effects out at once (or as told to fail).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.ballot_box import HEARTBEAT_S
from steerd.core.engine import Engine
from steerd.model.fleet import Fleet
from steerd.model.plan import Decision, HardState
from steerd.model.route import Capabilities, Fence, Observed
from steerd.model.sample import Layer, Reading
from steerd.model.vote import Ballot, CheckCounts, Heartbeat, Verdict, Vote
from tests.support.fleets import WEIGHTED

__all__ = ["Bench"]


class Bench:
    """One coordinator's core at the lead, with everything around it simulated by the simplest means."""

    def __init__(
        self,
        fleet: Fleet,
        caps: Capabilities = WEIGHTED,
        *,
        start: float = 1000.0,
        served: dict[str, int] | None = None,
    ):
        self.fleet = fleet
        self.now = start
        self.engine = Engine("co")
        self.effects: list[fx.Effect] = []
        self.log: list[tuple[float, fx.Effect]] = []
        self.served: dict[str, Observed] = {}
        self.writes: list[tuple[float, dict[str, int]]] = []
        self.fail: str | None = None
        self.store: list[Decision | None] = []
        self.state: HardState | None = None
        self.said: dict[str, dict[str, Vote]] = {}
        self.muted: set[str] = set()
        self.abstaining: dict[str, str] = {}
        self.losing: dict[str, float] = {}
        """Endpoint -> the part of its looks that fails, whatever agents say of it: only counts show it."""
        self.blind_to_loss: set[str] = set()
        """Agents whose looks are not lost."""
        self._counts: dict[tuple[str, str], tuple[float, float]] = {}
        self.fed: list[tuple[ev.Event, float]] = []
        """Everything the engine was given: enough to play it again."""
        self._numbers: dict[str, int] = {}
        self._incarnations: dict[str, int] = {}
        self._next_beat = start
        self._answers: dict[str, fx.Answer] = {}
        self._ids = 0
        self.caps_of = {p.name: caps for p in fleet.providers}
        self._step(ev.ConfigLoaded(fleet, self.caps_of))
        for service in fleet.services:
            for route in service.routes:
                weights = served if served is not None else {t.key: caps.weight_max for t in route.targets}
                values = {t.key: t.values_for(frozenset(t.endpoints)) for t in route.targets}
                self.served[route.key] = Observed(weights, values, Fence(fleet.name, 1, 0, ""), exists=bool(weights))

    def lead(self, epoch: int = 2, state: HardState | None = None, open_: Any = ()) -> None:
        self._step(ev.LeadershipChanged(True, epoch, "co", state, open_))
        for key, seen in self.served.items():
            self._step(ev.RouteObserved(key, seen))

    def all_say(
        self,
        verdict: Verdict,
        endpoints: Iterable[str] | None = None,
        agents: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """These agents (all by default) vote `verdict` on these endpoints (all by default), all in one instant."""
        names = tuple(endpoints) if endpoints is not None else tuple(self.fleet.endpoint_by_name)
        for agent in agents if agents is not None else [a.name for a in self.fleet.agents]:
            self._take(agent, verdict, names, **kwargs)
        self.judge()

    def say(self, agent: str, verdict: Verdict, endpoints: Iterable[str], **kwargs: Any) -> None:
        """One agent's ballot, judged at once."""
        self._take(agent, verdict, endpoints, **kwargs)
        self.judge()

    def _take(
        self,
        agent: str,
        verdict: Verdict,
        endpoints: Iterable[str],
        *,
        transport: bool = True,
        reason: str = "refused",
        layer: Layer | None = None,
        **kwargs: Any,
    ) -> None:
        if agent in self.muted:
            return
        bad = verdict is Verdict.UNHEALTHY
        first = agent not in self.said
        known = self.said.setdefault(agent, {})
        votes = []
        for endpoint in endpoints:
            sequence = known[endpoint].sequence + 1 if endpoint in known else 1
            vote = Vote(
                endpoint, verdict, sequence, layer=layer or (Layer.LIVENESS if bad else None), reason=reason if bad else None,
                transport=bad and transport, all_failed=bad, counts=self._counted(agent, endpoint), **kwargs,
            )  # fmt: skip
            known[endpoint] = vote
            votes.append(vote)
        frame = Ballot(
            agent,
            self._incarnations.get(agent, 1),
            self._number(agent),
            first,
            tuple(votes),
            (),
            self.abstaining.get(agent),
            self.fleet.config_hash,
        )
        self._step(ev.BallotReceived(frame))

    def _counted(self, agent: str, endpoint: str) -> tuple[CheckCounts, ...]:
        passed, failed = self._counts.get((agent, endpoint), (1000.0, 0.0))
        return (CheckCounts("liveness", int(passed), int(failed)),)

    def _look(self, agent: str, seconds: float) -> None:
        """Counts this agent's looks (one in 5 s) at endpoints that lose some, and sends those votes again."""
        again = [e for e in self.losing if e in self.said.get(agent, {})]
        for endpoint in again:
            passed, failed = self._counts.get((agent, endpoint), (1000.0, 0.0))
            rate = self.losing[endpoint] if agent not in self.blind_to_loss else 0.0
            self._counts[agent, endpoint] = (passed + seconds / 5 * (1 - rate), failed + seconds / 5 * rate)
        if again:
            known = self.said[agent]
            votes = tuple(
                replace(known[e], sequence=known[e].sequence + 1, counts=self._counted(agent, e)) for e in again
            )
            known.update({v.endpoint: v for v in votes})
            self._step(ev.BallotReceived(self._ballot(agent, votes, full=False)))

    def deliver(self, *frames: Ballot | Heartbeat) -> None:
        """Frames as they are, whatever they say, all in one instant."""
        for frame in frames:
            self._numbers[frame.agent] = max(self._numbers.get(frame.agent, 0), frame.number)
            self._step(ev.BallotReceived(frame))
        self.judge()

    def judge(self) -> None:
        """The end of an instant, where the engine asks for one: what every shell does when it took all that waited."""
        if self.engine.wake_at(self.now) <= self.now:
            self._step(ev.Tick())

    def deliver_event(self, event: ev.Event) -> None:
        self._step(event)

    def start_anew(self) -> None:
        """The coordinator's process starts anew: an engine that knows nothing, to which every agent sends a full ballot."""
        self.engine = Engine("co")
        self._step(ev.ConfigLoaded(self.fleet, self.caps_of))
        for agent, known in self.said.items():
            if agent not in self.muted:
                self._step(ev.BallotReceived(self._ballot(agent, tuple(known.values()), full=True)))
        self.judge()

    def restart(self, agent: str) -> None:
        """The agent starts anew: its counts do, and its first ballot is a full one of a new incarnation."""
        self._incarnations[agent] = self._incarnations.get(agent, 1) + 1
        for endpoint, vote in self.said[agent].items():
            passed, failed = self._counts.pop((agent, endpoint), (0.0, 0.0))
            counts = (CheckCounts("liveness", int(passed) + 1, int(failed)),)
            self.said[agent][endpoint] = replace(vote, counts=counts)
        votes = tuple(self.said[agent].values())
        self._step(ev.BallotReceived(self._ballot(agent, votes, full=True)))
        self.judge()

    def _ballot(self, agent: str, votes: tuple[Vote, ...], *, full: bool) -> Ballot:
        return Ballot(
            agent, self._incarnations.get(agent, 1), self._number(agent), full, votes, (), self.abstaining.get(agent),
            self.fleet.config_hash,
        )  # fmt: skip

    def read(self, name: str, values: dict[str, float], agent: str | None = None) -> None:
        """One agent (the first by default) sends readings: subject -> value."""
        agent = agent or self.fleet.agents[0].name
        readings = tuple(Reading(subject, name, value) for subject, value in values.items())
        now = self._incarnations.get(agent, 1)
        beat = Heartbeat(agent, now, self._number(agent), (), readings, None, self.fleet.config_hash)
        self._step(ev.BallotReceived(beat))
        self.judge()

    def run(self, seconds: float) -> None:
        """Lets time pass: heartbeats every 2 s from agents that are not muted, ticks when the engine wants them."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self._next_beat, max(self.engine.wake_at(self.now), self.now + 0.001))
            if self.now >= self._next_beat:
                self._next_beat += HEARTBEAT_S
                for agent in self.said:
                    if agent not in self.muted:
                        self._look(agent, HEARTBEAT_S)
                        beat = Heartbeat(
                            agent,
                            self._incarnations.get(agent, 1),
                            self._number(agent),
                            (),
                            (),
                            self.abstaining.get(agent),
                            self.fleet.config_hash,
                        )
                        self._step(ev.BallotReceived(beat))
            self._step(ev.Tick())

    def command(self, verb: Any, name: str = "", **kwargs: Any) -> fx.Answer:
        self._ids += 1
        ident = str(self._ids)
        kwargs.setdefault("by", "op")
        self._step(ev.OperatorCommand(ident, verb, name=name, **kwargs))
        return self._answers[ident]

    def observe(self, key: str = "dns/chat.test", weights: dict[str, int] | None = None) -> None:
        """The periodic read of a provider, after somebody's edit when `weights` are given."""
        seen = self.served[key]
        if weights is not None:
            seen = Observed({**seen.weights, **weights}, seen.values, seen.fence)
            self.served[key] = seen
        self._step(ev.RouteObserved(key, seen))

    def reload(self, fleet: Fleet, caps: Capabilities = WEIGHTED, *, accepted: bool = False) -> None:
        self.fleet = fleet
        self._step(ev.ConfigLoaded(fleet, {p.name: caps for p in fleet.providers}, accepted))

    # -- reading --------------------------------------------------------------------------------------------------------

    def health(self, endpoint: str) -> str:
        return self.engine.world.board.states[endpoint].health.word

    def share(self, name: str, service: str = "chat") -> float:
        members = self.engine.world.domains.members(service, name)
        return sum(self.engine.world.services[service].shares.get(e, 0.0) for e in members)

    def diagnoses(self, service: str = "chat") -> list[str]:
        return [f"{d.kind.value} {d.of}" for d in self.engine.world.diagnoser.services[service].current]

    def drains(self) -> list[str]:
        return [
            f"{d.name} {d.fraction:.2f} {d.phase.value} {d.cause.value}"
            for _, d in sorted(self.engine.world.drains.book.items())
        ]

    def alerts(self) -> set[str]:
        return {kind for kind, _ in self.engine.world.alerts.active}

    def vetoes(self, service: str = "chat") -> list[str]:
        return [f"{v.guard} {v.name}" for v in self.engine.world.services[service].vetoes]

    def records(self, kind: str) -> list[fx.Record]:
        return [e for _, e in self.log if isinstance(e, fx.Record) and e.kind == kind]

    def confirms(self) -> list[fx.ConfirmNow]:
        return [e for _, e in self.log if isinstance(e, fx.ConfirmNow)]

    # -- carrying out ---------------------------------------------------------------------------------------------------

    def _number(self, agent: str) -> int:
        self._numbers[agent] = self._numbers.get(agent, 0) + 1
        return self._numbers[agent]

    def _step(self, event: ev.Event) -> None:
        queue = [event]
        while queue:
            self.fed.append((queue[0], self.now))
            for effect in self.engine.step(queue.pop(0), self.now):
                self.log.append((self.now, effect))
                queue.extend(self._carry_out(effect))

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        if isinstance(effect, fx.Persist):
            self.store.append(effect.decision)
            self.state = effect.state
        elif isinstance(effect, fx.Answer):
            self._answers[effect.id] = effect
        elif isinstance(effect, fx.Apply):
            if self.fail is not None:
                return [ev.ApplyFinished(effect.route, effect.decision, self.fail, "told to fail")]  # type: ignore[arg-type]  # a test's word
            weights = {m.target: m.weight for m in effect.desired.members}
            assert any(weights.values()), "an empty state was written"
            values = {m.target: m.values for m in effect.desired.members}
            self.served[effect.route] = Observed(weights, values, effect.fence)
            self.writes.append((self.now, weights))
            return [
                ev.ApplyFinished(
                    effect.route, effect.decision, "applied", accepted_at=self.now, observed=self.served[effect.route]
                )
            ]
        elif isinstance(effect, fx.Verify):
            return [
                ev.VerifyFinished(
                    effect.route, effect.decision, True, authoritative_at=self.now, observed=self.served[effect.route]
                )
            ]
        return []
