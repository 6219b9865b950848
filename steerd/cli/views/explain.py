"""`steerd explain NAME`: how it stands and why, in the coordinator's words, the last moves, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from steerd.cli.views.paint import health, moment, percent

__all__ = ["render"]

Json = Mapping[str, Any]


def render(found: Json) -> RenderableType:
    """The whole explanation. Voices, guards and drains are in the words already; `--json` has them apart."""
    line = Text.assemble((found["name"], "bold"), f"  {found.get('kind', '')}")
    if found.get("health"):
        line.append("  ").append_text(health(found["health"]))
    if at := moment(found.get("since")):
        line.append(f" since {at:%Y-%m-%d %H:%M:%S}")
    if found.get("share") is not None:
        line.append(f"   share {percent(found['share'])}")
    parts: list[RenderableType] = [line]
    parts += _lines("", found.get("text"))
    parts += _lines("last moves", [_move(m) for m in found.get("moves") or ()])
    parts += _lines("what would change it", found.get("would_change"))
    return Group(*parts)


def _lines(title: str, lines: list[str] | None) -> list[RenderableType]:
    if not lines:
        return []
    head: list[RenderableType] = ["", Text(title, style="dim")] if title else [""]
    return head + [Padding(Text(line), (0, 0, 0, 2)) for line in lines]


def _move(move: Json) -> str:
    at = moment(move.get("at"))
    return f"{at:%Y-%m-%d %H:%M:%S}  {move.get('text', '')}" if at else str(move.get("text", ""))
