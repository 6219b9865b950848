"""What is recorded of endpoints: their health from the first answer on, and their share, also of those that are gone."""

from __future__ import annotations

from pathlib import Path

from tests.sim.rehearse import run


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
