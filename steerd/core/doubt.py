"""The agent doubts itself before it blames a target (decisions.md, section 2; memberlist's Lifeguard, "awareness").

A score from 0 (well) to 7: every delay of its own making adds one, every clean second takes one off. Timeouts grow with
the score, and from 4 on the agent abstains: its votes are unknown. It also abstains while everything it knows
outside its own zone is out of reach, because then it is most likely the one that is cut off, and while look after look
fails on this host and none gets out: an agent with few and rare looks has clean seconds between its errors, and its
score would never say so.
"""

from __future__ import annotations

from math import floor

__all__ = ["ABSTAIN_AT", "LAG_LIMIT_S", "LATE_LIMIT", "MAX_SCORE", "VOTE_AGAIN_BELOW", "SelfDoubt"]

MAX_SCORE = 7
ABSTAIN_AT = 4

VOTE_AGAIN_BELOW = 2
"""The score under which an agent that abstained votes again: with one threshold a host at its edge would flip every second,
and send a full ballot each time."""

LAG_LIMIT_S = 0.25
"""Seconds of event loop lag that make one delay; a longer lag is as many delays as fit into it."""

LATE_LIMIT = 0.2
"""The fraction of its interval by which a look may start late before that is a delay."""

_MAX_FACTOR = 4.0
_MIN_REFERENCES = 2


class SelfDoubt:
    """The score and what follows from it. Times are steady seconds of one clock and are passed in."""

    def __init__(self, now: float) -> None:
        self._score = 0
        self._clean_from = now
        self._cause = ""
        self._references = (0, 0)
        self._host_errors = 0
        self._host_cause = ""
        self._doubting = False
        self.shaken = False
        """There may be a score over 0, or an error of this host that nothing came after. What is asked for every look."""

    def loop_lag(self, lag_s: float, now: float) -> None:
        """The event loop woke a timer `lag_s` late. A process that was stopped for seconds doubts itself at once."""
        if lag_s > LAG_LIMIT_S:
            self._add(floor(lag_s / LAG_LIMIT_S), f"event loop was {lag_s:.2f} s late", now)

    def late_look(self, late_s: float, interval_s: float, now: float) -> None:
        """A look started `late_s` after its intended time."""
        if late_s > LATE_LIMIT * interval_s:
            self._add(1, f"a look every {interval_s:g} s started {late_s:.2f} s late", now)

    def host_error(self, reason: str | None, now: float) -> None:
        """A probe could not do its job because of this host: descriptors, resolver, local network."""
        cause = reason or "a look failed on this host"
        self._host_errors += 1
        self._host_cause = cause
        self._add(1, cause, now)

    def looked(self) -> bool:
        """A look got out of this host, whatever it found. True where that was news: `reason` may have changed."""
        news = self._host_errors > 0
        self._host_errors = 0
        self.shaken = self._score > 0
        return news

    def references(self, failing: int, total: int) -> None:
        """How many of the references outside the agent's zone are out of reach now."""
        self._references = (failing, total)

    def score(self, now: float) -> int:
        """0..7 after the clean seconds up to `now`."""
        clean = floor(now - self._clean_from + 1e-9)  # so that asking twice in one instant gives one answer
        if clean > 0:
            self._score = max(0, self._score - clean)
            self._clean_from += clean
        return self._score

    def timeout_factor(self, now: float) -> float:
        """What to stretch timeouts by: 1 at score 0, 4 at score 7."""
        if not self._score:
            return 1.0
        return 1.0 + (_MAX_FACTOR - 1.0) * self.score(now) / MAX_SCORE

    def reason(self, now: float) -> str | None:
        """Why the agent abstains now, or None if it votes."""
        score = self.score(now)
        self._doubting = score >= (VOTE_AGAIN_BELOW if self._doubting else ABSTAIN_AT)
        if self._doubting:
            return f"doubts itself: {self._cause}"
        if self._host_errors >= ABSTAIN_AT:
            return f"doubts itself: {self._host_cause}, look after look"
        failing, total = self._references
        if total >= _MIN_REFERENCES and failing == total:
            return f"cut off: none of {total} references outside its zone answers"
        return None

    def _add(self, delays: int, cause: str, now: float) -> None:
        self.shaken = True
        self._score = min(MAX_SCORE, self.score(now) + delays)
        self._clean_from = now
        self._cause = cause
