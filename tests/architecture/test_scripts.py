"""The set-up scripts: which Python is taken, how Debian's packages are installed, what is said when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="installs packages only as root (a stand-in for apt-get is called)"
)


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def bash(script: str, tools: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f". scripts/lib.sh\n{script}"],
        cwd=ROOT,
        env={"PATH": f"{tools}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shim_that_answers_nothing_is_no_python(tmp_path: Path) -> None:
    program(tmp_path, "python3.13", "echo 'command not found' >&2; exit 127")
    program(tmp_path, "python3.12", f'exec {sys.executable} "$@"')
    program(tmp_path, "python3.11", "exit 1")
    result = bash(
        'while read -r p; do if new_enough "$p"; then echo "$p"; break; fi; done < <(python_candidates)', tmp_path
    )
    assert result.stdout.strip() == str(tmp_path / "python3.12")


def test_pythons_of_a_version_manager_are_found(tmp_path: Path) -> None:
    place = tmp_path / ".pyenv/versions/3.12.1/bin"
    place.mkdir(parents=True)
    program(place, "python3", "")
    assert str(place / "python3") in bash("python_candidates", tmp_path, HOME=str(tmp_path)).stdout.split()
    assert bash("python_candidates", tmp_path).returncode == 0, "HOME may be unset"


def test_a_wrong_python_is_refused_with_its_name(tmp_path: Path) -> None:
    result = subprocess.run(
        ["scripts/setup.sh", "run", str(tmp_path / "venv")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "PYTHON=/bin/false does not run or is older than 3.11" in result.stderr
    assert not (tmp_path / "venv").exists()


APT = """
echo "$* policy=$([ -x "$POLICY_RC_D" ] && { "$POLICY_RC_D"; echo $?; } || echo none)" >> "$LOG"
[ "$1" != install ] || [ "$(wc -l < "$LOG")" -ge "$WORKS_AT" ]
"""


@needs_root
@pytest.mark.parametrize("works_at", [1, 3, 99])
def test_packages_are_installed_without_starting_services(tmp_path: Path, works_at: int) -> None:
    program(tmp_path, "apt-get", APT)
    policy, log = tmp_path / "policy-rc.d", tmp_path / "log"
    result = bash("apt_install one two", tmp_path, POLICY_RC_D=str(policy), LOG=str(log), WORKS_AT=str(works_at))
    calls = log.read_text().splitlines()
    assert (result.returncode == 0) == (works_at < 99)
    assert all(call.endswith("policy=101") for call in calls), calls
    assert "install -qq -y --no-install-recommends one two policy=101" in calls
    assert ("update -qq policy=101" in calls) == (works_at > 1 or "refreshing" in result.stdout)
    assert not policy.exists(), "the policy is removed, also after a failure"


@needs_root
def test_a_policy_of_the_machines_own_is_left_alone(tmp_path: Path) -> None:
    program(tmp_path, "apt-get", APT)
    policy = tmp_path / "policy-rc.d"
    program(tmp_path, "policy-rc.d", "exit 101 # mine")
    bash("apt_install one", tmp_path, POLICY_RC_D=str(policy), LOG=str(tmp_path / "log"), WORKS_AT="1")
    assert "# mine" in policy.read_text()


def test_engines_without_a_compiler_are_refused_in_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        ["scripts/setup-engines.sh"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "ENGINES": str(tmp_path), "CXX": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "error: llama.cpp is built here and no-such-compiler is not installed: on Debian apt-get install g++, or set CXX"
    ]
    assert {p.name for p in tmp_path.iterdir()} == {".gitignore"}, "nothing was downloaded"


def test_real_engines_are_tested_only_when_asked_for(tmp_path: Path) -> None:
    def collected(*arguments: str) -> str:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *arguments,
            "tests",
        ]
        command.append(f"--ignore-glob={ROOT}/tests/[!e]*")
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert "tests/engines/" not in collected() + collected("-m", "not slow")
    assert "tests/engines/test_mlserver.py" in collected("-m", "engines")
