"""Numbers out of Prometheus' text format, as far as they are wanted. Bounded.

Follows the text exposition format 0.0.4 and OpenMetrics 1.0: `name{label="value",...} number [timestamp]`. Names are compared with
`:` and `_` taken for the same and a trailing `_total` left out, because engines and the exporters before them disagree on both
(`sglang:num_running_reqs`, `sglang_num_running_reqs`).
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["PIECE", "MetricsReader", "Series", "plain_name", "read_text"]

PIECE = 16384
"""Bytes of a text to take at once: some 10 ms of the worst that there are."""

_LINE_LIMIT = 16384
_SERIES_LIMIT = 10_000
# Possessive throughout: no repeat gives back what it took, so that a line that fits nowhere costs one pass, not one for each of
# its characters. A label's name is looked for where a word begins, for the same reason.
_LABEL = re.compile(r'(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*+)="((?:[^"\\]++|\\.)*+)"')
_LINE = re.compile(
    r'([A-Za-z_:][A-Za-z0-9_:.]*+)(?:\s*+\{((?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+)\})?+\s++([^\s#]++)(?:\s++(-?[0-9.eE+]++))?+\s*+(?:#.*+)?+$'
)
_ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def plain_name(name: str) -> str:
    """What two spellings of one metric have in common."""
    return name.replace(":", "_").removesuffix("_total")


@dataclass(frozen=True, slots=True)
class Series:
    """One sample: its labels, its value, and when it was taken (epoch seconds) where the line says so."""

    labels: tuple[tuple[str, str], ...]
    value: float
    at: float | None = None

    def label(self, name: str) -> str | None:
        """The value of label `name`, or None."""
        return next((value for key, value in self.labels if key == name), None)


@dataclass(slots=True)
class MetricsReader:
    """Feed bytes, then ask for the wanted metrics. Memory stays near what is wanted, however long the text is.

    `lines` counts lines that are samples of anything: 0 says that this was no metrics text. `broken` tells of a wanted line that
    could not be read.
    """

    wanted: frozenset[str]
    lines: int = 0
    broken: str | None = None
    _found: dict[str, list[Series]] = field(default_factory=dict)
    _rest: bytes = b""
    _kept: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> MetricsReader:
        """A reader of these metrics, in any of their spellings."""
        return cls(frozenset(plain_name(name) for name in names))

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LINE_LIMIT:
            self.broken = f"a line over {_LINE_LIMIT} bytes"
            self._rest = b""
        for line in lines:
            self._take(line)

    def end(self) -> None:
        """The text is over; a last line without a line feed counts."""
        line, self._rest = self._rest, b""
        self._take(line)

    def get(self, names: Iterable[str]) -> list[Series]:
        """The samples of the first of `names` that has any: the others are what it was called before."""
        return next((found for name in names if (found := self._found.get(plain_name(name)))), [])

    def all(self, names: Iterable[str]) -> dict[str, list[Series]]:
        """The samples of every one of `names` that has any."""
        plain = dict.fromkeys(plain_name(name) for name in names)
        return {name: found for name in plain if (found := self._found.get(name))}

    def _take(self, raw: bytes) -> None:
        if not raw or raw.startswith(b"#") or len(raw) > _LINE_LIMIT:
            return
        self.lines += 1
        # Most lines are not wanted, and are not looked at any closer.
        end = min((at for at in (raw.find(b"{"), raw.find(b" ")) if at >= 0), default=-1)
        name = plain_name(raw[:end].decode("ascii", "replace")) if end > 0 else ""
        if name not in self.wanted or self._kept >= _SERIES_LIMIT:
            self.lines -= end <= 0
            return
        found = _LINE.match(raw.decode("utf-8", "replace").strip())
        value = _number(found[3]) if found else None
        if found is None or value is None:
            self.broken = f"a line that is no sample: {raw[:80].decode('utf-8', 'replace')}"
            return
        if not math.isfinite(value):
            return  # how exporters say that there is nothing to say
        at = _epoch_s(_number(found[4])) if found[4] else None
        labels = tuple(sorted((key, _unescape(text)) for key, text in _LABEL.findall(found[2] or "")))
        self._kept += 1
        self._found.setdefault(name, []).append(Series(labels, value, at))


async def read_text(reader: MetricsReader, text: bytes) -> None:
    """Feeds a text that is here already, and leaves the loop to others between its pieces: megabytes of it take long."""
    for at in range(0, len(text), PIECE):
        reader.feed(text[at : at + PIECE])
        await asyncio.sleep(0)
    reader.end()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _epoch_s(stamp: float | None) -> float | None:
    """Prometheus' text has milliseconds, OpenMetrics seconds: nobody means the year 5000."""
    if stamp is None or not math.isfinite(stamp):
        return None
    return stamp / 1000.0 if stamp > 1e11 else stamp


def _unescape(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda found: _ESCAPED[found[0]], text) if "\\" in text else text
