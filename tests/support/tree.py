"""The project's own files, for tests about the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "module_name", "modules", "python_files", "text_files"]

ROOT = Path(__file__).parents[2]

_OURS = {".github", ".ci", ".dockerignore", ".gitignore", ".hadolint.yaml"}
_MADE = {"__pycache__", "build", "dist", "out"}
_SUFFIXES = {
    "", ".css", ".csv", ".html", ".js", ".json", ".lock", ".md", ".py", ".service", ".sh", ".svg", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if (path.name.startswith(".") and path.name not in _OURS) or path.name in _MADE:
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix in _SUFFIXES:
            yield path


def text_files() -> list[Path]:
    """Every text file that belongs to the project (no environments, caches or build results)."""
    return list(_walk(ROOT))


def python_files(*rooms: str) -> list[Path]:
    """Python files of these top folders (or files), sorted."""
    found: list[Path] = []
    for room in rooms:
        path = ROOT / room
        found += [path] if path.is_file() else [file for file in _walk(path) if file.suffix == ".py"]
    return found


def module_name(file: Path) -> str:
    """`steerd.core.engine` for steerd/core/engine.py; a package's __init__ has the package's name."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(*rooms: str) -> dict[str, ast.Module]:
    """Module name -> its parsed source."""
    return {module_name(file): ast.parse(file.read_text(), str(file)) for file in python_files(*rooms)}
