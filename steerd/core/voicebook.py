"""Voice book: what voices a set of votes makes (decisions.md, section 4), looked up where the same was said before.

In a fleet nearly every endpoint is said the same of by the same agents. What they say together is folded and counted once, and the
voices are shared by all endpoints of which it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steerd.core.votes import AgentState, VoteTable
from steerd.model.fleet import Fleet
from steerd.model.health import Voice
from steerd.model.vote import Verdict, Vote

__all__ = ["Said", "Tally", "VoiceBook", "fold_voices", "tally"]

_MOST = 8192
"""Different things that agents may say together before what is remembered of them starts anew."""


def fold_voices(fleet: Fleet, votes: Iterable[tuple[AgentState, Vote]]) -> tuple[Voice, ...]:
    """One voice per vantage zone: the majority verdict of its agents, a tie is no voice, unknown verdicts do not speak.

    `all_failed` and `transport` hold when they hold for a majority of the zone's agents behind the verdict.
    """
    zones: dict[str, list[tuple[AgentState, Vote]]] = {}
    for agent, vote in votes:
        if vote.verdict is not Verdict.UNKNOWN:
            zones.setdefault(agent.zone, []).append((agent, vote))
    voices = []
    for zone in sorted(zones):
        members = sorted(zones[zone], key=lambda pair: pair[0].name)
        counts: dict[Verdict, int] = {}
        for _, vote in members:
            counts[vote.verdict] = counts.get(vote.verdict, 0) + 1
        verdict, most = max(counts.items(), key=lambda item: item[1])
        if most * 2 <= len(members):
            continue
        behind = [vote for _, vote in members if vote.verdict is verdict]
        voices.append(
            Voice(
                zone=zone,
                region=fleet.vantage_region(zone),
                verdict=verdict,
                all_failed=sum(v.all_failed for v in behind) * 2 > len(behind),
                transport=sum(v.transport for v in behind) * 2 > len(behind),
                reason=next((v.reason for v in behind if v.reason), None),
                layer=next((v.layer.value for v in behind if v.layer), None),
                agents=tuple(agent.name for agent, _ in members),
                check=next((v.check for v in behind if v.check), None),
            )
        )
    return tuple(voices)


@dataclass(frozen=True, slots=True)
class Tally:
    """Voices counted: `unhealthy` with all their last looks failed, `degraded` or worse, `saturated` or worse; and the vantage
    regions behind each.

    That the last looks all failed is asked for *down* alone, which takes traffic away: a voice that says unhealthy, but saw a look
    pass since, is one of `degraded` or worse. Its agent would say healthy after `rise` passes, and does not yet.
    """

    voices: int
    unhealthy: int
    degraded: int
    saturated: int
    unhealthy_regions: int
    degraded_regions: int
    saturated_regions: int
    failing: int = 0
    """Voices that say unhealthy, whether their last looks all failed or not: a latch is released on these, so that an endpoint
    that fails most looks does not flap with every pass."""


def tally(voices: tuple[Voice, ...]) -> Tally:
    """Counts the voices for each threshold."""
    down = [v for v in voices if v.verdict is Verdict.UNHEALTHY and v.all_failed]
    degraded = [v for v in voices if v.verdict in (Verdict.UNHEALTHY, Verdict.DEGRADED)]
    saturated = [v for v in voices if v.verdict in (Verdict.UNHEALTHY, Verdict.DEGRADED, Verdict.SATURATED)]
    return Tally(
        voices=len(voices),
        unhealthy=len(down),
        degraded=len(degraded),
        saturated=len(saturated),
        unhealthy_regions=len({v.region for v in down}),
        degraded_regions=len({v.region for v in degraded}),
        saturated_regions=len({v.region for v in saturated}),
        failing=sum(v.verdict is Verdict.UNHEALTHY for v in voices),
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What some votes say together: voices, their count, and how many of the votes say anything."""

    voices: tuple[Voice, ...]
    count: Tally
    speaking: int


class VoiceBook:
    """Voices by what is said, and how many agents should be saying something. One per config."""

    def __init__(self, fleet: Fleet, votes: VoteTable) -> None:
        self._fleet, self._votes = fleet, votes
        self._known: dict[tuple[object, ...], Said] = {}
        self._voices: dict[Voice, Voice] = {}
        self._registered: dict[tuple[str, ...], int] = {}
        self._as_of = -1

    def of(self, votes: Sequence[tuple[AgentState, Vote]]) -> Said:
        """The voices these votes make. Equal voices are the same object, as long as they are remembered."""
        key = tuple([(a.name, v.verdict, v.all_failed, v.transport, v.reason, v.layer, v.check) for a, v in votes])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
                self._voices.clear()
            voices = tuple(self._voices.setdefault(v, v) for v in fold_voices(self._fleet, votes))
            speaking = sum(v.verdict is not Verdict.UNKNOWN for _, v in votes)
            found = self._known[key] = Said(voices, tally(voices), speaking)
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
