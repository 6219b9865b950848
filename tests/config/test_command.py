"""`steerd config check|show|schema`: output, streams and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from steerd import config
from steerd.cli.config import command
from tests.support.configs import GOOD


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "steerd.yaml"
    found.write_text(GOOD)
    return found


def test_check_of_a_good_one(path: Path) -> None:
    result = CliRunner().invoke(command, ["check", str(path)])
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first.startswith(
        "ok: 2 regions, 3 zones, 4 agents, 1 coordinator, 1 service, 3 endpoints, 2 routes (config "
    )
    assert any(line.startswith("warning: if region eu fell silent") for line in rest)
    assert result.stderr == ""


def test_check_of_a_bad_one(path: Path) -> None:
    path.write_text(GOOD.replace("rto: 60s", "rto: 60").replace("quorum:", "quorom:"))
    result = CliRunner().invoke(command, ["check", str(path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.startswith(f"{path}:") for line in lines] == [True, True, False]
    assert lines[-1] == "2 problems"


def test_check_as_json(path: Path) -> None:
    good = json.loads(CliRunner().invoke(command, ["check", "--json", str(path)]).stdout)
    assert good["ok"] is True
    assert good["counts"]["endpoints"] == 3
    assert set(good["unbuilt"]) == {"agent", "coordinator"}
    path.write_text("fleet: [\n")
    result = CliRunner().invoke(command, ["check", "--json", str(path)])
    assert result.exit_code == 2
    problem = json.loads(result.stdout)["problems"][0]
    assert problem["file"] == str(path)
    assert set(problem) == {"file", "line", "column", "text"}


def test_the_file_may_come_from_the_environment(path: Path) -> None:
    result = CliRunner().invoke(command, ["check"], env={"STEERD_CONFIG": str(path)})
    assert result.exit_code == 0


def test_show(path: Path) -> None:
    result = CliRunner().invoke(command, ["show", str(path)])
    assert result.exit_code == 0
    assert config.parse(result.stdout, "shown", path.parent) == config.load(path)
    as_json = json.loads(CliRunner().invoke(command, ["show", "--json", str(path)]).stdout)
    assert as_json["fleet"] == "acme"


def test_show_of_a_bad_one(path: Path) -> None:
    path.write_text("fleet: 1/2\n")
    result = CliRunner().invoke(command, ["show", str(path)])
    assert result.exit_code == 2
    assert f"{path}:1:8: " in result.stderr


def test_schema() -> None:
    result = CliRunner().invoke(command, ["schema"])
    assert json.loads(result.stdout) == config.schema()


@pytest.mark.parametrize("verb", [[], ["check"], ["show"], ["schema"]])
def test_help_has_examples_line_by_line(verb: list[str]) -> None:
    result = CliRunner().invoke(command, [*verb, "--help"])
    assert result.exit_code == 0
    assert "Examples:\n    steerd config" in result.stdout
