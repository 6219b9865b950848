"""Streams to and from agents, seen from here: what goes down to each, and how much may come up.

An agent beyond its allowance is cut off for a while and alerted on (ha.md, security). The allowance is far above what an
agent of ours sends, so that only a broken or hostile one meets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome

__all__ = ["AgentLink", "Allowance", "LinkClosed", "Links"]

CUT_OFF_S = 10.0
FRAMES_PER_S = 40.0
FRAMES_BURST = 400.0
VOTES_ROUND_S = 2.0
"""Every endpoint's vote as often as heartbeats come is more than an agent has to say."""
VOTES_BURST_ROUNDS = 6.0
VOTES_LEAST = 1000.0
READINGS_PER_VOTE = 8.0


class LinkClosed(ConnectionError):
    """The coordinator ended this stream; the text says why."""


class AgentLink:
    """What goes down to one agent: the welcome, then confirm requests. Requests that wait are merged, so that a slow
    reader costs no more than one set of names."""

    def __init__(self, name: str, links: Links, welcome: Welcome | None) -> None:
        self.name = name
        self.closed: str | None = None
        """Why the stream ended, once it has."""
        self._links = links
        self._welcome = welcome
        self._confirm: dict[str, bool] = {}
        """Endpoint -> whether also the checks that cost tokens are asked for."""
        self._more = asyncio.Event()
        if welcome is not None:
            self._more.set()

    async def get(self) -> Welcome | Confirm:
        """The next frame. Raises `LinkClosed` once the stream has ended."""
        while True:
            await self._more.wait()
            if self.closed is not None:
                raise LinkClosed(self.closed)
            if self._welcome is not None:
                welcome, self._welcome = self._welcome, None
                self._rearm()
                return welcome
            if self._confirm:
                asked, self._confirm = self._confirm, {}
                self._rearm()
                return Confirm(tuple(asked), tuple(e for e, paid in asked.items() if paid))
            self._rearm()

    def confirm(self, endpoints: tuple[str, ...], paid: tuple[str, ...] = ()) -> None:
        """Ask for a look at these endpoints at once; at those in `paid` also with the checks that cost tokens."""
        for endpoint in endpoints:
            self._confirm[endpoint] = self._confirm.get(endpoint, False) or endpoint in paid
        self._more.set()

    def close(self) -> None:
        """The stream ended at the agent's side; safe to call twice."""
        if self.closed is None:
            self.end("the agent left")
            self._links.left(self)

    def end(self, why: str) -> None:
        """End it from this side."""
        if self.closed is None:
            self.closed = why
        self._more.set()

    def _rearm(self) -> None:
        if self._welcome is None and not self._confirm and self.closed is None:
            self._more.clear()


@dataclass(slots=True)
class Allowance:
    """A token bucket: `per_s` on average, `burst` at once."""

    per_s: float
    burst: float
    left: float
    at: float

    def take(self, amount: float, now: float) -> bool:
        """Spend `amount` if it is there."""
        self.left = min(self.burst, self.left + max(0.0, now - self.at) * self.per_s)
        self.at = now
        if amount > self.left:
            return False
        self.left -= amount
        return True


@dataclass(slots=True)
class _Account:
    frames: Allowance
    votes: Allowance
    readings: Allowance
    cut_until: float = 0.0


class Links:
    """All agents' streams by name; a second stream of an agent replaces its first."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        """`lost(name)` is called when the stream of an agent has ended, however it ended."""
        self._lost = lost
        self._links: dict[str, AgentLink] = {}
        self._accounts: dict[str, _Account] = {}
        self._endpoints = 0

    def configure(self, agents: Collection[str], endpoints: int) -> None:
        """A new config: streams of agents that left it end."""
        self._endpoints = endpoints
        self._accounts = {}
        for name in [n for n in self._links if n not in agents]:
            self.end(name, "this agent is no longer in the config")

    def connect(self, name: str, welcome: Welcome, now: float) -> AgentLink:
        """A new stream. One that was cut off a moment ago is ended at once."""
        account = self._accounts.get(name)
        if account is not None and now < account.cut_until:
            link = AgentLink(name, self, None)
            link.end(f"cut off for another {account.cut_until - now:.0f} s: it sent too much")
            return link
        old = self._links.get(name)
        if old is not None:
            old.end("a newer stream of this agent took its place")
        self._links[name] = link = AgentLink(name, self, welcome)
        return link

    def left(self, link: AgentLink) -> None:
        """`link` ended; if it was the agent's current one, the agent is lost."""
        if self._links.get(link.name) is link:
            del self._links[link.name]
            self._lost(link.name)

    def confirm(self, agents: tuple[str, ...], endpoints: tuple[str, ...], paid: tuple[str, ...] = ()) -> None:
        """Pass a confirm request on to those connected."""
        for name in agents:
            link = self._links.get(name)
            if link is not None:
                link.confirm(endpoints, paid)

    def accept(self, frame: Ballot | Heartbeat, now: float) -> str | None:
        """None when the frame is within its agent's allowance; else why the agent was cut off."""
        account = self._accounts.get(frame.agent)
        if account is None:
            account = self._accounts[frame.agent] = self._account(now)
        if now < account.cut_until:
            return ""
        votes = len(frame.votes) if isinstance(frame, Ballot) else len(frame.stale)
        for what, allowance, amount in (
            ("frames", account.frames, 1),
            ("votes", account.votes, votes),
            ("readings", account.readings, len(frame.readings)),
        ):
            if amount and not allowance.take(amount, now):
                account.cut_until = now + CUT_OFF_S
                why = f"too many {what}: over {allowance.per_s:g} a second or {allowance.burst:g} at once"
                self.end(frame.agent, why)
                return why
        return None

    def end(self, name: str, why: str) -> None:
        """End an agent's stream from this side."""
        link = self._links.pop(name, None)
        if link is not None:
            link.end(why)
            self._lost(name)

    def end_all(self, why: str) -> None:
        """End every stream: the coordinator stops."""
        for name in list(self._links):
            self.end(name, why)

    def _account(self, now: float) -> _Account:
        burst = max(VOTES_LEAST, self._endpoints * VOTES_BURST_ROUNDS)
        votes = Allowance(max(VOTES_LEAST, self._endpoints) / VOTES_ROUND_S, burst, burst, now)
        readings = Allowance(votes.per_s * READINGS_PER_VOTE, burst * READINGS_PER_VOTE, burst * READINGS_PER_VOTE, now)
        return _Account(Allowance(FRAMES_PER_S, FRAMES_BURST, FRAMES_BURST, now), votes, readings)
