"""The linters of `make lint`, as tests: the tree is clean under ruff, its formatter and mypy --strict."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.tree import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--output-format", "concise", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["ruff-check", "ruff-format", "mypy-strict"],
)
def test_the_tree_is_clean(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-8000:]


def test_mypy_is_strict() -> None:
    import tomllib  # noqa: PLC0415 - read only here

    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert config["strict"] is True
    assert "overrides" not in config, "a module that mypy does not check strictly needs a reason and a change here"
