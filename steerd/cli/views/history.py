"""`steerd history`: one line an event, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from steerd.cli.views.paint import grid, moment

__all__ = ["render"]

_STYLES = {"veto": "yellow", "apply-failed": "red", "drain": "yellow", "restored": "green", "in-sync": "green"}


def render(events: Iterable[Mapping[str, Any]]) -> RenderableType:
    """A table of events: when, what kind, of what, and the words."""
    table = grid("when", "what", "of", "told")
    for event in events:
        at = moment(event.get("at"))
        when = f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""
        kind = str(event.get("kind", ""))
        table.add_row(when, Text(kind, style=_STYLES.get(kind, "")), Text(str(event.get("of", ""))), _told(event))
    return table if table.row_count else Text("nothing happened in that time")


def _told(event: Mapping[str, Any]) -> Text:
    line = Text(str(event.get("text", "")))
    data = event.get("data") or {}
    times = data.get("stages") or {k: v for k, v in data.items() if k.endswith("_s") and isinstance(v, int | float)}
    if times:
        spans = ", ".join(f"{name.removesuffix('_s').replace('_', ' ')} {value:.2f} s" for name, value in times.items())
        line.append(f"  [{spans}]", style="dim")
    return line
