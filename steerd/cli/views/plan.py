"""`steerd plan`: each route's difference between what is served and what would be written, and what a guard stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from steerd.cli.views.paint import grid, health, percent, weights

__all__ = ["render"]

Json = Mapping[str, Any]


def render(plan: Json) -> RenderableType:
    """Every service's plan."""
    parts: list[RenderableType] = []
    for name, service in plan.get("services", {}).items():
        parts += [*([""] if parts else ()), *_service(name, service)]
    return Group(*parts) if parts else Text("no services")


def _service(name: str, service: Json) -> list[RenderableType]:
    line = Text(name, style="bold")
    load = service.get("utilization") or {}
    if load:
        fullest = max(load, key=lambda endpoint: float(load[endpoint]))
        line.append_text(Text(f"   fullest after: {fullest} at {percent(load[fullest])}", style="not bold"))
    if service.get("mode") == "observe":
        line.append_text(Text("   observed only: nothing is written", style="not bold"))
    parts: list[RenderableType] = [line]
    for route in service.get("routes") or ():
        parts += _route(route)
    for veto in service.get("vetoes") or ():
        text = f"{veto.get('name', '')} stays: {veto.get('guard', '')}: {veto.get('text', '')}"
        parts.append(Padding(health("degraded", text=text), (0, 0, 0, 2)))
    parts += [Padding(Text(str(note)), (0, 0, 0, 2)) for note in service.get("notes") or ()]
    return parts


def _route(route: Json) -> list[RenderableType]:
    current, planned = route.get("current") or {}, route.get("planned") or {}
    name = Text(f"{route.get('provider', '')}/{route.get('name', '')}  ")
    if not planned or not route.get("changes"):
        return [Padding(name.append(f"no change: {weights(current)}"), (0, 0, 0, 2))]
    totals = sum(current.values()), sum(planned.values())
    table = grid("target", "now", "", "planned", right=("now", "planned"))
    for target in sorted(current.keys() | planned.keys()):
        before, after = current.get(target, 0), planned.get(target, 0)
        same = before == after
        table.add_row(
            Text(target),
            _part(before, totals[0]),
            "" if same else "→",
            _part(after, totals[1]),
            style="dim" if same else "bold",
        )
    return [Padding(name.append("would change"), (0, 0, 0, 2)), Padding(table, (0, 0, 0, 4))]


def _part(weight: int, total: int) -> str:
    return f"{weight / total:.1%}" if total > 0 else str(weight)
