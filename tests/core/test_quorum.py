"""Voices and votes: thresholds, order independence, ageing, minority impotence."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.quorum import EndpointBoard, reaches, under
from steerd.core.timers import Timers
from steerd.core.voicebook import fold_voices
from steerd.core.votes import AgentState, VoteTable
from steerd.model.rules import Quorum
from steerd.model.vote import Ballot, Heartbeat, Verdict, Vote
from tests.support.fleets import make_fleet

FLEET = make_fleet({"eu": 3, "us": 3}, per_zone=1)
AGENTS = [a.name for a in FLEET.agents]
ENDPOINTS = list(FLEET.endpoint_by_name)


def table() -> tuple[VoteTable, EndpointBoard]:
    timers = Timers()
    votes = VoteTable(timers)
    votes.configure(FLEET)
    return votes, EndpointBoard(FLEET, votes, timers)


def vote(endpoint: str, verdict: Verdict, sequence: int = 1, **kwargs: Any) -> Vote:
    bad = verdict is Verdict.UNHEALTHY
    return Vote(endpoint, verdict, sequence, all_failed=bad, transport=bad, **kwargs)


@pytest.mark.parametrize(
    ("count", "total", "down", "up"),
    [(0, 3, False, True), (1, 3, False, True), (2, 3, True, False), (3, 3, True, False), (2, 4, False, False), (3, 4, True, False),
     (3, 5, False, False), (4, 5, True, False), (4, 6, True, False), (4, 7, False, False), (5, 7, True, False),
     (2, 9, False, False), (6, 9, True, False), (2, 10, False, True)],
)  # fmt: skip
def test_thresholds(count: int, total: int, down: bool, up: bool) -> None:
    assert reaches(count, 2, total, Quorum()) is down
    assert under(count, total, Quorum()) is up


def test_a_zone_speaks_with_its_majority_and_a_tie_is_no_voice() -> None:
    votes, _ = table()
    state = votes.agents
    eua = state["probe-eua"]
    say = [(eua, vote("e", Verdict.HEALTHY)), (eua, vote("e", Verdict.UNHEALTHY))]
    assert fold_voices(FLEET, say) == ()
    [voice] = fold_voices(FLEET, [*say, (eua, vote("e", Verdict.UNHEALTHY))])
    assert voice.verdict is Verdict.UNHEALTHY


def test_an_agent_that_does_not_know_has_no_say_in_its_zone() -> None:
    votes, _ = table()
    eua = votes.agents["probe-eua"]
    unknown = (eua, vote("e", Verdict.UNKNOWN))
    assert fold_voices(FLEET, [unknown]) == ()
    [voice] = fold_voices(FLEET, [unknown, unknown, (eua, vote("e", Verdict.UNHEALTHY))])
    assert voice.verdict is Verdict.UNHEALTHY


@given(st.permutations([(z, n) for z in ("eua", "eub", "usa") for n in range(3)]))
def test_voices_do_not_depend_on_the_order_of_votes(order: list[tuple[str, int]]) -> None:
    """Three agents a zone, each with a reason of its own: the voice tells the same one whoever came first."""
    said = [
        (AgentState(f"{z}-{n}", z), vote("e", (Verdict.DEGRADED, Verdict.UNHEALTHY)[n > 0], reason=f"why {n}"))
        for z, n in order
    ]
    voices = fold_voices(FLEET, said)
    assert [(v.zone, v.verdict, v.reason) for v in voices] == [
        (z, Verdict.UNHEALTHY, "why 1") for z in ("eua", "eub", "usa")
    ]
    assert voices[0].agents == ("eua-0", "eua-1", "eua-2")


def test_old_repeated_and_reordered_ballots_change_nothing() -> None:
    votes, _ = table()
    endpoint = ENDPOINTS[0]
    votes.fold(Ballot("probe-eua", 5, 3, True, (vote(endpoint, Verdict.UNHEALTHY, 3),)), 0.0)
    for stale in (
        Ballot("probe-eua", 5, 3, True, (vote(endpoint, Verdict.HEALTHY, 9),)),
        Ballot("probe-eua", 5, 2, False, (vote(endpoint, Verdict.HEALTHY, 9),)),
        Ballot("probe-eua", 4, 99, True, (vote(endpoint, Verdict.HEALTHY, 9),)),
        Heartbeat("probe-eua", 4, 100),
        Ballot("nobody", 9, 9, True, (vote(endpoint, Verdict.HEALTHY, 9),)),
    ):
        assert votes.fold(stale, 1.0) == (set(), [])
    assert votes.votes[endpoint]["probe-eua"].verdict is Verdict.UNHEALTHY


def test_a_delta_of_a_new_start_waits_for_the_full_ballot() -> None:
    votes, _ = table()
    votes.fold(Ballot("probe-eua", 1, 1, True, (vote(ENDPOINTS[0], Verdict.HEALTHY),)), 0.0)
    assert votes.fold(Ballot("probe-eua", 2, 1, False, (vote(ENDPOINTS[0], Verdict.UNHEALTHY),)), 1.0) == (set(), [])


def test_votes_age_by_the_receive_clock_and_a_heartbeat_refreshes_them() -> None:
    votes, _ = table()
    endpoint = ENDPOINTS[0]
    votes.fold(Ballot("probe-eua", 1, 1, True, (vote(endpoint, Verdict.HEALTHY),)), 0.0)
    votes.fold(Heartbeat("probe-eua", 1, 2), 14.0)
    assert votes.expire("probe-eua", 15.0) == set()
    assert len(votes.fresh_votes(endpoint, 28.0)) == 1
    assert votes.expire("probe-eua", 29.0) == {endpoint}
    assert votes.fresh_votes(endpoint, 29.0) == []


def test_a_stale_vote_dies_though_its_agent_lives() -> None:
    votes, _ = table()
    endpoint = ENDPOINTS[0]
    votes.fold(Ballot("probe-eua", 1, 1, True, (vote(endpoint, Verdict.HEALTHY),)), 0.0)
    for n in range(1, 10):
        votes.fold(Heartbeat("probe-eua", 1, 1 + n, stale=(endpoint,)), 2.0 * n)
    assert votes.fresh_votes(endpoint, 16.9) != []
    assert votes.fresh_votes(endpoint, 17.1) == []
    assert votes.fold(Heartbeat("probe-eua", 1, 50), 20.0)[0] == {endpoint}
    assert votes.fresh_votes(endpoint, 20.0) != []


ballots = st.lists(
    st.tuples(
        st.sampled_from(AGENTS), st.integers(1, 3), st.integers(1, 6), st.sampled_from(ENDPOINTS[:3]),
        st.sampled_from([Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.DEGRADED, Verdict.UNKNOWN]),
    ),
    max_size=30,
)  # fmt: skip


@given(ballots, st.randoms(use_true_random=False))
def test_full_ballots_in_any_order_give_the_same_votes(
    said: list[tuple[str, int, int, str, Verdict]], rng: random.Random
) -> None:
    unique = {(agent, inc, num): (endpoint, verdict) for agent, inc, num, endpoint, verdict in said}
    frames = [Ballot(a, i, n, True, (vote(e, v, n),)) for (a, i, n), (e, v) in unique.items()]
    results = []
    for _ in range(2):
        votes, board = table()
        for frame in frames:
            votes.fold(frame, 1.0)
        for endpoint in ENDPOINTS:
            board.judge([endpoint], 1.0)
        results.append({e: (s.health, s.voices) for e, s in board.states.items()})
        rng.shuffle(frames)
    assert results[0] == results[1]


@given(
    st.sampled_from(["eua", "eub", "usc", "out0", "eu", "us"]),
    st.lists(
        st.tuples(st.sampled_from(ENDPOINTS), st.sampled_from(list(Verdict)), st.booleans(), st.booleans()), max_size=40
    ),
)
def test_one_vantage_zone_or_region_alone_takes_nothing_down(
    liar: str, lies: list[tuple[str, Verdict, bool, bool]]
) -> None:
    votes, board = table()
    for agent in AGENTS:
        votes.fold(Ballot(agent, 1, 1, True, tuple(vote(e, Verdict.HEALTHY) for e in ENDPOINTS)), 0.0)
    for endpoint in ENDPOINTS:
        board.judge([endpoint], 0.0)
    liars = [a.name for a in FLEET.agents if liar in (a.zone, FLEET.vantage_region(a.zone))]
    for number, (endpoint, verdict, failed, transport) in enumerate(lies, 2):
        for agent in liars:
            lie = Vote(endpoint, verdict, number, all_failed=failed, transport=transport)
            votes.fold(Ballot(agent, 1, number, False, (lie,)), float(number))
        board.judge([endpoint], float(number))
        assert all(s.health.word == "healthy" for s in board.states.values())


def test_a_silent_region_leaves_the_count_of_registered_agents() -> None:
    votes, board = table()
    us = [a.name for a in FLEET.agents if not a.zone.startswith("eu")]
    for agent in us:
        votes.fold(Ballot(agent, 1, 1, True, tuple(vote(e, Verdict.HEALTHY) for e in ENDPOINTS)), 0.0)
    board.judge([ENDPOINTS[0]], 0.0)
    assert board.states[ENDPOINTS[0]].decided


@pytest.mark.parametrize(
    ("voting", "heard", "why"),
    [
        (["eua", "usa"], [], "2 of 3 voices"),
        (["eua", "usa", "usb"], ["eub", "euc", "usc"], "fresh votes from 3 of 6 agents"),
        (["eua", "usa", "usb"], ["eub", "usc"], "fresh votes from 3 of 6 agents"),
        (["eua", "eub", "usa", "usb"], ["euc", "usc"], ""),
        (["usa", "usb", "usc"], [], ""),
    ],
)
def test_a_quorum_needs_three_voices_and_over_half_of_the_agents_of_regions_that_are_heard(
    voting: list[str], heard: list[str], why: str
) -> None:
    votes, board = table()
    for zone in voting:
        votes.fold(Ballot(f"probe-{zone}", 1, 1, True, (vote(ENDPOINTS[0], Verdict.UNHEALTHY),)), 0.0)
    for zone in heard:
        votes.fold(Ballot(f"probe-{zone}", 1, 1, True, ()), 0.0)
    board.judge([ENDPOINTS[0]], 0.0)
    state = board.states[ENDPOINTS[0]]
    assert (state.decided, state.undecided_why) == (why == "", why)


@pytest.mark.parametrize(
    ("failed", "health"), [(0, "degraded"), (1, "degraded"), (3, "unknown"), (4, "down"), (6, "down")]
)
def test_down_needs_voices_whose_last_looks_all_failed(failed: int, health: str) -> None:
    votes, board = table()
    endpoint = ENDPOINTS[0]
    for n, agent in enumerate(AGENTS[:6]):
        said = Vote(endpoint, Verdict.UNHEALTHY, 1, all_failed=n < failed, transport=n < failed)
        votes.fold(Ballot(agent, 1, 1, True, (said,)), 0.0)
    board.judge([endpoint], 0.0)
    assert board.states[endpoint].health.word == health


def seen(endpoint: str, refused_by: list[str], *, others_answer: bool = True, transport: bool = True) -> EndpointBoard:
    """These vantage zones' looks at `endpoint` fail, the rest of the agents are silent about it."""
    votes, board = table()
    rest = Verdict.HEALTHY if others_answer else Verdict.UNHEALTHY
    for zone in refused_by:
        said = [Vote(endpoint, Verdict.UNHEALTHY, 1, all_failed=True, transport=transport)]
        said += [vote(e, rest) for e in ENDPOINTS if e != endpoint]
        votes.fold(Ballot(f"probe-{zone}", 1, 1, True, tuple(said)), 0.0)
    for name in ENDPOINTS:
        board.judge([name], 0.0)
    return board


@pytest.mark.parametrize(
    ("refused_by", "options", "dead"),
    [
        (["eub", "usa", "usb", "usc", "out0"], {}, True),
        (["eub", "usa", "usb", "usc", "out0"], {"others_answer": False}, False),
        (["eub", "usa", "usb", "usc", "out0"], {"transport": False}, False),
        (["usa", "usb", "usc", "out0"], {}, True),
        (["eua", "usa", "usb", "usc"], {}, True),
        (["eua", "eub", "out0", "usa"], {}, True),
    ],
)
def test_who_confirms_the_dead(refused_by: list[str], options: dict[str, bool], dead: bool) -> None:
    """Three voices from outside the endpoint's own zone, all in transport, that see other endpoints answer."""
    board = seen("eua-1", refused_by, **options)
    assert board.states["eua-1"].health.word == "down"
    assert board.confirmed_dead("eua-1") is dead


def test_a_zone_that_begins_or_ceases_to_see_others_answer_has_the_dead_looked_at_again() -> None:
    votes, board = table()
    zones = ("eub", "usa", "usb", "usc")
    number = dict.fromkeys(zones, 0)

    def say(zone: str, endpoint: str, verdict: Verdict) -> bool:
        number[zone] += 1
        said = vote(endpoint, verdict, number[zone])
        votes.fold(Ballot(f"probe-{zone}", 1, number[zone], number[zone] == 1, (said,)), 0.0)
        board.restless.clear()
        board.judge([endpoint], 0.0)
        return "chat" in board.restless

    for zone in zones:
        for other in ("eub-1",) if zone == "usa" else ("eub-1", "euc-1"):
            say(zone, other, Verdict.HEALTHY)
        say(zone, "eua-1", Verdict.UNHEALTHY)
    board.judge(["eua-1"], 0.0)
    assert board.confirmed_dead("eua-1")
    assert not say("usa", "euc-1", Verdict.HEALTHY)
    assert not say("usa", "euc-1", Verdict.UNHEALTHY)
    assert say("usa", "eub-1", Verdict.UNHEALTHY)
    assert not board.confirmed_dead("eua-1")
    # By another zone's voice of its own it is confirmed after all: that is news, too.
    said = [vote("eua-1", Verdict.UNHEALTHY), *(vote(e, Verdict.HEALTHY) for e in ("eub-1", "euc-1"))]
    votes.fold(Ballot("probe-out0", 1, 1, True, tuple(said)), 0.0)
    board.judge(["eub-1"], 0.0)
    board.restless.clear()
    board.judge(["eua-1"], 0.0)
    assert board.confirmed_dead("eua-1")
    assert "chat" in board.restless
    assert say("usa", "eub-1", Verdict.HEALTHY)


def test_two_voices_from_outside_confirm_nobody_dead() -> None:
    fleet = make_fleet({"eu": 2, "us": 1}, per_zone=1, outside=0)
    timers = Timers()
    votes = VoteTable(timers)
    votes.configure(fleet)
    board = EndpointBoard(fleet, votes, timers)
    for agent in fleet.agents:
        said = (vote("eua-1", Verdict.UNHEALTHY), vote("eub-1", Verdict.HEALTHY))
        votes.fold(Ballot(agent.name, 1, 1, True, said), 0.0)
    for name in ("eub-1", "eua-1"):
        board.judge([name], 0.0)
    assert board.states["eua-1"].health.word == "down"
    assert not board.confirmed_dead("eua-1")


def test_settle_waits_for_those_halfway_but_not_longer_than_two_seconds() -> None:
    votes, board = table()
    for agent in AGENTS:
        votes.fold(Ballot(agent, 1, 1, True, tuple(vote(e, Verdict.HEALTHY) for e in ENDPOINTS)), 0.0)
    for endpoint in ENDPOINTS:
        board.judge([endpoint], 0.0)
    first, second = ENDPOINTS[:2]
    for agent in AGENTS[:3]:
        votes.fold(Ballot(agent, 1, 2, False, (vote(second, Verdict.UNHEALTHY, 2),)), 10.0)
    board.judge([second], 10.0)
    for agent in AGENTS:
        votes.fold(Ballot(agent, 1, 3, False, (vote(first, Verdict.UNHEALTHY, 2),)), 10.0)
    assert board.judge([first], 10.0) == set()
    assert board.settle(first, 11.9) == set()
    for agent in AGENTS[3:]:
        votes.fold(Ballot(agent, 1, 4, False, (vote(second, Verdict.UNHEALTHY, 2),)), 11.9)
    assert board.judge([second], 11.9) == {first, second}


def test_settle_ends_after_two_seconds_though_another_stays_halfway() -> None:
    votes, board = table()
    for agent in AGENTS:
        votes.fold(Ballot(agent, 1, 1, True, tuple(vote(e, Verdict.HEALTHY) for e in ENDPOINTS)), 0.0)
    for endpoint in ENDPOINTS:
        board.judge([endpoint], 0.0)
    first, halfway = ENDPOINTS[:2]
    for n, agent in enumerate(AGENTS):
        bad = (first, halfway) if n < 3 else (first,)
        votes.fold(Ballot(agent, 1, 2, False, tuple(vote(e, Verdict.UNHEALTHY, 2) for e in bad)), 10.0)
    board.judge([halfway], 10.0)
    assert board.judge([first], 10.0) == set()
    assert board.settle(first, 11.9) == set()
    assert board.settle(first, 12.0) == {first}
    assert [board.states[e].health.word for e in (first, halfway)] == ["down", "healthy"]


def test_with_a_single_voice_that_voice_decides_both_ways() -> None:
    assert reaches(1, 1, 1, Quorum(voices=1, vantage_regions=1))
    assert not under(1, 1, Quorum(voices=1))
    assert under(0, 1, Quorum(voices=1))
