"""Instant: what the ballots of one moment said, kept until the moment is over (decisions.md, invariant 8).

A latch remembers what was so before. Ballots that come at one time are therefore judged together, when all of them are in: whoever
of them came first, health and plan are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from steerd.core.votes import AgentState
from steerd.model.vote import Vote

__all__ = ["Instant"]


@dataclass(slots=True)
class Instant:
    """`at` is its steady time, None while nothing waits to be judged.

    `touched` are endpoints whose counted votes changed. `looks` are votes taken, after what the same agent said before: (agent,
    before, now). `suspects` maps agents to their new votes that may be a reason to look again.
    """

    at: float | None = None
    touched: set[str] = field(default_factory=set)
    looks: list[tuple[AgentState, Vote, Vote]] = field(default_factory=list)
    suspects: dict[str, list[Vote]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """No vote of it changes anything."""
        return not (self.touched or self.looks or self.suspects)

    def take_touched(self) -> set[str]:
        """What was touched; forgotten here."""
        touched, self.touched = self.touched, set()
        return touched

    def take_looks(self) -> list[tuple[AgentState, Vote, Vote]]:
        """What was looked at; forgotten here."""
        looks, self.looks = self.looks, []
        return looks

    def take_suspects(self) -> list[tuple[str, list[Vote]]]:
        """Suspects by agent, in the order of names; forgotten here."""
        suspects, self.suspects = self.suspects, {}
        return sorted(suspects.items(), key=lambda item: item[0])
