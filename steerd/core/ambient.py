"""What a lost look is worth to this agent (decisions.md, section 2).

Three failures in a row are strong evidence only where looks seldom fail. On a way that loses a fifth of them they come by
chance a few times an hour and endpoint, and with enough endpoints enough agents are unlucky at once. An agent cannot see loss,
yet it sees its own *blips*: regular looks that failed in transport and were taken back by the next look, before the check was
bad. A dead target or a cut link makes no blips (nothing takes its failures back), so this measures the ways and not what is at
their ends.

    rate     blips / (blips + passes) of the latest looks
    weight   ln(rate) / ln(5%), at most 1: how surprising a failure is, in failures at 5%

A run of failures is bad once its weights sum up to `fall`: 3 looks up to 5%, 4 at 10%, 6 at 20%, and never more than 8. The
weight only weakens this agent's own word against a target: nobody can use it to have something drained.
"""

from __future__ import annotations

from math import log

__all__ = ["Ambient"]

_ORDINARY = 0.05
"""The rate up to which a failure counts in full: `fall` in a row are then as rare as the thresholds of section 4 assume."""

_LEAST = 3 / 8
"""The least weight: 8 looks in a row are enough anywhere for `fall: 3`. Reached at 32% of blips."""

_LOOKS = 200.0
"""Looks that are remembered beyond the latest measurement. Looks and not seconds: a small fleet needs longer to tell a rate
from an accident, a large one knows within seconds."""

_PRIOR = 20.0
"""Passes that are assumed before any was seen: one blip of a young agent is no rate."""


class Ambient:
    """One agent's rate of blips, over all it looks at, and the weight of a failure that follows from it."""

    __slots__ = ("_blips", "_counted", "_looks", "weight")

    def __init__(self) -> None:
        self.weight = 1.0
        self._blips = 0.0
        self._looks = 0.0
        self._counted = (0, 0)

    @property
    def rate(self) -> float:
        """Blips among looks, 0..1."""
        return self._blips / (self._looks + _PRIOR)

    def rebase(self, passed: int, blips: int) -> None:
        """What is counted changed (a new config): these totals are where it goes on from."""
        self._counted = (passed, blips)

    def measure(self, passed: int, blips: int) -> None:
        """Takes the totals of all checks since the agent started: regular looks that passed, and blips."""
        new_passed, new_blips = passed - self._counted[0], blips - self._counted[1]
        self._counted = (passed, blips)
        keep = min(1.0, _LOOKS / self._looks) if self._looks else 1.0
        self._blips = keep * self._blips + new_blips
        self._looks = keep * self._looks + new_passed + new_blips
        rate = self.rate
        self.weight = max(_LEAST, log(rate) / log(_ORDINARY)) if rate > _ORDINARY else 1.0
