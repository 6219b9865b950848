"""The engine: one door, `step(event, now) -> effects` (architecture.md).

    event -> votes -> health -> diagnosis -> drains (guards, ramp) -> plan -> routes -> effects

`now` is steady time in seconds of the Unix epoch: it never goes back. The same events at the same times give the same effects.
Ballots are only taken in; what came at one time is judged together, by the next event that is no ballot or comes later
(`steerd.core.instant`). `wake_at` asks for a `Tick` at once when something waits for that.
A follower runs the same stages on the same ballots up to the diagnosis; only a leader drains, plans and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steerd.core import activate, operated, passive, residency, settle, standby
from steerd.core import events as ev
from steerd.core.alerts import LEADERS
from steerd.core.datagate import note_readings
from steerd.core.decide import decide, room_for
from steerd.core.effects import Answer, Effect, Persist
from steerd.core.expiry import expire
from steerd.core.explain import explain
from steerd.core.factors import review_factors
from steerd.core.fleetchange import load_config
from steerd.core.guards import out_zones
from steerd.core.inputs import inputs_for
from steerd.core.limits import Limits
from steerd.core.operate import operate
from steerd.core.progress import review_demand
from steerd.core.reason import because, reason_of
from steerd.core.removal import refusal, still_crowded
from steerd.core.review import Review
from steerd.core.routes import applied, followed, observed, reconcile, route_alarm, start_routes, verified
from steerd.core.standing import standing_for
from steerd.core.tell import tell_quorum, tell_vetoes
from steerd.core.vantage import review_agents
from steerd.core.view import preview, status
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.model.health import DiagnosisKind, Health
from steerd.model.plan import HardState
from steerd.model.route import Route
from steerd.model.vote import Ballot

__all__ = ["Engine"]

_REVIEW_AGENTS_EVERY_S = 2.0
_LONGEST_SLEEP_S = 1.0
_ROUNDS = 8
"""A review may touch another service; that settles in a few rounds. More means a rule that fights itself."""


class Engine:
    """The pure core of a coordinator called `name`. Feed it `ConfigLoaded` first, then `LeadershipChanged`."""

    def __init__(self, name: str) -> None:
        self.world = World(name)
        self._isolated_since: dict[str, float] = {}
        self._handlers: Mapping[type[Any], Callable[[Any, float], None]] = {
            ev.BallotReceived: self._ballot,
            ev.AgentLost: self._agent_lost,
            ev.ReadingReceived: lambda event, now: note_readings(self.world, event.agent, event.readings, now),
            ev.DemandObserved: self._demand,
            ev.RouteObserved: lambda event, now: observed(self.world, event, now),
            ev.ApplyFinished: lambda event, now: applied(self.world, event, now),
            ev.VerifyFinished: lambda event, now: verified(self.world, event, now),
            ev.HookFinished: lambda event, now: activate.finished(self.world, event, now),
            ev.OperatorCommand: lambda event, now: operate(self.world, event, now),
            ev.LeadershipChanged: self._leadership,
            ev.StateFollowed: lambda event, now: followed(self.world, event, now),
            ev.ConfigLoaded: lambda event, now: self._health_changed(load_config(self.world, event, now), now),
            ev.Tick: lambda event, now: None,
        }

    def step(self, event: ev.Event, now: float) -> tuple[Effect, ...]:
        """Takes one event in; returns what shall be done, in order."""
        world = self.world
        world.out, instant = [], world.instant
        kind = type(event)
        ballot = kind is ev.BallotReceived
        if instant.at is not None and (now > instant.at or not (ballot or kind is ev.Tick)):
            self._close_before(kind, instant.at)
        world.now = now
        self._handlers[kind](event, now)
        if ballot:
            instant.at = now
        else:
            self._close(now)
        return _persist_before_answers(world.out) if world.out else ()

    def _close_before(self, kind: type[ev.Event], at: float) -> None:
        """Judges an instant that is over. Where the news is of the lead itself, nobody may act on it any more, or not yet."""
        world = self.world
        leading, world.leading = world.leading, world.leading and kind is not ev.LeadershipChanged
        self._close(at)
        world.leading = leading

    def _close(self, now: float) -> None:
        """Judges what came up to `now`: votes, alarms, and every service that they touch."""
        world = self.world
        world.now, world.instant.at = now, None
        self._alarms(now)
        moved: set[str] = set()
        for _ in range(_ROUNDS):
            if not world.dirty:
                break
            services, world.dirty = sorted(world.dirty), {}
            if world.leading:
                operated.advance(world, services, moved, now)
            for service in services:
                if service in world.services:
                    self._review(service, now)
        if world.leading and world.state_changed:
            world.out.append(Persist(None, world.hard_state()))
        world.state_changed = False

    def hears_quorum(self) -> bool:
        """Whether fresh votes make a quorum for any endpoint at all; a fleet without endpoints needs none."""
        board = self.world.board
        return not board.states or board.rolls.anyone_decided()

    def wake_at(self, now: float) -> float:
        """When the next `Tick` is needed: at most a second from `now`, and at once while votes wait to be judged."""
        if self._waits():
            return now
        upcoming = self.world.timers.next()
        return min(now + _LONGEST_SLEEP_S, max(now, upcoming)) if upcoming is not None else now + _LONGEST_SLEEP_S

    def status(self, now: float) -> dict[str, Any]:
        """The fleet at a glance: the shape of interfaces.md, without what only the process knows (time, leader's name is in)."""
        return status(self.world, now)

    def explain(self, name: str, now: float) -> dict[str, Any]:
        """Why `name` stands as it does. Raises KeyError for unknown names."""
        return explain(self.world, name, now)

    def preview(self, now: float) -> dict[str, Any]:
        """What would be written now, route by route, and what guards stop."""
        return preview(self.world, now)

    def refusal(self, fleet: Fleet) -> str | None:
        """Why a new config may not replace the one in force unless an operator accepts it, or None."""
        return refusal(self.world, fleet)

    def incarnation_of(self, agent: str) -> int:
        """The highest incarnation seen of an agent; -1 for none."""
        state = self.world.votes.agents.get(agent)
        return state.incarnation if state is not None else -1

    def routes(self) -> dict[str, Route]:
        """Routes as providers shall see them: with the targets that left the config, so that those are taken out."""
        return {key: state.route for key, state in self.world.steer.routes.items()}

    def hard_state(self) -> HardState:
        """What the store should hold."""
        return self.world.hard_state()

    # -- events ---------------------------------------------------------------------------------------------------------

    def _ballot(self, event: ev.BallotReceived, now: float) -> None:
        world, frame = self.world, event.frame
        agent = world.votes.agents.get(frame.agent)
        if agent is None:
            return
        first = not agent.fresh
        touched, new = world.votes.fold(frame, now)
        world.instant.touched |= touched
        if frame.readings:
            note_readings(world, frame.agent, frame.readings, now)
            world.readings.fold(frame.agent, frame.readings, now)
        agent.connected = True
        if frame.abstaining is None and new:
            world.instant.suspects.setdefault(frame.agent, []).extend(new)
        if isinstance(frame, Ballot):
            self._probe_errors(frame, now)
        if first or agent.abstaining is not None:
            world.timers.at(now, "agents", "")

    def _probe_errors(self, ballot: Ballot, now: float) -> None:
        """A probe that cannot do its job is alerted per agent and check, never counted against the target."""
        alerts = self.world.alerts
        if not alerts.active and not any(vote.errors for vote in ballot.votes):
            return
        known = {endpoint for kind, of in alerts.active if kind == "probe-error" for endpoint in [of.partition("/")[2]]}
        for vote in ballot.votes:
            if not vote.errors and vote.endpoint not in known:
                continue
            of = f"{ballot.agent}/{vote.endpoint}"
            if vote.errors:
                text = f"agent {ballot.agent} cannot check {vote.endpoint}: {'; '.join(vote.errors)}"
                alerts.set("probe-error", of, text, now)
            else:
                alerts.clear("probe-error", of)

    def _agent_lost(self, event: ev.AgentLost, now: float) -> None:
        agent = self.world.votes.agents.get(event.agent)
        if agent is not None:
            agent.connected = False

    def _demand(self, event: ev.DemandObserved, now: float) -> None:
        state = self.world.services.get(event.service)
        if state is not None and state.demand != event.value:
            state.demand = event.value
            self.world.touch(event.service)

    def _leadership(self, event: ev.LeadershipChanged, now: float) -> None:
        world = self.world
        was = world.leading
        world.leading, world.leader = event.leading, event.leader
        if was != event.leading:
            text = f"{world.name} leads, epoch {event.epoch}" if event.leading else f"{world.name} does not lead"
            world.record("leadership", world.name, text, now, epoch=event.epoch, leading=event.leading)
        world.alerts.clear_kinds(LEADERS)
        if (
            not event.leading
        ):  # what the leader decides is not known here; nothing of our own time at the lead stays behind
            world.drains.book, world.drains.holds, world.pins, world.freeze = {}, {}, {}, None
            world.steer.halt()
        if event.leading:
            start_routes(world, event, now)
            for service in world.services:
                world.touch(service)
            world.timers.at(now, "agents", "")

    # -- stages ---------------------------------------------------------------------------------------------------------

    def _alarms(self, now: float) -> None:
        """What is due. Votes that end go with those that came, so that they are judged together too."""
        world = self.world
        touched, due = world.instant.touched, world.timers.due(now)
        for kind, key in due:
            if kind == "agent":
                touched |= world.votes.expire(key, now)
            elif kind == "vote":
                touched.add(key)
        self._judge(now)
        if any(kind == "agent" for kind, _ in due) and ("agents", "") not in due:
            due.append(("agents", ""))
        for kind, key in due:
            if kind == "settle":
                self._health_changed(world.board.settle(key, now), now)
            elif kind == "service":
                world.touch(key)
            elif kind == "route":
                route_alarm(world, key, now)
            elif kind == "agents":
                review_agents(world, self._isolated_since, now)
                world.timers.at(now + _REVIEW_AGENTS_EVERY_S, "agents", "")
            elif kind == "gray":
                self._health_changed(world.gray.judge(world.board, now), now)
            elif kind == "demand":
                review_demand(world, now)
            elif kind == "pins":
                expire(world, now)

    def _waits(self) -> bool:
        """Ballots came that are not judged yet, and change something."""
        world = self.world
        return world.instant.at is not None and (
            not world.instant.empty
            or bool(world.dirty)
            or bool(world.votes.remarked)
            or (world.leading and world.state_changed)
        )

    def _judge(self, now: float) -> None:
        """The votes of an instant, all together: no conclusion rests on a part of them."""
        world, instant = self.world, self.world.instant
        looks, touched = instant.take_looks(), instant.take_touched()
        if looks:
            world.gray.note(looks, world.board, now)
        if world.votes.remarked:
            touched |= world.board.remark(world.votes.remarked - touched, now)
            world.votes.remarked.clear()
        if touched:
            self._health_changed(world.board.judge(touched, now), now)
        for services in (world.board.restless, world.board.turned):
            for service in services:
                world.touch(service)
            services.clear()
        for agent, votes in instant.take_suspects():
            world.out.extend(world.confirmer.consider(agent, votes, world.board, now))

    def _health_changed(self, endpoints: set[str], now: float) -> None:
        world = self.world
        for name in sorted(endpoints):
            state = world.board.states[name]
            world.touch(state.service)
            known, state.told = state.told, state.health
            if known is not Health.UNKNOWN and state.health is Health.DOWN:  # down at first sight is no flap
                world.damper.flap(name, now)
                world.state_changed = True
            if known is Health.UNKNOWN and state.health is Health.HEALTHY:
                continue  # no transition (decisions.md, section 4): the first answer of a start is no news
            text = state.health.word + (f": {state.reason}" if state.reason else "")
            data: dict[str, object] = {
                "service": state.service,
                "voices": state.counts.voices,
                "unhealthy": state.counts.unhealthy,
            }
            if state.health is Health.DOWN and state.suspect_at is not None:
                data["suspect_at"] = state.suspect_at
            world.record("health", name, text, now, health=state.health.word, **data)

    def _review(self, service: str, now: float) -> None:
        """Diagnosis, and for the leader drains, plan and routes of one service."""
        world = self.world
        self._diagnose(service, now)
        if not world.leading:
            return
        state = world.services[service]
        reconcile(world, service, now)
        if not state.adopted:
            return
        passive.before_review(world, service, now)
        if state.reason is None:  # what stands when a leader begins is where it goes on from
            state.reason = reason_of(world, service)
        diagnosis = world.diagnoser.services[service]
        review = Review(
            service=service,
            diagnoses=diagnosis.current,
            shares=state.shares,
            standing=lambda: standing_for(world, service),
            ramp=world.service(service).ramp,
            everywhere=diagnosis.everywhere,
            frozen=world.freeze,
            limits=Limits(world, service, now),
            room=lambda drain: passive.may_return(world, service, drain, now) or room_for(world, service, drain),
            takeover=lambda name, kind: passive.takeover(world, service, name, kind, now),
        )
        world.drains.review(review, world.board, world.domains, now)
        state.vetoes = review.vetoes
        settle.after_review(world, service, review.vetoes, now)
        residency.tell(world, service, now)
        standby.compare(world, service, now)
        still_crowded(world, service, now)
        drains = world.drains.of_service(service, world.domains)
        if state.factors or world.board.dim[service]:
            state.vetoes += review_factors(
                world, service, inputs_for(world, service, drains, apart=world.board.dim[service]), now
            )
        elif ("capacity-short", f"{service}/weights") in world.alerts.active:
            world.alerts.clear("capacity-short", f"{service}/weights")
        reason = reason_of(world, service)
        if reason != state.reason:
            decide(world, service, because(world, service, state.reason, reason), now)
            state.reason = reason_of(world, service)
        else:
            state.vetoes += state.plan_vetoes
        tell_vetoes(world, service, now)

    def _diagnose(self, service: str, now: float) -> None:
        world = self.world
        zones, regions = out_zones(tuple(world.drains.of_service(service, world.domains)))
        drained = zones | {z for z in world.domains.zones[service] if world.domains.region_of_zone(z) in regions}
        agents = list(world.votes.agents.values())
        abstaining = sum(a.abstaining is not None for a in agents) / len(agents) if agents else 0.0
        for new in world.diagnoser.update(service, world.board, world.domains, drained, abstaining, now):
            if new.kind is DiagnosisKind.ZONE and new.health is Health.DOWN:
                world.damper.flap(new.of, now)
            label = f" ({new.label})" if new.label else ""
            dead = ", confirmed dead" if new.dead else ""
            text = f"{service}: {new.kind.value} {new.of}{label} is {new.health.word}{dead}"
            world.record(
                "diagnosis",
                new.of,
                text,
                now,
                service=service,
                diagnosis=new.kind.value,
                dead=new.dead,
                label=new.label,
            )
        diagnosis = world.diagnoser.services[service]
        if diagnosis.everywhere:
            label = next((d.label for d in diagnosis.current if d.label), "unexplained")
            world.alerts.set(
                "global", service, f"every zone of {service} is bad at once ({label}): automatic moves are frozen", now
            )
        else:
            world.alerts.clear("global", service)
        tell_quorum(world, service, now)


def _persist_before_answers(effects: list[Effect]) -> tuple[Effect, ...]:
    """An operator is told "done" only after what was done is in the store."""
    answers = [e for e in effects if isinstance(e, Answer)]
    if not answers:
        return tuple(effects)
    return (*(e for e in effects if not isinstance(e, Answer)), *answers)
