"""What the demo's verb promises beside its story: one line on bad input, commands that can be copied, and a clean end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from steerd.cli import demo
from steerd.cli.main import cli
from tests.support.wait import until_sync


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["demo", "--folder", str(tmp_path / "file" / "below")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert isinstance(result.exception, SystemExit)


def test_suggested_commands_are_found_by_the_readers_shell(tmp_path, monkeypatch):
    program = tmp_path / "venv" / "bin" / "steerd"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "  venv/bin/steerd demo --keep" in demo._next()
    monkeypatch.setenv("PATH", str(program.parent))
    assert "  steerd demo --keep" in demo._next()
    monkeypatch.setattr(sys, "argv", [str(Path(demo.__file__)), "demo"])
    assert "  steerd demo --keep" in demo._next(), "started as a module"


@pytest.mark.slow
def test_an_impatient_second_signal_leaves_nothing_behind(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "steerd", "demo", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        until_sync((tmp_path / "steerd.sock").exists, 60)
        process.terminate()
        assert any("interrupted" in line for line in iter(process.stdout.readline, ""))
        process.terminate()
        rest = process.stdout.read()
        assert process.wait(30) == 130, rest
        assert rest == "", "it ended in order"
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
    assert [line for line in map(_command, Path("/proc").glob("[0-9]*")) if str(tmp_path) in line] == []


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it ended meanwhile
        return ""
