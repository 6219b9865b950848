"""What is recorded of endpoints: their health from the first answer on, and their share, also of those that are gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from steerd.sim.run import simulate
from tests.sim.locate import OWN
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


def config(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A fleet of ours with some text of it changed."""
    text = (OWN / "fleets" / "two-zones.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return folder / name


def endpoint(name: str, zone: str) -> str:
    third, last = ("1" if zone == "eu-a" else "2"), name[-1]
    url, address = f"http://10.0.{third}.{last}:8000", f"203.0.{third}.{last}"
    return f'      {name}: {{zone: {zone}, url: "{url}", address: {address}, capacity: 100}}\n'


def test_an_endpoint_that_a_reload_removes_has_no_share(tmp_path: Path) -> None:
    config(tmp_path, "fewer.yaml", (endpoint("eu-a-2", "eu-a"), ""))
    body = "faults:\n  - {at: 1m, config: reload, file: fewer.yaml}\nexpect:\n"
    body += "  - {endpoint: eu-a-2, share: 0.25, by: 70s}\n  - {endpoint: eu-a-2, share: 0, during: [70s, 3m]}\n"
    body += "  - {endpoint: eu-b-2, share: '>0.3', during: [70s, 3m]}\n"
    result = run(tmp_path, body, fleet=config(tmp_path, "all.yaml"), duration="3m")
    assert result.passed, result.data()["failures"]


def test_what_a_refused_reload_would_remove_is_served_on(tmp_path: Path) -> None:
    """Over half of the capacity: no coordinator takes it."""
    gone = (endpoint("eu-a-2", "eu-a"), endpoint("eu-b-1", "eu-b"), endpoint("eu-b-2", "eu-b"))
    config(tmp_path, "half.yaml", *((one, "") for one in gone))
    body = "faults:\n  - {at: 1m, config: reload, file: half.yaml}\n"
    body += "  - {at: 2m, provider: dns, kind: external-edit, record: eu-a-1, set: 1}\n"
    body += "expect:\n  - {endpoint: eu-b-2, share: '>0.24', during: [0s, 3m]}\n"
    result = run(tmp_path, body, fleet=config(tmp_path, "all.yaml"), duration="3m")
    assert result.passed, result.data()["failures"]


def test_agents_that_a_reload_adds_vote(tmp_path: Path) -> None:
    """One of three agents dies: two are no quorum; with a fourth there is one. So when the fourth had left and comes back."""
    few = config(tmp_path, "few.yaml", ("  probe-out-1: {zone: out-1}\n", ""))
    every = config(tmp_path, "all.yaml")
    reloads = f"  - {{at: 1m, config: reload, file: {every.name}}}\n"
    body = "faults:\n" + reloads + "  - {at: 90s, agent: probe-eu-b, kind: crash}\n"
    body += "  - {at: 2m, endpoint: eu-a-1, kind: crash}\n"
    body += "expect:\n  - {endpoint: eu-a-1, share: 0, by: 150s}\n"
    assert not run(tmp_path, body.replace(reloads, ""), fleet=few, duration="4m").passed
    result = run(tmp_path, body, fleet=few, duration="4m")
    assert result.passed, result.data()["failures"]
    body = body.replace(reloads, f"  - {{at: 30s, config: reload, file: {few.name}}}\n" + reloads)
    again = run(tmp_path, body, fleet=every, duration="4m")
    assert again.passed, again.data()["failures"]
