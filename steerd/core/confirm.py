"""Confirm: which suspects other agents should look at now (decisions.md, section 2).

At most one request per endpoint and check interval, and all together at most `confirm_rate` per second, so that a region
outage does not become a probe storm. Checks that cost tokens are confirmed only where one of them failed, so that a crash seen by
a free check still takes `fall` looks, a gap apart, of every voice.
"""

from __future__ import annotations

from collections.abc import Iterable

from steerd.core.effects import ConfirmNow, Effect
from steerd.core.quorum import EndpointBoard
from steerd.model.fleet import Fleet
from steerd.model.vote import Verdict, Vote

__all__ = ["Confirmer"]


class Confirmer:
    """Keeps the two limits. Deterministic: tokens follow the times it is given."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._interval: dict[str, float] = {}
        self._rate = 50.0
        self._tokens = 50.0
        self._filled_at: float | None = None

    def configure(self, fleet: Fleet) -> None:
        self._rate = fleet.quorum.confirm_rate_per_s
        self._tokens = min(self._tokens, self._rate)
        self._interval = {}
        for service in fleet.services:
            shortest = min((c.interval_s for c in service.checks), default=5.0)
            for endpoint in service.endpoints:
                self._interval[endpoint.name] = shortest
        self._asked = {e: t for e, t in self._asked.items() if e in self._interval}

    def consider(self, agent: str, votes: Iterable[Vote], board: EndpointBoard, now: float) -> list[Effect]:
        """New votes of one agent came: asks every other agent about those that are suspect or newly unhealthy."""
        by_agents: dict[tuple[str, ...], list[Vote]] = {}
        for vote in votes:
            state = board.states.get(vote.endpoint)
            if state is None or state.down or not (vote.suspect or vote.verdict is Verdict.UNHEALTHY):
                continue
            if state.suspect_at is None:
                state.suspect_at = now
            if now - self._asked.get(vote.endpoint, float("-inf")) < self._interval.get(vote.endpoint, 5.0):
                continue
            if not self._take(now):
                continue  # the agent says it again with its next refresh
            self._asked[vote.endpoint] = now
            others = tuple(a for a in board.seers(vote.endpoint) if a != agent)
            by_agents.setdefault(others, []).append(vote)
        return [
            ConfirmNow(tuple(v.endpoint for v in suspects), agents, tuple(v.endpoint for v in suspects if v.paid))
            for agents, suspects in by_agents.items()
            if agents
        ]

    def _take(self, now: float) -> bool:
        if self._filled_at is not None:
            self._tokens = min(self._rate, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
