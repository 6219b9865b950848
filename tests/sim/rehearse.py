"""Rehearse a scenario that a test writes down itself."""

from __future__ import annotations

from pathlib import Path

from steerd.sim.reading import load_scenario
from steerd.sim.rehearsal import Rehearsal
from steerd.sim.run import Result, simulate
from steerd.sim.scenario import Scenario
from tests.sim.locate import OWN

__all__ = ["rehearsed", "run", "written"]


def written(folder: Path, body: str, *, fleet: str | Path = "one-each", duration: str = "5m") -> Scenario:
    """`body` holds the faults and what is expected; `fleet` is one of ours, or a file."""
    config = fleet if isinstance(fleet, Path) else OWN / "fleets" / f"{fleet}.yaml"
    file = folder / "scenario.yaml"
    file.write_text(f"scenario: x\nconfig: {config}\nduration: {duration}\n{body}")
    return load_scenario(file)


def run(folder: Path, body: str, *, fleet: str | Path = "one-each", duration: str = "5m") -> Result:
    """What came of it."""
    return simulate(written(folder, body, fleet=fleet, duration=duration))


def rehearsed(folder: Path, body: str, *, fleet: str | Path = "one-each", duration: str = "5m") -> Rehearsal:
    """As it stands at the end, for a look inside."""
    rehearsal = Rehearsal(written(folder, body, fleet=fleet, duration=duration), 1)
    rehearsal.run()
    return rehearsal
