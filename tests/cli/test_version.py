"""`steerd version` tells the truth about this very interpreter."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import steerd
from steerd.cli import version

ROOT = Path(__file__).parents[2]


def test_as_json() -> None:
    result = CliRunner().invoke(version.command, ["--json"])
    assert result.exit_code == 0
    facts = json.loads(result.output)
    assert facts["version"] == steerd.__version__
    assert facts["python"] == platform.python_version()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(facts["extras"]) == set(declared)


def test_for_people() -> None:
    lines = CliRunner().invoke(version.command, []).output.splitlines()
    assert lines[0].startswith(f"steerd {steerd.__version__} (")
    assert lines[1].startswith(f"Python {platform.python_version()} on ")


def test_an_extra_counts_only_when_all_of_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = [
        'click>=8; extra == "whole"',
        'click>=8; extra == "half"',
        "no-such-package>=1 ; extra == 'half'",
        "rich>=1",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requires)
    assert version.facts()["extras"] == {"whole": True, "half": False}
