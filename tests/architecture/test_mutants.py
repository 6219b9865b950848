"""The table of mutants fits the code: `make mutants` runs it, which takes minutes."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutation import mutants
from tests.mutation.mutants import Mutant
from tests.support.tree import ROOT

TABLE = mutants.load()


def of_test(place: str) -> tuple[str, str]:
    """("tests/x.py", "test_y") of a pytest id; the second is empty for a whole file."""
    file, _, rest = place.partition("::")
    return file, rest.partition("[")[0]


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_mutant_fits_the_code_and_compiles() -> None:
    stale = []
    for mutant in TABLE:
        source = (ROOT / mutant.file).read_text()
        if (why := mutant.stale(source)) is not None:
            stale.append(why)
        else:
            compile(mutant.apply(source), mutant.file, "exec")
    assert stale == []
    assert [m.place for m in TABLE if m.old == m.new] == []


def test_every_mutant_names_tests_that_exist() -> None:
    named = [(m, *of_test(test)) for m in TABLE for test in m.tests]
    lost = [f"{m.place}: {file}::{test}" for m, file, test in named if test and test not in _tests_in(file)]
    assert lost == [], "not found: the test was renamed?"
    assert [m.place for m in TABLE if not m.tests] == []


def test_every_invariant_and_every_section_is_broken_somewhere() -> None:
    rules = {m.rule for m in TABLE}
    assert {f"invariant {n}" for n in range(1, 18)} <= rules
    assert {f"section {n}" for n in (2, *range(4, 13))} <= rules
    assert len({m.name for m in TABLE}) == len(TABLE)


def test_a_stale_entry_says_where_it_is_and_what_to_do() -> None:
    mutant = Mutant("invariant 1", "x", "a.py", "if empty:", "if False:", ("t",), "some.yaml, entry 3")
    assert mutant.stale("if empty:\n    stop()") is None
    assert mutant.apply("if empty:\n    stop()") == "if False:\n    stop()"
    gone, twice = mutant.stale("if not full:"), mutant.stale("if empty:\nif empty:")
    assert gone is not None
    assert gone.startswith("some.yaml, entry 3: its old text left a.py. Give `old` the code")
    assert twice is not None
    assert "occurs 2 times" in twice


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{rule: invariant 1}", "lacks breaks, file, old, tests"),
        ("{rule: x, breaks: x, file: x, old: x, tests: [x], also: x}", "unknown keys also"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: str, words: str) -> None:
    (tmp_path / "bad.yaml").write_text(f"- {entry}\n")
    with pytest.raises(ValueError, match=f"bad.yaml, entry 1: {words}"):
        mutants.load(tmp_path)
