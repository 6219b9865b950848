"""Alerts about the coordinator's own process, beside those of the engine: the store, the providers, the agents' streams."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from steerd.coordinator.face import alert_row
from steerd.core.effects import Alert
from steerd.model.plan import Alert as AlertFact

__all__ = ["Alarms"]


class Alarms:
    """One alert per (kind, of). `tell` is called when one begins, changes its words or ends."""

    def __init__(self, tell: Callable[[Alert, float], None]) -> None:
        self._tell = tell
        self._active: dict[tuple[str, str], AlertFact] = {}

    def set(self, kind: str, of: str, text: str, action: str, now: float) -> None:
        """It is so; said again only when `text` differs."""
        known = self._active.get((kind, of))
        if known is not None and known.text == text:
            return
        fact = replace(known, text=text, action=action) if known else AlertFact(kind, of, text, now, action)
        self._active[kind, of] = fact
        self._tell(Alert(fact, active=True), now)

    def clear(self, kind: str, of: str, now: float) -> None:
        """It is no longer so."""
        known = self._active.pop((kind, of), None)
        if known is not None:
            self._tell(Alert(known, active=False), now)

    def say(self, kind: str, of: str, text: str | None, action: str, now: float) -> None:
        """`set` with a text, `clear` without."""
        if text is None:
            self.clear(kind, of, now)
        else:
            self.set(kind, of, text, action, now)

    def keep(self, kind: str, names: Collection[str], now: float) -> None:
        """A new config: what is no longer in `names` has nothing left that could end its alert."""
        for of in [o for k, o in self._active if k == kind and o not in names]:
            self.clear(kind, of, now)

    def rows(self) -> list[dict[str, Any]]:
        """As in `steerd status --json`."""
        return [alert_row(fact) for _, fact in sorted(self._active.items())]
