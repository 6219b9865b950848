"""What is recorded of endpoints: their health from the first answer on, and their share, also of those that are gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from steerd.sim.run import simulate
from tests.sim.rehearse import run, written


def test_an_endpoint_that_was_never_anything_but_healthy_is_healthy(tmp_path: Path) -> None:
    expect = "expect:\n  - {endpoint: eu-a-1, health: healthy, by: 1m}\n  - {endpoint: eu-a-1, health: healthy, during: [1m, 2m]}\n"
    result = run(tmp_path, expect, duration="2m")
    assert result.passed, result.data()["failures"]
    assert result.recorder.health["eu-a-1"][0] == (0.0, "unknown")
    assert result.recorder.transitions["eu-a-1"] == 0


def test_nobody_is_healthy_before_anybody_could_know(tmp_path: Path) -> None:
    body = "faults:\n  - {at: 0s, link: {from: agents, to: coordinators}, kind: partition}\n"
    result = run(tmp_path, body + "expect:\n  - {endpoint: eu-a-1, health: healthy, by: 2m}\n", duration="2m")
    assert not result.passed


def test_what_should_hold_longer_than_the_rehearsal_lasts_is_not_shown(tmp_path: Path) -> None:
    scenario = written(tmp_path, "expect:\n  - {zone: eu-a, share: '>0', during: [10s, 2m]}\n")
    assert simulate(scenario).passed
    cut = simulate(replace(scenario, duration_s=60.0))  # as --duration does
    assert [f.why for f in cut.failures] == ["the rehearsal ended at 60.0 s, before that"]
