"""What a coordinator says in its own log: every move, what made it, and what it needs a human for. One line an event.

A follower decides the same and carries nothing out: its log has health, leadership and alerts about itself, not moves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from steerd.core.effects import Alert, Effect, Record

__all__ = ["CoordinatorLog"]

log = logging.getLogger("steerd.coordinator")

_LEVELS = {
    "apply-failed": logging.WARNING,
    "drain": logging.WARNING,
    "drift": logging.WARNING,
    "veto": logging.WARNING,
}
"""Kinds of records that are more than news."""

_EVERYWHERE = frozenset({"config", "health", "leadership"})
"""Kinds that a follower tells, too."""


class CoordinatorLog:
    """Turns records and alerts into lines; fields that a log pipeline wants stand beside the text."""

    def on_effects(self, effects: Iterable[Effect], *, leading: bool) -> None:
        """One step's effects."""
        for effect in effects:
            if isinstance(effect, Record):
                if leading or effect.kind in _EVERYWHERE:
                    self._record(effect)
            elif isinstance(effect, Alert):
                self._alert(effect)

    def _record(self, record: Record) -> None:
        facts: dict[str, Any] = {"kind": record.kind, "of": record.of}
        for key in ("service", "by", "decision", "guard", "attempt"):
            if record.data.get(key) not in (None, ""):
                facts[key] = record.data[key]
        level = _LEVELS.get(record.kind, logging.INFO)
        log.log(level, "%s %s: %s", record.kind, record.of, record.text, extra=facts)

    def _alert(self, effect: Alert) -> None:
        facts = {"kind": effect.alert.kind, "of": effect.alert.of}
        if effect.active:
            advice = f": {effect.alert.action}" if effect.alert.action else ""
            log.warning("alert %s: %s%s", effect.alert.kind, effect.alert.text, advice, extra=facts)
        else:
            log.info("alert over %s %s", effect.alert.kind, effect.alert.of, extra=facts)
