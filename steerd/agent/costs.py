"""What looks cost by the kind of their probe: how many, how long they took together, and the tokens that they spent."""

from __future__ import annotations

__all__ = ["Cost", "Costs"]

_TOLD = 6
"""Kinds that are told of, the dearest: what an agent says of itself has bounds (`steerd.core.readings`)."""


class Cost:
    """One kind of probe, since the agent started. The fields are added to where looks end, which is often."""

    __slots__ = ("looks", "seconds", "tokens")

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self.tokens = 0


class Costs:
    """`Cost` by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, Cost] = {}

    def of(self, kind: str) -> Cost:
        """The cost of a kind."""
        return self._kinds.setdefault(kind, Cost())

    def values(self) -> dict[str, float]:
        """looks.KIND, busy_s.KIND (together: a second of it is one look under way for a second) and tokens.KIND, where any were
        spent.
        """
        found: dict[str, float] = {}
        made = [(kind, cost) for kind, cost in self._kinds.items() if cost.looks]
        for kind, cost in sorted(made, key=lambda item: -item[1].seconds)[:_TOLD]:
            found[f"looks.{kind}"], found[f"busy_s.{kind}"] = float(cost.looks), cost.seconds
            if cost.tokens:
                found[f"tokens.{kind}"] = float(cost.tokens)
        return found
