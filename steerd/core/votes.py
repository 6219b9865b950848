"""The vote table: at most one counted vote per (agent, endpoint), aged by the coordinator's own clock (decisions.md, section 3).

A vote is *fresh* while its agent was heard within `vote_ttl` and the agent did not call it stale. A heartbeat refreshes a
whole agent at once, so the cost of a quiet fleet does not grow with its endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from steerd.core.timers import Timers
from steerd.model.fleet import Fleet
from steerd.model.vote import Ballot, Heartbeat, Verdict, Vote

__all__ = ["AgentState", "VoteTable"]


@dataclass(slots=True)
class AgentState:
    """What is known of one agent. `stale_at` maps endpoints whose vote the agent no longer refreshes to when it last did;
    `known_at` is when it was first missed, if it was never heard."""

    name: str
    zone: str
    incarnation: int = -1
    number: int = -1
    heard_at: float | None = None
    known_at: float | None = None
    abstaining: str | None = None
    connected: bool = False
    fresh: bool = False
    config_hash: str = ""
    endpoints: set[str] = field(default_factory=set)
    stale_at: dict[str, float] = field(default_factory=dict)


class VoteTable:
    """Folds frames into votes. Old, repeated and reordered frames change nothing; agents not in the config are ignored."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._ttl_s = 15.0
        self.taken: Callable[[AgentState, Vote, Vote], None] | None = None
        """Called with a vote taken, after what the agent said before. Not where the counts of the two cannot be compared, because
        the agent is new, started anew, was not heard or doubted itself in between."""
        self.watched: Container[str] = ()
        """Endpoints of which every such vote is to be told; of others only those that count a failure more."""
        self.remarked: set[str] = set()
        """Endpoints of which a vote says the same in other words, or begins or ceases to be suspect, since this was last taken."""
        self.comings = 0
        """Grows when an agent comes, goes, or is another one."""
        self.agents: dict[str, AgentState] = {}
        self.votes: dict[str, dict[str, Vote]] = {}

    def configure(self, fleet: Fleet) -> set[str]:
        """Takes a new config: forgets agents and endpoints that left it. Returns the endpoints whose votes may have changed."""
        self._ttl_s = fleet.quorum.vote_ttl_s
        self.comings += 1
        touched: set[str] = set()
        for name in [n for n in self.agents if n not in fleet.agent_by_name]:
            touched |= self._forget_agent(name)
        for agent in fleet.agents:
            state = self.agents.setdefault(agent.name, AgentState(agent.name, agent.zone))
            if state.zone != agent.zone:
                state.zone = agent.zone
                touched |= state.endpoints
        for endpoint in [e for e in self.votes if e not in fleet.endpoint_by_name]:
            for name in self.votes.pop(endpoint):
                self.agents[name].endpoints.discard(endpoint)
                self.agents[name].stale_at.pop(endpoint, None)
        for endpoint in fleet.endpoint_by_name:
            self.votes.setdefault(endpoint, {})
        return touched & self.votes.keys()

    def fold(self, frame: Ballot | Heartbeat, now: float) -> tuple[set[str], list[Vote]]:
        """Takes one frame. Returns the endpoints whose counted votes changed (or came back to life), and the votes that
        are new and may be a reason to look again: suspect or unhealthy ones."""
        agent = self.agents.get(frame.agent)
        if agent is None:
            return set(), []
        if (frame.incarnation, frame.number) <= (agent.incarnation, agent.number):
            return set(), []
        if isinstance(frame, Heartbeat) and frame.incarnation != agent.incarnation:
            return set(), []  # a heartbeat of a start whose full ballot has not come yet refreshes nothing
        touched: set[str] = set()
        sure = agent.fresh and agent.abstaining is None and frame.abstaining is None
        comparable = sure and frame.incarnation == agent.incarnation
        if frame.incarnation > agent.incarnation:
            if not (isinstance(frame, Ballot) and frame.full):
                return set(), []
            touched |= agent.endpoints
        agent.incarnation, agent.number = frame.incarnation, frame.number
        if not agent.fresh or agent.abstaining != frame.abstaining:
            touched |= agent.endpoints
        self.comings += not agent.fresh
        agent.heard_at, agent.abstaining, agent.fresh = now, frame.abstaining, True
        agent.config_hash = frame.config_hash
        self._timers.at(now + self._ttl_s, "agent", agent.name)
        if isinstance(frame, Heartbeat):
            return touched | self._mark_stale(agent, frame.stale, now), []
        changed, new = self._fold_votes(agent, frame, comparable=comparable)
        return touched | changed, new

    def _fold_votes(self, agent: AgentState, ballot: Ballot, *, comparable: bool) -> tuple[set[str], list[Vote]]:
        touched: set[str] = set()
        new: list[Vote] = []
        if ballot.full:
            said = {v.endpoint for v in ballot.votes}
            for endpoint in agent.endpoints - said:
                self.votes[endpoint].pop(agent.name, None)
                touched.add(endpoint)
            agent.endpoints &= said
            agent.stale_at = {}
        name, stale, told = agent.name, agent.stale_at, self.taken if comparable else None
        for vote in ballot.votes:
            endpoint = vote.endpoint
            votes = self.votes.get(endpoint)
            if votes is None:
                continue
            old = votes.get(name)
            if old is not None and not ballot.full and vote.sequence < old.sequence:
                continue
            if stale:
                stale.pop(endpoint, None)
            votes[name] = vote
            if old is None:
                agent.endpoints.add(endpoint)
                touched.add(endpoint)
            else:
                if told is not None and (endpoint in self.watched or _failed(old) != _failed(vote)):
                    told(agent, old, vote)
                if _counts_otherwise(old, vote):
                    touched.add(endpoint)
                elif _tells_otherwise(old, vote):
                    self.remarked.add(endpoint)  # a vote that only counts looks changes not even that
            if (vote.suspect or vote.verdict is Verdict.UNHEALTHY) and old != vote:
                new.append(vote)
        return touched, new

    def _mark_stale(self, agent: AgentState, stale: tuple[str, ...], now: float) -> set[str]:
        """A stale vote keeps the time it was last refreshed and dies `vote_ttl` after it."""
        still = {e: agent.stale_at.get(e, now) for e in stale if e in agent.endpoints}
        revived = {e for e in agent.stale_at if e not in still}
        agent.stale_at = still
        for endpoint, since in still.items():
            self._timers.at(since + self._ttl_s, "vote", endpoint)
        return revived

    def expire(self, name: str, now: float) -> set[str]:
        """An agent's alarm rang: if it was not heard for `vote_ttl`, its votes are absent from now on."""
        agent = self.agents.get(name)
        if agent is None or agent.heard_at is None or not agent.fresh:
            return set()
        if now - agent.heard_at < self._ttl_s:
            self._timers.at(agent.heard_at + self._ttl_s, "agent", name)
            return set()
        agent.fresh = False
        self.comings += 1
        return set(agent.endpoints)

    def fresh_votes(self, endpoint: str, now: float) -> list[tuple[AgentState, Vote]]:
        """Votes that count now: fresh, of agents that do not abstain. Unknown verdicts are included."""
        found = []
        for name, vote in self.votes.get(endpoint, {}).items():
            agent = self.agents[name]
            if not agent.fresh or agent.abstaining is not None:
                continue
            since = agent.stale_at.get(endpoint) if agent.stale_at else None
            if since is not None and now - since >= self._ttl_s:
                continue
            found.append((agent, vote))
        return found

    def _forget_agent(self, name: str) -> set[str]:
        agent = self.agents.pop(name)
        for endpoint in agent.endpoints:
            self.votes.get(endpoint, {}).pop(name, None)
        return set(agent.endpoints)


def _counts_otherwise(old: Vote, new: Vote) -> bool:
    """They differ in what health comes of."""
    return (
        old.verdict is not new.verdict
        or old.all_failed is not new.all_failed
        or old.transport is not new.transport
        or old.version != new.version
    )


def _tells_otherwise(old: Vote, new: Vote) -> bool:
    """They differ in what is told beside."""
    return (
        old.suspect is not new.suspect
        or old.reason != new.reason
        or old.layer is not new.layer
        or old.check != new.check
    )


def _failed(vote: Vote) -> int:
    counts = vote.counts
    return counts[0].failed if len(counts) == 1 else sum([c.failed for c in counts])
