"""Phases: even, deterministic, and a crash is seen soon."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.cadence import JITTER, agree, rank

names = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=9, unique=True)
intervals = st.sampled_from([1.0, 2.5, 5.0, 10.0, 30.0])
walls = st.floats(1.6e9, 2.2e9)


def looks(agents: list[str], interval_s: float, since: float, until: float, *, turns: bool = False) -> list[float]:
    """All intended times of all agents between two moments, sorted."""
    times = []
    for agent in agents:
        cadence = agree(agent, agents, "chat-1", "liveness", interval_s, turns=turns)
        slot = cadence.after(since)
        while cadence.time(slot) <= until:
            times.append(cadence.time(slot))
            slot += 1
    return sorted(times)


@given(names, intervals, walls)
def test_a_crash_is_first_seen_within_a_slot_and_its_jitter(agents: list[str], interval_s: float, crash: float) -> None:
    slot_s = interval_s / len(agents)
    seen = looks(agents, interval_s, crash, crash + 3 * interval_s)
    gaps = [seen[0] - crash, *(b - a for a, b in pairwise(seen))]
    assert max(gaps) <= slot_s * (1 + 2 * JITTER) + 1e-6


@given(names, intervals, walls)
def test_agents_are_spread_evenly(agents: list[str], interval_s: float, wall: float) -> None:
    slot_s = interval_s / len(agents)
    seen = looks(agents, interval_s, wall, wall + 3 * interval_s)
    assert min(b - a for a, b in pairwise(seen)) >= slot_s * (1 - 2 * JITTER) - 1e-6


@given(names, intervals, walls)
def test_each_agent_looks_once_per_interval(agents: list[str], interval_s: float, wall: float) -> None:
    for agent in agents:
        cadence = agree(agent, agents, "chat-1", "liveness", interval_s, turns=False)
        first = cadence.after(wall)
        assert cadence.time(first) > wall
        assert cadence.time(first) - wall <= interval_s * (1 + 2 * JITTER)
        assert abs(cadence.time(first + 100) - cadence.time(first) - 100 * interval_s) <= 2 * JITTER * interval_s


@given(names, intervals, walls)
def test_agents_take_turns_at_costly_checks(agents: list[str], interval_s: float, wall: float) -> None:
    count = len(agents)
    seen = looks(agents, interval_s, wall, wall + 4 * count * interval_s, turns=True)
    assert len(seen) in range(4 * count - 1, 4 * count + 2)
    slack = 2 * JITTER * interval_s / count + 1e-6
    assert all(abs(b - a - interval_s) <= slack for a, b in pairwise(seen))


def test_a_lost_agent_leaves_its_own_turns_empty_and_moves_no_others() -> None:
    agents = ["a", "b", "c"]
    everyone = looks(agents, 30.0, 1.7e9, 1.7e9 + 600, turns=True)
    cadence = agree("b", agents, "chat-1", "liveness", 30.0, turns=True)
    own = {cadence.time(n) for n in range(cadence.after(1.7e9), cadence.after(1.7e9 + 600))}
    rest = [t for t in everyone if t not in own]
    assert len(own) == pytest.approx(len(everyone) / 3, abs=1)
    assert max(b - a for a, b in pairwise(rest)) <= 2 * 30.0 * 1.1


def test_endpoints_are_spread_over_the_interval() -> None:
    tenths = [0] * 10
    for n in range(1000):
        cadence = agree("a", ["a", "b", "c"], f"endpoint-{n}", "liveness", 5.0, turns=False)
        tenths[int(cadence.phase_s / 5.0 * 10)] += 1
    assert min(tenths) > 50  # 100 expected; all in one place if the offset were missing


def test_no_agent_is_always_first() -> None:
    agents = ["a", "b", "c"]
    firsts = {next(a for a in agents if rank(a, agents, f"endpoint-{n}", "liveness") == 0) for n in range(50)}
    assert firsts == set(agents)


def test_an_agent_that_does_not_see_the_endpoint_has_no_rank() -> None:
    with pytest.raises(ValueError, match="ghost"):
        rank("ghost", ["a", "b"], "chat-1", "liveness")


def test_a_timer_that_fires_early_does_not_get_its_slot_again() -> None:
    cadence = agree("a", ["a", "b"], "chat-1", "liveness", 5.0, turns=False)
    slot = cadence.after(1.7e9)
    at = cadence.time(slot)
    assert cadence.after(at - 0.001) == slot
    assert cadence.after(at - 0.001, slot) == slot + 1
    assert cadence.after(at + 0.001, slot) == slot + 1


def test_a_clock_that_was_set_back_does_not_silence_the_agent() -> None:
    cadence = agree("a", ["a", "b"], "chat-1", "liveness", 5.0, turns=False)
    slot = cadence.after(1.7e9)
    again = cadence.after(1.7e9 - 3600, slot)
    assert 0 < cadence.time(again) - (1.7e9 - 3600) <= 6.0


def test_every_process_agrees_on_the_phases() -> None:
    code = "from steerd.core.cadence import agree; print(repr(agree('a', ['a', 'b'], 'e', 'l', 5.0, turns=False)))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert runs == {repr(agree("a", ["a", "b"], "e", "l", 5.0, turns=False)) + "\n"}
