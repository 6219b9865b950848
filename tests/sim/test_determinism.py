"""The same seed gives the same result, byte for byte, whatever strings hash to; another seed gives another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from steerd.sim.reading import load_scenario
from steerd.sim.run import simulate
from tests.sim.locate import OWN
from tests.support.tree import ROOT

LOSSY = "at=30s link.from=agents link.to=endpoints kind=loss rate=15%"


def printed(scenario: Path, seed: int, hash_seed: str) -> bytes:
    command = [
        sys.executable,
        "-m",
        "steerd",
        "simulate",
        "--json",
        "--seed",
        str(seed),
        "--fault",
        LOSSY,
        str(scenario),
    ]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False).stdout


def test_byte_for_byte() -> None:
    scenario = OWN / "one-each-dies.yaml"
    first, again = printed(scenario, 5, "1"), printed(scenario, 5, "2")
    assert json.loads(first)[0]["timeline"]
    assert first == again
    assert printed(scenario, 6, "1") != first


def test_leaving_looks_out_changes_nothing_but_the_work() -> None:
    """Parked looks are counted, not made: what the coordinator believes of them is the same."""
    scenario = replace(load_scenario(OWN / "one-each-dies.yaml"), duration_s=300.0)
    result = simulate(scenario)
    looks = 300.0 / 5.0 * 5 * 3 * 2  # agents x endpoints x checks
    assert result.passed
    assert result.events < 3 * looks + 20_000
