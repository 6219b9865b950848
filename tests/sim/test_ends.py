"""Every fault that has an end ends: what is wrong with a demand, and how long an operator's word holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd.config import ConfigError
from steerd.sim.rehearsal import Rehearsal
from tests.sim.rehearse import run, written


@pytest.mark.parametrize("end", ["until: 90s", "for: 30s"])
def test_a_demand_returns_to_what_it_was(tmp_path: Path, end: str) -> None:
    body = f"faults:\n  - {{at: 60s, {end}, demand: {{service: chat, value: 180}}}}\n"
    assert demands(tmp_path, body, [50.0, 80.0, 100.0]) == [None, 180.0, None]


def test_a_surge_within_a_change_that_stays(tmp_path: Path) -> None:
    body = "faults:\n  - {at: 20s, demand: {service: chat, value: 120}}\n"
    body += "  - {at: 40s, until: 80s, demand: {service: chat, value: 180}}\n"
    body += "  - {at: 60s, until: 100s, demand: {service: chat, value: 200}}\n"
    assert demands(tmp_path, body, [30.0, 50.0, 70.0, 90.0, 110.0]) == [120.0, 180.0, 200.0, 200.0, 120.0]


def demands(folder: Path, body: str, moments: list[float]) -> list[float | None]:
    """What the leader takes the demand to be at these moments, in seconds."""
    rehearsal = Rehearsal(written(folder, body, duration="2m"), 1)
    seen: list[float | None] = []

    def look() -> None:
        coordinator = rehearsal.processes["co-eu"].coordinator
        assert coordinator is not None
        seen.append(coordinator.engine.world.services["chat"].demand)

    for moment in moments:
        rehearsal.kernel.at(moment, look)
    rehearsal.run()
    return seen


def test_until_says_how_long_an_operators_word_holds(tmp_path: Path) -> None:
    body = "faults:\n  - {at: 30s, until: 90s, operator: freeze, reason: x}\n"
    body += "  - {at: 100s, until: 150s, operator: drain, name: eu-a, now: true}\n"
    body += "  - {at: 30s, for: 50s, operator: pin, name: eu-b, share: 10%}\n"
    assert [(f.kind, f.args["for"], f.until) for f in written(tmp_path, body).faults] == [
        ("freeze", 60.0, None),
        ("drain", 50.0, None),
        ("pin", 50.0, None),
    ]
    expect = "expect:\n  - {frozen: true, during: [32s, 89s]}\n  - {frozen: false, during: [92s, 3m]}\n"
    result = run(tmp_path, body + expect, duration="3m")
    assert result.passed, result.data()["failures"]


@pytest.mark.parametrize("end", ["until: 9s", "for: 9s"])
@pytest.mark.parametrize(
    "once",
    [
        "operator: restore, name: eu-a",
        "operator: unpin, name: eu-a",
        "operator: unfreeze",
        "clock: {of: probe-eu-a}, kind: jump, by: 1h",
        "provider: dns, kind: external-edit, record: eu-a-1, set: 1",
        "store: etcd, kind: leader-loss",
    ],
)
def test_what_happens_once_has_no_end(tmp_path: Path, once: str, end: str) -> None:
    with pytest.raises(ConfigError, match="happens once"):
        written(tmp_path, f"faults: [{{at: 1s, {end}, {once}}}]\n")
