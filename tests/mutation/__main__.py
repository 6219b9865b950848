"""`make mutants`: breaks each rule in turn, in a copy of the tree, and sees whether the named tests notice.

    python -m tests.mutation [WORDS ...]     those whose rule, words, file or place contain one of the words; all by default

0: every mutant was noticed. 1: a mutant survived: write the test that notices it. 2: the table is wrong: an old text is gone, a
test is not there or fails without any mutant.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutation.mutants import Mutant, load
from tests.support.tree import ROOT

LEFT_OUT = (".venv*", ".git", ".*_cache", ".hypothesis", "__pycache__", "build", "dist")
WITHIN_S = 300
PASSED, FAILED = 0, 1
"""pytest's exit codes; anything else is neither."""


def main(words: list[str]) -> int:
    chosen = [m for m in load() if not words or any(w in f"{m.name} {m.file} {m.place}" for w in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        wrong = [why for m in chosen if (why := m.stale((tree / m.file).read_text())) is not None]
        for why in wrong:
            print(f"stale: {why}")
        if not chosen or wrong:
            print(f"{len(wrong)} of {len(chosen)} mutants do not fit the code: mend tests/mutation/table")
            return 2
        code, text = run(tree, sorted({t for m in chosen for t in m.tests}))
        if code != PASSED:
            print(text)
            print("the tests do not pass without any mutant: mend them, or the table that names them")
            return 2
        return report([(m, *attempt(tree, m)) for m in chosen])


def attempt(tree: Path, mutant: Mutant) -> tuple[str, str]:
    """(`noticed`, `survived` or `broken`, what pytest said). Prints a line as it goes; the copy is whole again afterwards."""
    file, began = tree / mutant.file, time.monotonic()
    source = file.read_text()
    try:
        file.write_text(mutant.apply(source))
        code, text = run(tree, list(mutant.tests))
    finally:
        file.write_text(source)
    word = {PASSED: "SURVIVED", FAILED: "noticed"}.get(code, "BROKEN")
    print(f"{word:8} {time.monotonic() - began:5.1f} s  {mutant.rule:12}  {mutant.breaks}", flush=True)
    return word, text


def run(tree: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit code for these tests in `tree`, and what it said. One that hangs has noticed, too."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, capture_output=True, text=True, check=False, timeout=WITHIN_S, env=_environment(tree)
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"not done within {WITHIN_S} s"
    return done.returncode, done.stdout + done.stderr


def _environment(tree: Path) -> dict[str, str]:
    """The copy's own code, whatever is installed."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(tree), "HOME": str(tree)}


def report(results: list[tuple[Mutant, str, str]]) -> int:
    """Sums up, with what the broken said and what to do about the survivors."""
    broken = [(m, text) for m, word, text in results if word == "BROKEN"]
    survivors = [m for m, word, _ in results if word == "SURVIVED"]
    for mutant, text in broken:
        print(f"\n{mutant.place} neither passed nor failed: does it still compile?\n{text[-2000:]}")
    for mutant in survivors:
        print(f"\nnobody noticed {mutant.name} ({mutant.place}): write the test, and name it there")
    print(f"\n{len(results)} mutants, {len(results) - len(survivors) - len(broken)} noticed")
    return 2 if broken else 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
