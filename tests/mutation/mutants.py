"""Mutants: each breaks one rule of decisions.md by a small change of the code, and names tests that must notice.

The table is `table/*.yaml`, a list of

    rule: invariant 5          which rule it breaks: `invariant N`, or `section N`
    breaks: an undecided endpoint changes its health
    file: steerd/core/quorum.py
    old: if why is None        found exactly once in the file; `new` stands there instead (nothing, where it is left out)
    new: if True
    tests: [tests/core/test_engine.py::test_a_silent_fleet_holds_its_health]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["TABLE", "Mutant", "load"]

TABLE = Path(__file__).parent / "table"
_KEYS = {"rule", "breaks", "file", "old", "new", "tests"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`place` is where it stands in the table, for messages. `old` and `new` are text, without a line's end at their own."""

    rule: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    place: str

    @property
    def name(self) -> str:
        return f"{self.rule}: {self.breaks}"

    def stale(self, source: str) -> str | None:
        """Why it no longer fits `source`, with what to do, or None."""
        found = source.count(self.old)
        if found == 1:
            return None
        what = f"its old text occurs {found} times in {self.file}" if found else f"its old text left {self.file}"
        return (
            f"{self.place}: {what}. Give `old` the code that keeps the rule now: the rule itself must still be broken."
        )

    def apply(self, source: str) -> str:
        """`source` with the rule broken."""
        return source.replace(self.old, self.new)


def load(table: Path = TABLE) -> list[Mutant]:
    """All of them, in the order of the files' names. Raises ValueError for an entry that is not one."""
    found = []
    for file in sorted(table.glob("*.yaml")):
        for number, entry in enumerate(yaml.safe_load(file.read_text()), 1):
            place = f"{file.name}, entry {number}"
            if extra := set(entry) - _KEYS:
                raise ValueError(f"{place}: unknown keys {', '.join(sorted(extra))}")
            if missing := _KEYS - {"new"} - set(entry):
                raise ValueError(f"{place}: lacks {', '.join(sorted(missing))}")
            old, new = str(entry["old"]).removesuffix("\n"), str(entry.get("new", "")).removesuffix("\n")
            found.append(Mutant(entry["rule"], entry["breaks"], entry["file"], old, new, tuple(entry["tests"]), place))
    return found
