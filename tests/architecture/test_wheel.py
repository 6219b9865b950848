"""The wheel holds both packages whole, with their data, and nothing else. Built offline by the backend itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.tree import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (made,) = out.glob("*.whl")
    assert made.name.endswith("-py3-none-any.whl"), made.name
    return zipfile.ZipFile(made)


def in_tree() -> set[str]:
    files = (p for room in ("steerd", "probes") for p in (ROOT / room).rglob("*") if p.is_file())
    return {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts and p.suffix != ".pyc"}


def test_both_packages_are_whole(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == in_tree()


def test_the_data_is_there(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {"steerd/py.typed", "probes/py.typed"} <= set(names)
    stacks = {Path(n).stem for n in names if n.startswith("probes/stacks/") and n.endswith(".yaml")}
    assert {"vllm", "openai", "http"} <= stacks
    web = {Path(n).suffix for n in names if n.startswith("steerd/web/")}
    assert {".html", ".js", ".css"} <= web


def test_the_metadata_tells_the_truth(wheel: zipfile.ZipFile) -> None:
    (folder,) = {n.split("/")[0] for n in wheel.namelist() if ".dist-info/" in n}
    assert wheel.read(f"{folder}/entry_points.txt").decode().split() == [
        "[console_scripts]", "steerd", "=", "steerd.cli.main:main",
    ]  # fmt: skip
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    for extra in ("aws", "gcp", "azure", "kubernetes"):
        assert f"\nProvides-Extra: {extra}\n" in metadata
    assert any(n.endswith("/licenses/LICENSE") for n in wheel.namelist())


def test_the_program_runs_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import steerd, probes;"
        "from steerd.cli.main import main; assert steerd.__file__.startswith(sys.argv[1]), steerd.__file__;"
        "main(['version'])"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("steerd ")
