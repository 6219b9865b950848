"""Voice book: what voices a set of votes makes, looked up where the same was said before.

In a fleet nearly every endpoint is said the same of by the same agents. What they say together is folded and counted once, and the
voices are shared by all endpoints of which it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from steerd.core.votes import AgentState, VoteTable
from steerd.model.fleet import Fleet
from steerd.model.health import Voice
from steerd.model.vote import Verdict, Vote

__all__ = ["Said", "VoiceBook"]

_MOST = 8192
"""Different things that agents may say together before what is remembered of them starts anew."""

T = TypeVar("T")
Fold = Callable[[Fleet, Iterable[tuple[AgentState, Vote]]], tuple[Voice, ...]]


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """What some votes say together: voices, their count, and how many of the votes say anything."""

    voices: tuple[Voice, ...]
    count: T
    speaking: int


class VoiceBook(Generic[T]):
    """Voices by what is said, and how many agents should be saying something. One per config.

    `fold` makes voices of votes, `tally` counts them.
    """

    def __init__(self, fleet: Fleet, votes: VoteTable, fold: Fold, tally: Callable[[tuple[Voice, ...]], T]) -> None:
        self._fleet, self._votes, self._fold, self._tally = fleet, votes, fold, tally
        self._known: dict[tuple[object, ...], Said[T]] = {}
        self._voices: dict[Voice, Voice] = {}
        self._registered: dict[tuple[str, ...], int] = {}
        self._as_of = -1

    def of(self, votes: Sequence[tuple[AgentState, Vote]]) -> Said[T]:
        """The voices these votes make. Equal voices are the same object, as long as they are remembered."""
        key = tuple([(a.name, v.verdict, v.all_failed, v.transport, v.reason, v.layer, v.check) for a, v in votes])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
                self._voices.clear()
            voices = tuple(self._voices.setdefault(v, v) for v in self._fold(self._fleet, votes))
            speaking = sum(v.verdict is not Verdict.UNKNOWN for _, v in votes)
            found = self._known[key] = Said(voices, self._tally(voices), speaking)
        return found

    def registered(self, seers: tuple[str, ...]) -> int:
        """How many of these agents count as registered: the agents of a vantage region none of which was heard within `vote_ttl`
        leave the count."""
        if self._as_of != self._votes.comings:
            self._registered, self._as_of = {}, self._votes.comings
        if seers not in self._registered:
            regions = [self._fleet.vantage_region(self._votes.agents[a].zone) for a in seers]
            heard = {r for a, r in zip(seers, regions, strict=True) if self._votes.agents[a].fresh}
            self._registered[seers] = sum(r in heard for r in regions)
        return self._registered[seers]
