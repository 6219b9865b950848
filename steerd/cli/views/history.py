"""`steerd history`: one line an event, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from steerd.cli.views.paint import grid, moment

__all__ = ["render"]

_STYLES = {
    "veto": "yellow",
    "apply-failed": "red",
    "drain": "yellow",
    "restored": "green",
    "in-sync": "green",
    "alert": "yellow",
}

_STAGES = ("suspect", "agreed", "decided", "accepted", "authoritative", "observed")
"""The stages of a move, in their order; an event has the time of each that it knows as `NAME_at`."""


def render(events: Iterable[Mapping[str, Any]]) -> RenderableType:
    """A table of events: when, what kind, of what, and the words."""
    table = grid("when", "what", "of", "told")
    for event in events:
        at = moment(event.get("at"))
        when = f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""
        kind = str(event.get("kind", ""))
        what = "alert over" if kind == "alert" and _data(event).get("active") is False else kind
        table.add_row(when, Text(what, style=_STYLES.get(what, "")), Text(str(event.get("of", ""))), _told(event))
    return table if table.row_count else Text("nothing happened in that time")


def _data(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event.get("data") or {}


def _told(event: Mapping[str, Any]) -> Text:
    """The words, who or what did it where that is known, and how long the stages took."""
    data = _data(event)
    line = Text(f"{data['alert']}: " if data.get("alert") else "").append(str(event.get("text", "")))
    if data.get("by"):
        line.append(f"  ({'' if data['by'] == 'automatic' else 'by '}{data['by']})", style="dim")
    times = data.get("stages") or {k: v for k, v in data.items() if k.endswith("_s") and isinstance(v, int | float)}
    spans = [f"{name.removesuffix('_s').replace('_', ' ')} {value:.2f} s" for name, value in times.items()]
    spans += _stages(data)
    if spans:
        line.append(f"  [{', '.join(spans)}]", style="dim")
    return line


def _stages(data: Mapping[str, Any]) -> Iterator[str]:
    """Each stage that the event tells of, as the time since the first one: `accepted +0.02 s`."""
    known = [(name, moment(data[f"{name}_at"])) for name in _STAGES if data.get(f"{name}_at") is not None]
    began = known[0][1] if known else None
    for name, at in known[1:]:
        if began is not None and at is not None:
            yield f"{name} +{(at - began).total_seconds():.2f} s"
