"""What is wrong with a config: every problem with its place, in words that say what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ConfigError", "Mark", "Problem", "Problems", "nearest", "quote"]

MAX_PROBLEMS = 1000
"""Beyond this many, one file is broken in one way: the rest is counted, not listed."""


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong. `str()` is `FILE:LINE:COLUMN: text`."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class ConfigError(Exception):
    """A config that cannot be used. `problems` holds all that is wrong with it, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class Problems:
    """Collects problems while a config is read, so that all of them are told at once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._more = 0

    def add(self, mark: Mark, text: str) -> None:
        """Note that `text` is wrong at `mark`; the same problem at the same place counts once (aliases)."""
        problem = Problem(*mark, text)
        if problem in self._found:
            return
        if len(self._found) >= MAX_PROBLEMS:
            self._more += 1
            return
        self._found[problem] = None

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Raise `ConfigError` with everything found so far, if anything was."""
        if not self._found:
            return
        found = sorted(self._found)
        if self._more:
            last = found[-1]
            found.append(Problem(last.file, last.line, last.column, f"and {self._more} problems more"))
        raise ConfigError(tuple(found))


def quote(text: str, limit: int = 60) -> str:
    """`text` in quotes, bounded and printable."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append: the nearest known word, else the known words when they are few."""
    words = list(known)
    close = difflib.get_close_matches(word[:80].lower(), [w.lower() for w in words[:5000]], n=1, cutoff=0.6)
    if close:
        original = next(w for w in words if w.lower() == close[0])
        return f"; did you mean {quote(original)}?"
    if 0 < len(words) <= 24:
        return f"; known: {', '.join(words)}"
    return ""
