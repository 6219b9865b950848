"""The answer to an operator's command: what was done, and for a drain who receives how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from steerd.cli.views.paint import grid, health, percent

__all__ = ["impact", "render"]

Json = Mapping[str, Any]


def render(answer: Json) -> RenderableType:
    """The coordinator's words and the impact."""
    parts: list[RenderableType] = [health("healthy", text=str(answer.get("text") or "done"))]
    parts += impact((answer.get("data") or {}).get("preview"))
    return Group(*parts)


def impact(preview: Json | None) -> list[RenderableType]:
    """Who receives how much, and utilization after."""
    if not preview:
        return []
    moved, after = preview.get("moved"), preview.get("after_utilization")
    facts = [f"{float(moved):.1%} of the traffic moves" if moved is not None else ""]
    facts.append(
        f"utilization after: {float(after):.0%}" if after is not None else "utilization after: not known (no demand)"
    )
    parts: list[RenderableType] = ["", Text("; ".join(f for f in facts if f))]
    receives = preview.get("receives") or []
    if receives:
        table = grid(
            "receives", "share now", "share after", "utilization", right=("share now", "share after", "utilization")
        )
        for row in receives:
            table.add_row(
                Text(str(row["name"])),
                percent(row.get("from")),
                percent(row.get("to")),
                percent(row.get("utilization")),
            )
        parts.append(table)
    parts += [Text(str(note)) for note in preview.get("notes") or ()]
    return parts
