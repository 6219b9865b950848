"""Velocity: how much capacity automation may take out in a while (decisions.md, section 8: 50% in 5 minutes).

What the confirmed dead take with them is not counted: nothing is gained by leaving them in.
"""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.rules import Guards

__all__ = ["Velocity"]

_TINY = 1e-9


class Velocity:
    """Per service: (time, part of its capacity) of every automatic removal within the window."""

    def __init__(self) -> None:
        self.rules = Guards()
        self.log: dict[str, list[tuple[float, float]]] = {}

    def room(self, service: str, now: float) -> float:
        """The part of the service's capacity that may still be taken out now: 0..1."""
        entries = [e for e in self.log.get(service, ()) if now - e[0] < self.rules.max_removed_per_s]
        if entries:
            self.log[service] = entries
        else:
            self.log.pop(service, None)
        return max(0.0, self.rules.max_removed_share - sum(part for _, part in entries))

    def took(self, service: str, part: float, now: float) -> None:
        """Notes a removal."""
        if part > _TINY:
            self.log.setdefault(service, []).append((now, part))

    def frees_at(self, service: str, now: float) -> float:
        """When the oldest removal leaves the window: there is more room then. `now` when there is none."""
        entries = self.log.get(service)
        return entries[0][0] + self.rules.max_removed_per_s if entries else now

    def load(self, stored: Mapping[str, tuple[tuple[float, float], ...]]) -> None:
        """Takes over what the store holds."""
        self.log = {service: [(at, part) for at, part in entries] for service, entries in stored.items()}
