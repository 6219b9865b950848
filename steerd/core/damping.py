"""Damping: what flaps comes back later, and later still (decisions.md, section 5; RFC 2439 and RFC 7196).

    entry into down   penalty += 1000, at most 12000; it halves every 15 min
    at 3000           suppressed, until it is under 750
    while flaps go on 30 s x 2^n, at most 5 min, is added to `restore_after`

Suppressed only delays restoring; nothing here ever takes capacity away.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from steerd.model.plan import Penalty
from steerd.model.rules import Damping as Rules

__all__ = ["Damper"]

_EXTRA_FIRST_S = 30.0
_EXTRA_MOST_S = 300.0
_FORGET = 1.0


class Damper:
    """Penalties by name of an endpoint or a zone. Pure arithmetic on the times it is given."""

    def __init__(self) -> None:
        self.rules = Rules()
        self.penalties: dict[str, Penalty] = {}

    def flap(self, name: str, now: float) -> Penalty:
        """One more entry into down."""
        known = self.current(name, now)
        value = min(self.rules.max, (known.value if known is not None else 0.0) + self.rules.penalty)
        flaps = known.flaps + 1 if known is not None and known.value >= self.rules.reuse else 1
        suppressed = value >= self.rules.suppress or (known is not None and known.suppressed)
        self.penalties[name] = Penalty(value, now, flaps, suppressed)
        return self.penalties[name]

    def current(self, name: str, now: float) -> Penalty | None:
        """The penalty as it has decayed by `now`, or None."""
        known = self.penalties.get(name)
        if known is None:
            return None
        value = known.value * 0.5 ** (max(0.0, now - known.at) / self.rules.half_life_s)
        if value < _FORGET:
            del self.penalties[name]
            return None
        return Penalty(value, now, known.flaps, known.suppressed and value >= self.rules.reuse)

    def suppressed_until(self, name: str, now: float) -> float | None:
        """When the suppression of `name` ends, or None while it is not suppressed."""
        known = self.current(name, now)
        if known is None or not known.suppressed:
            return None
        return now + self.rules.half_life_s * log2(known.value / self.rules.reuse)

    def extra_s(self, name: str, now: float) -> float:
        """Seconds to add to `restore_after`: none after a first failure, then 30 s doubling to 5 min."""
        known = self.current(name, now)
        if known is None or known.flaps < 2 or known.value < self.rules.reuse:
            return 0.0
        return min(_EXTRA_MOST_S, _EXTRA_FIRST_S * 2.0 ** min(known.flaps - 2, 10))

    def load(self, stored: Mapping[str, Penalty], now: float) -> None:
        """Takes over what the store holds; where this coordinator saw more flaps itself, its own stands."""
        for name, penalty in stored.items():
            own = self.current(name, now)
            mine = self.penalties.get(name)
            self.penalties[name] = penalty
            theirs = self.current(name, now)
            if own is not None and mine is not None and (theirs is None or own.value > theirs.value):
                self.penalties[name] = mine

    def keep_only(self, names: Mapping[str, object], now: float) -> None:
        """Forgets what is not in `names`, and what has decayed."""
        for name in list(self.penalties):
            if name not in names:
                del self.penalties[name]
            else:
                self.current(name, now)
