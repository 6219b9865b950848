"""The documents are true: commands exist, paths exist, every verb's help has an example."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from steerd.cli.main import VERBS, cli
from tests.support.tree import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "packaging").rglob("*.md"), *(ROOT / "configs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LATER = {"simulate", "drill", "runbook", "providers", "import"}  # verbs of the design that have their own issues
PLACES = ("steerd/", "probes/", "tests/", "configs/", "packaging/", "scripts/", "benchmarks/", ".ci/", ".github/")


def commands(text: str, program: str) -> set[str]:
    """Words after `program` in code: fenced blocks and backticks."""
    code = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    return {m for block in code for m in re.findall(rf"(?:^|[\s/]){program} ([a-z][a-z-]+)", block, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(document: Path) -> None:
    text = document.read_text()
    assert commands(text, "make") - TARGETS == set()
    assert commands(text, "steerd") - set(VERBS) - LATER == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_exist(document: Path) -> None:
    named = re.findall(r"`((?:\.{0,2}/)?[\w./*-]+)`", document.read_text())
    missing = [
        name
        for name in named
        if name.startswith(PLACES) and not list(ROOT.glob(name.rstrip("/"))) and not (document.parent / name).exists()
    ]
    assert missing == []


def test_the_readmes_two_commands_are_there() -> None:
    assert {"demo", "test"} <= commands((ROOT / "README.md").read_text(), "make")
    assert {"demo", "test", "lint", "bench", "image", "help", "clean", "lock"} <= TARGETS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "\\b" not in result.output, "click wants the character \\b: a docstring without the r prefix"
    assert re.search(rf"\n\s+(?:\S+=\S+ )*steerd {verb}\b", result.output.split("Usage:")[1].split("\n", 1)[1])


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_is(verb: str) -> None:
    def bare(command: click.Command) -> list[str]:
        own = [p.name or "?" for p in command.params if isinstance(p, click.Option) and not p.help and not p.hidden]
        subs = command.commands.values() if isinstance(command, click.Group) else ()
        return own + [name for sub in subs for name in bare(sub)]

    assert bare(importlib.import_module(f"steerd.cli.{VERBS[verb]}").command) == []


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


def test_continuous_integration_runs_what_users_run() -> None:
    assert re.search(r"^exec make test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"run: (make [a-z-]+|\.ci/run)", workflow)) >= {".ci/run", "make demo"}
