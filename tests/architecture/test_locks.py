"""The lock files: every package pinned with hashes, no index addresses, in step with pyproject.toml and each other."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.tree import ROOT

LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock", "requirements-engines.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, tuple[str, int]]:
    """Package -> (version, number of hashes)."""
    found: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", block)
        assert match, f"not a pin: {block.splitlines()[0]}"
        found[normal(match[1])] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)))
    return found


def declared(requirements: list[object]) -> set[str]:
    groups = PROJECT["dependency-groups"]
    names: set[str] = set()
    for requirement in requirements:
        if isinstance(requirement, dict):
            names |= declared(groups[requirement["include-group"]])
        else:
            match = re.match(r"[A-Za-z0-9._-]+", str(requirement))
            assert match, requirement
            names.add(normal(match[0]))
    return names


def locked(name: str) -> dict[str, tuple[str, int]]:
    return pins((ROOT / name).read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name: str) -> None:
    assert [package for package, (_, hashes) in locked(name).items() if hashes == 0] == []


@pytest.mark.parametrize("name", LOCKS)
def test_no_addresses(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"https?://\S+|file:\S+|^--(?:extra-)?index\S*|^--find-links.*", text, re.MULTILINE) == []


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-build.lock", PROJECT["dependency-groups"]["build"]),
        ("requirements-engines.lock", PROJECT["dependency-groups"]["engines"]),
        ("requirements-dev.lock", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]),
    ],
)
def test_what_pyproject_names_is_locked(name: str, requirements: list[object]) -> None:
    assert declared(requirements) - set(locked(name)) == set(), "run `make lock`"


def test_the_locks_agree() -> None:
    dev = locked("requirements-dev.lock")
    for name in ("requirements.lock", "requirements-build.lock"):
        differing = {p: (v, dev.get(p)) for p, (v, _) in locked(name).items() if dev.get(p, ("", 0))[0] != v}
        assert differing == {}, f"{name} and requirements-dev.lock differ: run `make lock`"


def test_a_missing_hash_is_seen() -> None:
    assert pins("a==1 \\\n    --hash=sha256:" + "0" * 64 + "\nb_c==2\n") == {"a": ("1", 1), "b-c": ("2", 0)}
