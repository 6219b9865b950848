"""Dumb twins: the quorum and the water-filling once more, as simply as can be, compared with the real ones."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.core.quorum import EndpointBoard
from steerd.core.shares import fill
from steerd.core.timers import Timers
from steerd.core.votes import VoteTable
from steerd.model.health import Health
from steerd.model.vote import Ballot, Verdict, Vote
from tests.support.fleets import make_fleet

BAD = {Verdict.UNHEALTHY}
SAYS = st.tuples(st.sampled_from(list(Verdict)), st.booleans())


def twin_voices(said: dict[str, list[tuple[Verdict, bool]]]) -> list[tuple[str, Verdict, bool]]:
    """(zone, verdict, its last looks all failed) of every zone in which more than half of those who speak agree."""
    voices = []
    for zone, votes in said.items():
        spoken = [v for v in votes if v[0] is not Verdict.UNKNOWN]
        for verdict in Verdict:
            same = [v for v in spoken if v[0] is verdict]
            if 2 * len(same) > len(spoken):
                voices.append((zone, verdict, 2 * sum(v[1] for v in same) > len(same)))
    return voices


class Twin:
    """Health of one endpoint by the letter of section 4, with exact fractions, without settle and gray band."""

    def __init__(self) -> None:
        self.health = Health.UNKNOWN
        self.latched = {Health.SATURATED: False, Health.DEGRADED: False, Health.DOWN: False}

    def hear(self, said: dict[str, list[tuple[Verdict, bool]]], regions: dict[str, str], needed: int) -> None:
        voices = twin_voices(said)
        agents = [v for votes in said.values() for v in votes]
        if len(voices) < 3 or 2 * sum(v[0] is not Verdict.UNKNOWN for v in agents) <= len(agents):
            return
        levels = {
            Health.SATURATED: {Verdict.SATURATED, Verdict.DEGRADED, Verdict.UNHEALTHY},
            Health.DEGRADED: {Verdict.DEGRADED, Verdict.UNHEALTHY},
            Health.DOWN: {Verdict.UNHEALTHY},
        }
        for level, verdicts in levels.items():
            behind = [v for v in voices if v[1] in verdicts and (level is not Health.DOWN or v[2])]
            saying = [v for v in voices if v[1] in verdicts]
            if Fraction(len(behind), len(voices)) >= Fraction(2, 3) and len({regions[v[0]] for v in behind}) >= needed:
                self.latched[level] = True
            elif 5 * len(saying) <= max(5, len(voices)):
                self.latched[level] = False
        self.health = max([h for h, on in self.latched.items() if on], default=Health.HEALTHY)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([{"eu": 3, "us": 3}, {"eu": 3}, {"eu": 2, "us": 1}]), st.integers(0, 2), st.data())
def test_health_is_what_the_twin_says(topology: dict[str, int], outside: int, data: st.DataObject) -> None:
    fleet = make_fleet(topology, per_zone=1, outside=outside)
    timers = Timers()
    votes = VoteTable(timers)
    votes.configure(fleet)
    board, twin = EndpointBoard(fleet, votes, timers), Twin()
    target = fleet.services[0].endpoints[0].name
    regions = {a.zone: fleet.vantage_region(a.zone) for a in fleet.agents}
    for number in range(1, 8):
        said: dict[str, list[tuple[Verdict, bool]]] = {}
        now = 3.0 * number
        for agent in fleet.agents:
            verdict, failed = data.draw(SAYS)
            failed = failed and verdict in BAD
            said.setdefault(agent.zone, []).append((verdict, failed))
            vote = Vote(target, verdict, number, all_failed=failed, transport=failed)
            votes.fold(Ballot(agent.name, 1, number, number == 1, (vote,)), now)
        board.judge([target], now)
        board.settle(target, now + 2.5)  # nobody else is half way
        twin.hear(said, regions, fleet.quorum.vantage_regions)
        known = board.states[target].health
        if known is Health.UNKNOWN and board.states[target].between:
            return  # a first answer half way is none yet: the twin does not know that rule
        assert known is twin.health, (number, said)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 2),
)
def test_water_fills_as_if_poured_by_the_drop(cases: list[tuple[float, float, float]], amount: float) -> None:
    """The twin looks for the level by halving: everybody rises by weight x level, up to the limit."""
    shares = {str(i): before for i, (_, before, _) in enumerate(cases)}
    limits = {str(i): before + room for i, (_, before, room) in enumerate(cases)}
    weights = {str(i): weight for i, (weight, _, _) in enumerate(cases)}
    low, high = 0.0, 1e6
    for _ in range(200):
        level = (low + high) / 2
        poured = sum(min(limits[n] - shares[n], weights[n] * level) for n in shares)
        low, high = (level, high) if poured < amount else (low, level)
    expected = {n: shares[n] + min(limits[n] - shares[n], weights[n] * low) for n in shares}
    left = fill(shares, amount, weights, limits)
    room = sum(case[2] for case in cases)
    assert abs(left - max(0.0, amount - room)) < 1e-6
    for name, share in shares.items():
        assert abs(share - expected[name]) < 1e-6
