"""The benchmark of false drains: its traces, the models of others' rules, and that it would show a rule that is too quick."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, takewhile

import pytest

from benchmarks.loss_fleet import INTERVAL_S, Shard, make_fleet
from benchmarks.loss_peers import quorum_removals, removals
from benchmarks.loss_trace import CASES, START_S, Case, Link, lost_slots
from steerd.core.cadence import agree
from steerd.model.rules import VerdictRules

CADENCE = agree("probe-a", ["probe-a", "probe-b"], "e", "liveness", INTERVAL_S, turns=False)


def share(case: Case, hours: float, seed: str = "1") -> float:
    link = Link(case, seed, 0, 0, hours * 3600.0)
    end = CADENCE.after(START_S + hours * 3600.0)
    lost = list(takewhile(lambda slot: slot < end, lost_slots(link, CADENCE, seed, 0, "e")))
    assert lost == sorted(set(lost))
    return len(lost) / (end - CADENCE.after(START_S))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("none", 0.0),
        ("1%", 0.01),
        ("20%", 0.2),
        ("bursts", 0.01),
        ("bursts+10%", 0.109),
        ("vantage", 0.307),
        ("link", 1.0),
    ],
)
def test_a_trace_loses_what_it_says(case: str, expected: float) -> None:
    assert share(CASES[case], 200.0) == pytest.approx(expected, abs=0.1 * expected)


def test_a_trace_is_the_same_again_and_another_for_another_seed() -> None:
    def some(seed: str) -> list[int]:
        link = Link(CASES["bursts+10%"], seed, 0, 0, 3600.0)
        return list(islice(lost_slots(link, CADENCE, seed, 0, "e"), 50))

    assert some("1") == some("1")
    assert some("1") != some("2")


def test_looks_in_turn_and_out_of_turn_meet_the_same_bursts() -> None:
    link = Link(CASES["bursts"], "1", 0, 0, 36000.0)
    bursts = list(link.bursts())
    assert len(bursts) > 20
    for begin, end in bursts:
        assert link.cut((begin + end) / 2)
        assert not link.cut(begin - 1e-6)
        assert not link.cut(end + 1e-6)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("P" * 50, (0, 0, 0, 0)),
        ("PFPFFP", (0, 0, 0, 2)),
        ("PFFFP" + "P" * 9, (1, 1, 0, 1)),
        ("FFFPFFFPP", (1, 1, 0, 2)),  # one pass does not bring it back
        ("FFFPPFFFPP", (2, 2, 0, 2)),
        ("F" * 10 + "P" * 20 + "F" * 10, (2, 2, 2, 2)),
        ("F" * 10 + "P" * 19 + "F" * 10, (2, 2, 1, 2)),
        ("FP" * 9 + "P" * 10 + "FP" * 9, (0, 0, 0, 18)),  # 10 passes in a row: gdnsd forgets
        ("FP" * 9 + "P" * 8 + "FP" * 9, (0, 0, 1, 18)),
    ],
)
def test_the_rules_of_one_prober(looks: str, expected: tuple[int, ...]) -> None:
    found = removals(bytes(letter == "F" for letter in looks))
    assert (found["Envoy"], found["HAProxy"], found["gdnsd"], found["PowerDNS"]) == expected


def test_route_53_needs_nearly_all_of_its_checkers() -> None:
    bad, good = b"\x00\x01\x01\x01\x00\x00\x00\x00", bytes(8)
    assert quorum_removals([(bad, 0.0, 5.0)] * 7 + [(good, 0.0, 5.0)] * 2) == 0
    assert quorum_removals([(bad, 0.0, 5.0)] * 8 + [(good, 0.0, 5.0)]) == 1


def test_a_fleet_without_loss_is_left_alone_and_one_under_loss_is_looked_at_again() -> None:
    calm = Shard(CASES["none"], make_fleet(5, 20, 0, 1), "1", 60.0).run()
    assert (calm.decreases, calm.health, calm.confirms) == (0, {}, 0)
    first, second = (Shard(CASES["20%"], make_fleet(5, 20, 0, 1), "1", 60.0).run() for _ in range(2))
    assert first == second
    assert first.confirms > 100
    assert first.decreases == 0


def test_a_verdict_of_one_look_would_show() -> None:
    fleet = replace(make_fleet(3, 20, 0, 1), verdict=VerdictRules(fall=1, rise=1))
    moves = Shard(Case("half", random=0.5), fleet, "1", 120.0).run()
    assert moves.decreases > 0
    assert moves.health["down"] > 0
