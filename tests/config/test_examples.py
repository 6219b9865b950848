"""Configs that people read first: the design's example, the fleets of the scenarios, and our own examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from probes.deps.catalog import DEPENDENCIES
from steerd import config
from steerd.config.support import unbuilt
from tests.support.configs import ROOT

SHARED = ROOT.parent / "shared"
EXAMPLES = sorted((ROOT / "configs").glob("*.yaml"))
FLEETS = sorted((SHARED / "scenarios" / "fleets").glob("*.yaml"))


def test_the_design_s_example() -> None:
    page = SHARED / "design" / "configuration.md"
    if not page.exists():
        pytest.skip("the design pages are not beside this checkout")
    text = re.search(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    assert text is not None
    fleet = config.parse(text[1], "configuration.md", ROOT)
    assert [s.name for s in fleet.services] == ["chat"]
    lacks = "\n".join(unbuilt(fleet, "coordinator"))
    for part in ("store", "services.chat.fallback"):
        assert part in lacks
    assert config.parse(config.show(fleet), "shown", ROOT) == fleet


@pytest.mark.skipif(not FLEETS, reason="the scenarios are not beside this checkout")
@pytest.mark.parametrize("path", FLEETS, ids=lambda p: p.name)
def test_the_scenarios_fleets(path: Path) -> None:
    fleet = config.load(path)
    assert fleet.name == path.stem
    assert all(s.routes and s.endpoints for s in fleet.services)
    assert config.parse(config.show(fleet), "shown", path.parent) == fleet


def test_there_are_examples() -> None:
    assert {p.name for p in EXAMPLES} >= {
        "single-machine.yaml",
        "one-region-bind.yaml",
        "two-regions-etcd.yaml",
        "dependencies.yaml",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_our_examples(path: Path) -> None:
    assert config.load(path).services


def test_every_kind_of_dependency_has_an_example() -> None:
    fleet = config.load(ROOT / "configs" / "dependencies.yaml")
    shown = {dependency.kind for dependency in fleet.dependencies}
    assert shown >= {kind.name for kind in DEPENDENCIES}
    assert {d.name for d in fleet.dependencies} == {name for s in fleet.services for name in s.depends_on}


@pytest.mark.parametrize("name", ["single-machine.yaml", "one-region-bind.yaml", "dependencies.yaml"])
def test_what_runs_as_it_is(name: str) -> None:
    fleet = config.load(ROOT / "configs" / name)
    assert unbuilt(fleet, "agent") == []
    assert unbuilt(fleet, "coordinator") == []
