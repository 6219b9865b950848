"""Scenarios of the shared catalogue and the project's own, with seed 1: expectations and invariants hold.

Those in `MINUTES` take that long each: `make sim` runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd.sim.reading import load_scenario
from steerd.sim.report import lines
from steerd.sim.run import simulate
from tests.sim.locate import OWN, shared

CATALOGUE = shared()
SHARED = sorted(CATALOGUE.glob("*.yaml")) if CATALOGUE is not None else []
MINE = sorted(OWN.glob("*.yaml"))


MINUTES = ("probe-loss-10", "probe-loss-20")
"""Six hours in which every tenth or fifth look gets lost: a million looks that have to be made."""


def run(path: Path) -> None:
    if path.stem in MINUTES:
        pytest.skip("minutes of CPU time: `make sim` runs it")
    scenario = load_scenario(path)
    result = simulate(scenario)
    assert result.passed, "\n".join(lines(result))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", SHARED, ids=lambda p: p.stem)
def test_shared(path: Path) -> None:
    run(path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", MINE, ids=lambda p: p.stem)
def test_own(path: Path) -> None:
    run(path)


def test_the_catalogue_is_there() -> None:
    if CATALOGUE is None:
        pytest.skip("this checkout stands alone: there is no shared catalogue of scenarios near it")
    assert len(SHARED) >= 30


def test_there_are_scenarios_of_our_own() -> None:
    assert len(MINE) >= 20
