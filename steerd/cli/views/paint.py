"""The console, and the few words and signs that every view shares. Colour is never the only sign of anything."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TextIO

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from steerd.cli.durations import ago

__all__ = [
    "console",
    "grid",
    "health",
    "indent",
    "moment",
    "percent",
    "plain",
    "show",
    "sign",
    "since",
    "until",
    "weights",
]

PIPE_WIDTH = 100

_SIGNS = {"healthy": "✓", "saturated": "≈", "degraded": "!", "down": "✗", "unknown": "?"}
_STYLES = {"healthy": "green", "saturated": "yellow", "degraded": "yellow", "down": "bold red", "unknown": "magenta"}


def console(file: TextIO | None = None) -> Console:
    """A console on `file` (stdout): colours on a terminal without NO_COLOR; in a pipe 100 columns wide, or COLUMNS."""
    out = sys.stdout if file is None else file
    if out.isatty():
        return Console(file=out, highlight=False)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) >= 40 else PIPE_WIDTH
    return Console(file=out, highlight=False, width=width, no_color=True, force_terminal=False)


def show(view: RenderableType) -> None:
    """Print a view: as it is on a terminal, without trailing spaces in a pipe."""
    out = console()
    if out.is_terminal:
        out.print(view)
    else:
        click.echo(plain(view, out.width), nl=False)


def plain(view: RenderableType, width: int = PIPE_WIDTH) -> str:
    """A view as plain text of at most `width` columns; no line ends in a space."""
    page = Console(file=io.StringIO(), highlight=False, width=width, no_color=True, force_terminal=False)
    page.print(view)
    assert isinstance(page.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in page.file.getvalue().splitlines())


def sign(word: str) -> str:
    """The sign in front of a state."""
    return _SIGNS.get(word, "?")


def health(word: str, *, text: str | None = None) -> Text:
    """A state as sign and word; `text` replaces the word."""
    return Text(f"{sign(word)} {text or word}", style=_STYLES.get(word, "magenta"))


def grid(*columns: str, right: Iterable[str] = ()) -> Table:
    """A table without lines. An empty first heading leaves room to indent."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=any(columns))
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in numbers)
    return table


def indent(depth: int, text: str) -> Text:
    """`text`, two columns a level to the right."""
    return Text("  " * depth + text)


def percent(share: Any) -> str:
    """A fraction as `50.0%`; nothing for None."""
    return "" if share is None else f"{float(share):.1%}"


def moment(value: Any) -> datetime | None:
    """A time of the API: ISO 8601, or seconds of the epoch."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value).astimezone()
    return datetime.fromisoformat(str(value))


def since(value: Any, now: Any) -> str:
    """How long ago `value` was at `now`: `3m`."""
    then, at = moment(value), moment(now)
    return "" if then is None or at is None else ago((at - then).total_seconds())


def until(value: Any, now: Any) -> str:
    """How long from `now` to `value`: `in 3h`; a dash when it has no end."""
    then, at = moment(value), moment(now)
    return "-" if then is None or at is None else f"in {ago((then - at).total_seconds())}"


def weights(members: Mapping[str, int] | None) -> str:
    """Integer weights as parts of the whole: `eu-west-1a 0%, eu-west-1b 100%`."""
    if not members:
        return "nothing known yet"
    total = sum(members.values())
    if total <= 0:
        return ", ".join(f"{name} {weight}" for name, weight in sorted(members.items()))
    return ", ".join(f"{name} {_part(weight / total)}" for name, weight in sorted(members.items()))


def _part(share: float) -> str:
    text = f"{share:.1%}"
    return text.replace(".0%", "%")
