"""Readings: the numbers that agents send along on endpoints, the newest of each agent (decisions.md, section 3).

Names the core knows: `ttft_s` (time to first token, seconds), `running` and `waiting` (requests in an engine). Replication lag has
rules of its own (`steerd.core.datagate`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import isfinite

from steerd.model.sample import SELF, Reading

__all__ = ["Readings"]


_SELF_NAMES, _SELF_NAME = 32, 64
"""Numbers of one agent on itself, and the length of their names, at most: what comes over a stream is bounded."""

_NAMES = frozenset({"ttft_s", "running", "waiting"})


class Readings:
    """The newest value of every (subject, name) by agent. Bounded by the fleet: unknown subjects are not kept."""

    def __init__(self) -> None:
        self._subjects: frozenset[str] = frozenset()
        self._selves: dict[str, dict[str, float]] = {}
        self._values: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}

    def configure(self, subjects: Iterable[str], agents: Collection[str]) -> None:
        """`subjects` are the endpoints that may have readings."""
        self._subjects = frozenset(subjects)
        for key in [k for k in self._values if k[0] not in self._subjects]:
            del self._values[key]
        self._selves = {name: own for name, own in self._selves.items() if name in agents}
        for values in self._values.values():
            for agent in [a for a in values if a not in agents]:
                del values[agent]

    def fold(self, agent: str, readings: Iterable[Reading], now: float) -> None:
        """Takes readings of one agent; an older one than is known changes nothing."""
        for reading in readings:
            if reading.subject == SELF + agent and isfinite(reading.value) and len(reading.name) <= _SELF_NAME:
                own = self._selves.setdefault(agent, {})
                if reading.name in own or len(own) < _SELF_NAMES:
                    own[reading.name] = reading.value
            if reading.name not in _NAMES:
                continue
            if reading.subject not in self._subjects or not isfinite(reading.value):
                continue
            at = now - max(0.0, reading.age_s)
            values = self._values.setdefault((reading.subject, reading.name), {})
            known = values.get(agent)
            if known is None or known[1] <= at:
                values[agent] = (reading.value, at)

    def of_itself(self, agent: str) -> dict[str, float]:
        """What an agent said of itself last: loop lag, start delay, descriptors and the like, by name with the unit."""
        return dict(self._selves.get(agent, {}))

    def values(self, subject: str, name: str, now: float, within_s: float) -> list[float]:
        """What agents read no longer than `within_s` ago, smallest first."""
        known = self._values.get((subject, name), {})
        return sorted(value for value, at in known.values() if now - at <= within_s)

    def subjects(self, name: str) -> list[str]:
        """Endpoints that some agent ever read `name` of."""
        return [subject for subject, known in self._values if known == name]

    def median(self, subject: str, name: str, now: float, within_s: float) -> float | None:
        """The middle one (the lower of two) of what agents read lately; None without any."""
        values = self.values(subject, name, now, within_s)
        return values[(len(values) - 1) // 2] if values else None
