"""The import table of ARCHITECTURE.md: what each room may import, checked file by file and by import-linter's contracts."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tree import ROOT, modules

VERSION = "steerd.__version__"
EVENTS = ("steerd.core.events", "steerd.core.effects")
REGISTRIES = ("probes.registry", "probes.stacks", "steerd.providers.registry", "steerd.stores.registry")

TABLE: dict[str, tuple[str, ...]] = {
    "probes": (),
    "steerd.model": (),
    "steerd.core": ("steerd.model",),
    "steerd.agent": ("probes", "steerd.core", "steerd.model", "steerd.wire", VERSION),
    "steerd.coordinator": ("steerd.core", "steerd.model", "steerd.providers", "steerd.stores", "steerd.wire", VERSION),
    "steerd.providers": ("steerd.model", VERSION),
    "steerd.stores": ("steerd.model", VERSION),
    "steerd.config": ("steerd.model", *REGISTRIES),
    "steerd.telemetry": ("steerd.model", *EVENTS, VERSION),
    "steerd.wire": ("steerd.model",),
}
"""Room -> what it may import of the project, beside itself. The rooms that show (api, cli, web) and rehearse (sim) may import
any; a contract keeps the simulator from real time and sockets."""

PURE = ("steerd.model", "steerd.core")
IMPURE = frozenset(
    [
        "_thread",
        "aiohttp",
        "asyncio",
        "concurrent",
        "contextvars",
        "ctypes",
        "datetime",
        "fcntl",
        "glob",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
        "zoneinfo",
    ]
)
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "__import__", "id", "hash"})


def imports(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name of what is imported); `from a import b` counts as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def breaches(room: str, tree: ast.Module, module: str) -> list[str]:
    allowed = (room, *TABLE[room])
    found = [
        f"{module}:{line} imports {name}"
        for line, name in imports(tree, module)
        if within(name, ("steerd", "probes")) and not within(name, allowed)
    ]
    if room in PURE:
        found += [f"{module}:{line} imports {name}" for line, name in imports(tree, module) if not _pure(name)]
        found += [
            f"{module}:{node.lineno} calls {node.func.id}()"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
        ]
    return found


def _pure(name: str) -> bool:
    root = name.split(".", maxsplit=1)[0]
    return root in {"steerd", "probes"} or (root in sys.stdlib_module_names and root not in IMPURE)


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_what_it_may(room: str) -> None:
    path = room.replace(".", "/")
    trees = modules(path if (ROOT / path).is_dir() else f"{path}.py")
    assert trees, f"no modules in {room}"
    assert [breach for module, tree in trees.items() for breach in breaches(room, tree, module)] == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("probes", "from steerd.model.vote import Vote"),
        ("steerd.core", "import steerd.stores.base"),
        ("steerd.core", "from time import monotonic"),
        ("steerd.core", "def f():\n    import random"),
        ("steerd.core", "open('x')"),
        ("steerd.model", "import msgspec"),
        ("steerd.agent", "from steerd.providers.base import Provider"),
        ("steerd.coordinator", "import probes"),
        ("steerd.providers", "from ..core import engine"),
        ("steerd.config", "from steerd.providers.embedded import KIND"),
        ("steerd.telemetry", "from steerd.core.engine import Engine"),
    ],
)
def test_the_check_sees_a_breach(room: str, source: str) -> None:
    assert len(breaches(room, ast.parse(source), f"{room}.new")) == 1


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-logo", "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_are_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_a_broken_contract_is_seen(tmp_path: Path) -> None:
    for room in ("steerd", "probes"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "steerd/core/stray.py").write_text("import asyncio\n")
    (tmp_path / "steerd/model/stray.py").write_text("import steerd.core.stray\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "2 broken" in result.stdout
    assert "steerd.core.stray -> asyncio" in result.stdout
