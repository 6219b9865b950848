"""Quorum: one endpoint's health from the voices of the vantage zones (decisions.md, section 4).

    votes -> voices (one per vantage zone) -> counts -> latches with two thresholds -> health

Nothing here knows of other endpoints, but for the settle rule, which the board at the end of this file keeps: while another
endpoint of the service is halfway to down, new `down` conclusions wait, so that one zone failure is one decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from steerd.core.remarks import note_version, reason_of
from steerd.core.roll import Rolls
from steerd.core.timers import Timers
from steerd.core.voicebook import Tally, VoiceBook
from steerd.core.votes import AgentState, VoteTable
from steerd.model.fleet import Fleet
from steerd.model.health import Health, Voice
from steerd.model.rules import Quorum
from steerd.model.vote import Verdict, Vote

__all__ = ["EndpointBoard", "EndpointState", "reaches", "under"]

_ANSWERING = frozenset({Verdict.HEALTHY, Verdict.SATURATED, Verdict.DEGRADED})
_EPSILON = 1e-9
"""Thresholds are fractions such as 2/3: compare with a margin, so that 2 voices of 3 reach 2/3."""


def reaches(count: int, regions: int, total: int, rules: Quorum) -> bool:
    """Enough voices, from enough vantage regions, to set a latch."""
    return count >= rules.down_at * total - _EPSILON and count > 0 and regions >= rules.vantage_regions


def under(count: int, total: int, rules: Quorum) -> bool:
    """So few voices that a latch is released: at most one, or at most a fifth, and never as many as would set it."""
    enough = count > 0 and count >= rules.down_at * total - _EPSILON
    return count <= max(1.0, rules.up_at * total + _EPSILON) and not enough


@dataclass(slots=True)
class EndpointState:
    """Everything the core remembers of one endpoint's health."""

    name: str
    service: str
    zone: str
    health: Health = Health.UNKNOWN
    told: Health = Health.UNKNOWN
    since: float = 0.0
    decided: bool = False
    undecided_why: str = "no fresh votes"
    voices: tuple[Voice, ...] = ()
    reason: str | None = None
    down: bool = False
    dead: bool = False
    degraded: bool = False
    saturated: bool = False
    gray_down: bool = False
    gray_degraded: bool = False
    gray_text: str | None = None
    between: bool = False
    candidate_since: float | None = None
    suspect_at: float | None = None
    down_at: float | None = None
    version: str | None = None
    version_before: str | None = None
    version_since: float = 0.0
    counts: Tally = field(default_factory=lambda: Tally(0, 0, 0, 0, 0, 0, 0))


class EndpointBoard:
    """Health of every endpoint, kept up to date from the vote table. Cost follows the endpoints touched, not the fleet."""

    def __init__(self, fleet: Fleet, votes: VoteTable, timers: Timers) -> None:
        self._votes = votes
        self._timers = timers
        self.states: dict[str, EndpointState] = {}
        self._between: dict[str, set[str]] = {}
        self._waiting: dict[str, set[str]] = {}
        self.answering: dict[str, dict[str, int]] = {}
        self.dim: dict[str, set[str]] = {}
        """Service -> its endpoints that are saturated or degraded."""
        self.heard: dict[str, int] = {}
        """Vantage zone -> how many endpoints it has a voice on."""
        self.blamed: dict[str, set[str]] = {}
        """Vantage zone -> the endpoints it calls unhealthy."""
        self.rolls = Rolls()
        self.restless: set[str] = set()
        """Services whose confirmed-dead endpoints may have changed since the engine last took this set."""
        self.turned: set[str] = set()
        """Services of which an endpoint began or ceased to have a quorum since the engine last took this set."""
        self._seers: dict[str, tuple[str, ...]] = {}
        self.configure(fleet)

    def configure(self, fleet: Fleet) -> None:
        """Takes a new config; health of endpoints that stay is kept."""
        self._fleet = fleet
        self._book = VoiceBook(fleet, self._votes)
        old = self.states
        self.states = {}
        for service in fleet.services:
            for e in service.endpoints:
                known = old.get(e.name)
                fits = known is not None and (known.service, known.zone) == (service.name, e.zone)
                self.states[e.name] = (
                    known if known is not None and fits else EndpointState(e.name, service.name, e.zone)
                )
        self._between = {s.name: set() for s in fleet.services}
        self._waiting = {s.name: set() for s in fleet.services}
        self.answering = {s.name: {} for s in fleet.services}
        self.dim = {s.name: set() for s in fleet.services}
        self.heard, self.blamed, self.rolls = {}, {}, Rolls()
        for state in self.states.values():
            self._count_voices(state, state.voices, 1)
            roll = self.rolls.of(state.service, state.zone, fleet.vantage_region(state.zone))
            roll.count(state.name, state.health, decided=state.decided, by=1)
            if state.health in (Health.SATURATED, Health.DEGRADED):
                self.dim[state.service].add(state.name)
            if state.between:
                self._between[state.service].add(state.name)
            if state.candidate_since is not None:
                self._waiting[state.service].add(state.name)
        everybody = tuple(a.name for a in fleet.agents) if not any(a.sees for a in fleet.agents) else None
        self._seers = {e.name: everybody or _seers(fleet, s.name, e.name) for s in fleet.services for e in s.endpoints}

    def seers(self, endpoint: str) -> tuple[str, ...]:
        """Agents registered to look at `endpoint`."""
        return self._seers.get(endpoint, ())

    def fresh_votes(self, endpoint: str, now: float) -> list[tuple[AgentState, Vote]]:
        """Votes on `endpoint` that count now."""
        return self._votes.fresh_votes(endpoint, now)

    def set_gray(self, endpoint: str, *, down: bool, degraded: bool, text: str | None, now: float) -> bool:
        """What the gray band says of an endpoint; its health is the worst of that and the quorum's. True when it changed."""
        state = self.states[endpoint]
        if (state.gray_down, state.gray_degraded) == (down, degraded):
            return False
        state.gray_down, state.gray_degraded, state.gray_text = down, degraded, text
        if state.candidate_since is not None or state.health is Health.UNKNOWN:
            return False  # a conclusion is under way: it takes this in
        return self._settle_health(state, now)

    def judge(self, endpoints: Iterable[str], now: float) -> set[str]:
        """Counts the votes on these endpoints anew, and then lets conclusions through: what one waits for does not hang on which
        of them was counted first. Returns the endpoints (they, and ones that waited for them) whose health changed."""
        states = [self.states[e] for e in sorted(endpoints) if e in self.states]
        changed = {state.name for state in states if self._count(state, now)}
        for service in dict.fromkeys(state.service for state in states):
            changed |= self._release(service, now)
        for state in states:
            if state.down and state.dead != (dead := self.confirmed_dead(state.name)):
                state.dead = dead
                self.restless.add(state.service)
        return changed

    def remark(self, endpoints: Iterable[str], now: float) -> set[str]:
        """What votes tell of these endpoints beside what counts: reasons, and who is suspect. Nobody's health changes by it.
        Returns those that must be judged, because a vote ended meanwhile."""
        found: set[str] = set()
        for endpoint in sorted(endpoints):
            state = self.states.get(endpoint)
            if state is None:
                continue
            fresh = self._votes.fresh_votes(endpoint, now)
            voices = self._book.of(fresh).voices
            if [(v.zone, v.verdict) for v in voices] != [(v.zone, v.verdict) for v in state.voices]:
                found.add(endpoint)
                continue
            state.voices = voices
            self._unsuspect(state, fresh)
            if state.reason is not None:
                state.reason = reason_of(state)
        return found

    def _unsuspect(self, state: EndpointState, fresh: list[tuple[AgentState, Vote]]) -> None:
        """Nobody suspects it any more."""
        if state.suspect_at is None:
            return
        if not any(vote.suspect or vote.verdict is Verdict.UNHEALTHY for _, vote in fresh):
            state.suspect_at = None

    def _count(self, state: EndpointState, now: float) -> bool:
        """Counts one endpoint's votes anew. Whether its health changed."""
        fresh = self._votes.fresh_votes(state.name, now)
        said = self._book.of(fresh)
        if said.voices is not state.voices:
            before, state.voices = state.voices, said.voices
            self._count_voices(state, _not_in(said.voices, before), -1)
            self._count_voices(state, _not_in(before, said.voices), 1)
            if self._opens_eyes(state, before):
                self.restless.add(state.service)
                for name in self.down_in(state.service):
                    self.states[name].dead = self.confirmed_dead(name)
        note_version(state, fresh, now)
        self._unsuspect(state, fresh)
        why = self._undecided(state, fresh, said.speaking)
        self._set_decided(state, why)
        if why is None:
            return self._conclude(state, said.count, now)
        self._set_between(state, between=False)
        self._stop_waiting(state)
        return False

    def _opens_eyes(self, state: EndpointState, before: tuple[Voice, ...]) -> bool:
        """A zone begins or ceases to see any endpoint of the service answer: only one that does confirms the dead."""
        counts = self.answering[state.service]
        was = {v.zone for v in before if v.verdict in _ANSWERING}
        are = {v.zone for v in state.voices if v.verdict in _ANSWERING}
        return any(counts.get(z) == 1 for z in are - was) or any(counts.get(z) == 0 for z in was - are)

    def _undecided(self, state: EndpointState, fresh: list[tuple[AgentState, Vote]], said: int) -> str | None:
        """Why there is no quorum for this endpoint, or None when there is one."""
        rules = self._fleet.quorum
        if not fresh:
            return "no fresh votes"
        if len(state.voices) < rules.voices:
            return f"{len(state.voices)} of {rules.voices} voices"
        registered = self._book.registered(self._seers[state.name])
        if said * 2 <= registered:
            return f"fresh votes from {said} of {registered} agents"
        return None

    def _conclude(self, state: EndpointState, count: Tally, now: float) -> bool:
        rules = self._fleet.quorum
        state.counts = count
        wants_down = reaches(count.unhealthy, count.unhealthy_regions, count.voices, rules)
        clear = under(count.unhealthy, count.voices, rules)
        self._set_between(state, between=not wants_down and not clear and not state.down)
        if state.down and clear and under(count.failing, count.voices, rules):
            state.down = False
        if wants_down and not state.down:
            if state.candidate_since is None:
                state.candidate_since = now
                self._waiting[state.service].add(state.name)
        else:
            self._stop_waiting(state)
        state.degraded = _latch(state.degraded, count.degraded, count.degraded_regions, count.voices, rules)
        state.saturated = _latch(state.saturated, count.saturated, count.saturated_regions, count.voices, rules)
        if state.candidate_since is not None or (state.between and state.health is Health.UNKNOWN):
            return False  # not yet: a candidate is settled in `_release`; a first answer halfway is no answer
        return self._settle_health(state, now)

    def _release(self, service: str, now: float) -> set[str]:
        """Lets waiting `down` conclusions through: nobody else is halfway, or they waited `settle` long enough."""
        changed: set[str] = set()
        waiting, between = self._waiting[service], self._between[service]
        if not waiting:
            return changed
        for name in sorted(waiting):
            state = self.states[name]
            since = state.candidate_since if state.candidate_since is not None else now
            deadline = since + self._fleet.quorum.settle_s
            if between - {name} and now < deadline:
                self._timers.at(deadline, "settle", name)
                continue
            self._stop_waiting(state)
            state.down = True
            if self._settle_health(state, now):
                changed.add(name)
        return changed

    def settle(self, endpoint: str, now: float) -> set[str]:
        """A settle alarm rang."""
        state = self.states.get(endpoint)
        return self._release(state.service, now) if state is not None else set()

    def _settle_health(self, state: EndpointState, now: float) -> bool:
        if state.down or state.gray_down:
            health = Health.DOWN
        elif state.degraded or state.gray_degraded:
            health = Health.DEGRADED
        elif state.saturated:
            health = Health.SATURATED
        else:
            health = Health.HEALTHY
        state.reason = reason_of(state) if health is not Health.HEALTHY else None
        if health is state.health:
            return False
        roll = self.rolls.of_zone(state.service, state.zone)
        roll.count(state.name, state.health, decided=state.decided, by=-1)
        state.health, state.since = health, now
        roll.count(state.name, state.health, decided=state.decided, by=1)
        dim = self.dim[state.service]
        if health in (Health.SATURATED, Health.DEGRADED):
            dim.add(state.name)
        else:
            dim.discard(state.name)
        state.down_at = now if health is Health.DOWN else None
        return True

    def _set_decided(self, state: EndpointState, why: str | None) -> None:
        state.undecided_why = why or ""
        if state.decided is not (why is None):
            state.decided = why is None
            self.rolls.of_zone(state.service, state.zone).undecided += -1 if state.decided else 1
            self.turned.add(state.service)

    def down_in(self, service: str, name: str | None = None) -> set[str]:
        """Endpoints of the service that are down: all of them, or those in an endpoint, zone or region."""
        if name is not None and name in self.states:
            return {name} if self.states[name].health is Health.DOWN else set()
        rolls = self.rolls.of_service(service) if name is None else self.rolls.inside(service, name)
        return {e for roll in rolls for e in roll.down}

    def _set_between(self, state: EndpointState, *, between: bool) -> None:
        state.between = between
        group = self._between[state.service]
        if between:
            group.add(state.name)
        else:
            group.discard(state.name)

    def _stop_waiting(self, state: EndpointState) -> None:
        state.candidate_since = None
        self._waiting[state.service].discard(state.name)

    def _count_voices(self, state: EndpointState, voices: Iterable[Voice], by: int) -> None:
        counts = self.answering.setdefault(state.service, {})
        for voice in voices:
            self.heard[voice.zone] = self.heard.get(voice.zone, 0) + by
            if voice.verdict is Verdict.UNHEALTHY:
                blamed = self.blamed.setdefault(voice.zone, set())
                (blamed.add if by > 0 else blamed.discard)(state.name)
            if voice.verdict in _ANSWERING:
                counts[voice.zone] = counts.get(voice.zone, 0) + by

    def confirmed_dead(self, endpoint: str) -> bool:
        """Section 6: every voice from outside its zone (all but one, when there are at least 5; at least 3 in all) failed its last
        looks in transport, and the same voices see other endpoints of the service answering."""
        state = self.states[endpoint]
        if not state.down or not state.decided:
            return False
        outside = [v for v in state.voices if v.zone != state.zone]
        counts = self.answering[state.service]
        sure = [v for v in outside if v.transport and v.all_failed and counts.get(v.zone, 0) > 0]
        needed = len(outside) - 1 if len(outside) >= 5 else len(outside)
        return len(sure) >= max(3, needed)


def _not_in(known: tuple[Voice, ...], voices: tuple[Voice, ...]) -> list[Voice]:
    """Those of `voices` that are not in `known` as they are: equal ones are mostly one object."""
    by_zone = {v.zone: v for v in known}
    return [v for v in voices if by_zone.get(v.zone) is not v]


def _latch(latched: bool, count: int, regions: int, total: int, rules: Quorum) -> bool:  # noqa: FBT001 - a latch is a boolean
    if latched:
        return not under(count, total, rules)
    return reaches(count, regions, total, rules)


def _seers(fleet: Fleet, service: str, endpoint: str) -> tuple[str, ...]:
    return tuple(a.name for a in fleet.agents if not a.sees or service in a.sees or endpoint in a.sees)
