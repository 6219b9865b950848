"""`steerd simulate` as people call it: exit codes, the timeline of a failure, JSON, pictures, own configs, replays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from steerd.cli.simulate import command
from steerd.coordinator.ring import Ring
from steerd.core import events as ev
from steerd.model.route import Observed
from steerd.providers.registry import CAPABILITIES
from steerd.sim.reading import load_scenario
from tests.sim.locate import OWN
from tests.support.fleets import make_fleet
from tests.support.tree import ROOT
from tests.support.wait import until_sync

GOOD = OWN / "one-each-dies.yaml"
FLEET = OWN / "fleets" / "one-each.yaml"


def run(*args: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in args])


def test_passing() -> None:
    result = run(GOOD)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("passed  one-each-dies (seed 1)")
    assert "drained eu-b-1 after" in result.output


def test_failing_tells_seed_and_timeline(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    text = (
        GOOD.read_text().replace("fleets/one-each.yaml", str(FLEET)).replace("share: 0, by: 75s", "share: 0, by: 61s")
    )
    bad.write_text(text)
    result = run("--seed", 3, bad)
    assert result.exit_code == 1
    assert "FAILED  one-each-dies (seed 3)" in result.output
    assert "expected {zone: eu-b, share: 0, by: 61s}" in result.output
    assert "endpoint eu-b-1: crash" in result.output


def test_a_bad_scenario_is_exit_2(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("scenario: x\nduration: 5\n")
    result = run(bad)
    assert result.exit_code == 2
    assert f"{bad}:2:11:" in result.output
    assert "config" in result.output


def test_json_of_several_seeds() -> None:
    result = run("--json", "--jobs", 1, "--seeds", "1-2", GOOD)
    runs = json.loads(result.output)
    assert [r["seed"] for r in runs] == [1, 2]
    assert runs[0]["passed"] is True
    assert runs[0]["wall_s"] is None
    assert runs[0]["virtual_s"] == 600.0
    assert runs[0]["invariant_violations"] == []
    assert runs[0]["drained_s"]["eu-b-1"] > 0
    assert json.loads(run("--json", "--timing", GOOD).output)[0]["wall_s"] > 0


@pytest.mark.parametrize("seeds", ["x", "3-1", ""])
def test_bad_seeds(seeds: str) -> None:
    assert run("--seeds", seeds, GOOD).exit_code == 2


def test_ones_own_config_and_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "run.svg"
    result = run(
        "--config", FLEET, "--fault", "at=60s zone=eu-a kind=power-loss", "--duration", "3m", "--report", picture
    )
    assert result.exit_code == 0, result.output
    assert "eu-a is down" in result.output
    root = ET.parse(picture).getroot()
    assert root.tag.endswith("svg")
    assert len(root.findall(".//{*}polyline")) == 3


def test_nothing_to_do() -> None:
    assert run().exit_code == 2
    assert run("--config", FLEET, "--fault", "at=1s zone=mars kind=crash").exit_code == 2


def test_replay(tmp_path: Path) -> None:
    """A write that was done then, and that today's core does not ask for, is told."""
    fleet = make_fleet()
    path = tmp_path / "ring"
    ring = Ring(path)
    ring.open()
    done = ev.ApplyFinished("dns/chat.test", "7.1", "applied", observed=Observed({"eua-1": 5}))
    caps = {"dns": CAPABILITIES["route53"]}
    for event in (ev.ConfigLoaded(fleet, caps), ev.LeadershipChanged(True, 7, "co"), done, ev.Tick()):
        ring.append(event, 1000.0, list)
    ring.close()
    result = run("--replay", path)
    assert result.exit_code == 1
    assert "decision 7.1" in result.output
    assert "no such write" in result.output
    assert json.loads(run("--replay", path, "--json").output)["events"] == 4
    assert run("--replay", tmp_path / "none").exit_code == 2


def test_the_scenario_on_another_config() -> None:
    fleet = load_scenario(OWN / "two-zones-one-dies.yaml").fleet
    assert load_scenario(GOOD, None).fleet.name != fleet.name
    result = run("--config", OWN / "fleets" / "uneven.yaml", OWN / "one-each-dies.yaml")
    assert result.exit_code in (0, 1)


def printed(*args: object) -> subprocess.CompletedProcess[str]:
    """By a process of its own, so that what it starts ends with it."""
    command_line = [sys.executable, "-m", "steerd", "simulate", *(str(a) for a in args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command_line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_several_at_once_print_what_one_after_the_other_prints() -> None:
    """Each in a fresh process with a hash seed of its own: order and bytes stay."""
    args = ("--seeds", "1-3", "--json", GOOD, OWN / "lone-endpoint-dies.yaml")
    at_once, in_turn = printed("--jobs", 3, *args), printed("--jobs", 1, *args)
    assert [(r["scenario"], r["seed"]) for r in json.loads(at_once.stdout)] == [
        (name, seed) for name in ("one-each-dies", "lone-endpoint-dies") for seed in (1, 2, 3)
    ]
    assert at_once.stdout == in_turn.stdout
    assert at_once.returncode == in_turn.returncode == 0


def test_a_failure_among_several_is_told_and_drawn(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    text = (
        GOOD.read_text().replace("fleets/one-each.yaml", str(FLEET)).replace("share: 0, by: 75s", "share: 0, by: 60s")
    )
    bad.write_text(text)
    picture = tmp_path / "run.svg"
    result = printed("--jobs", 2, "--seeds", "1-2", "--report", picture, bad)
    assert result.returncode == 1, result.stderr
    assert result.stdout.count("FAILED  one-each-dies (seed") == 2
    assert "seed 2" in picture.read_text()


def test_an_interrupt_leaves_nothing_running() -> None:
    """Ctrl-C goes to the whole group, as in a terminal."""
    command_line = [sys.executable, "-m", "steerd", "simulate", "--jobs", "2", "--seeds", "1-500", str(GOOD)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command_line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"passed")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30.0)
    assert process.returncode not in (0, 2)
    assert out.count(b"passed") < 400
    assert b"Traceback" not in err
    until_sync(lambda: not living(process.pid), 10.0)


def living(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, mine = status.read_text().rpartition(")")[2].split()[:3]
            if int(mine) == group and state != "Z":
                found.append(int(status.parent.name))
    return found
