"""What the demo prints: a line of zones whenever something changed, notes in between, tables of answers at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Screen"]

_COLOURS = {"healthy": "green", "down": "red", "degraded": "yellow", "saturated": "yellow", "unknown": "dim"}


class Screen:
    """Writes to the terminal, or plain lines to a pipe. Times are seconds since the demo began."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._last = ""

    def note(self, text: str, style: str = "") -> None:
        """One line with the time in front."""
        line = Text(f"{time.monotonic() - self._began:5.1f}s  ", style="dim")
        line.append(text, style=style)
        self.console.print(line)

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def fleet(self, status: Mapping[str, Any] | None) -> None:
        """One line of zones with health and share, if it differs from the last one."""
        if status is None:
            return
        service = status["services"]["chat"]
        line = Text()
        plain = []
        for zone, facts in service["zones"].items():
            health, share = facts["health"], facts["share"]
            short = zone.replace("-west-", "").replace("-east-", "")
            line.append(f"{short} ")
            line.append(f"{health} {share:.0%}", style=_COLOURS.get(health, ""))
            line.append("   ")
            plain.append(f"{zone} {health} {share:.2f}")
        if (now := " ".join(plain)) == self._last:
            return
        self._last = now
        stamp = Text(f"{time.monotonic() - self._began:5.1f}s  ", style="dim")
        self.console.print(stamp + line)

    def splits(self, zones: Mapping[str, str], columns: Sequence[tuple[str, Mapping[str, int]]]) -> None:
        """Zone rows, one column of counted answers each for before, during and after."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("zone")
        table.add_column("address")
        for title, _ in columns:
            table.add_column(title, justify="right")
        for zone, address in zones.items():
            table.add_row(zone, address, *(str(counts.get(address, 0)) for _, counts in columns))
        missing = [counts.get("no answer", 0) for _, counts in columns]
        if any(missing):
            table.add_row("no answer", "", *map(str, missing))
        self.console.print(table)

    def times(self, rows: Sequence[tuple[str, float | None, str]]) -> None:
        """Stage, seconds after the failure, what it means."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        for stage, seconds, meaning in rows:
            table.add_row(stage, "-" if seconds is None else f"{seconds:.2f} s", Text(meaning, style="dim"))
        self.console.print(table)

    def text(self, text: str) -> None:
        self.console.print(text)
