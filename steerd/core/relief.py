"""Relief: whether a staged drain hurts those who receive (decisions.md, section 9; Maelstrom, OSDI'18).

Before each step out of a gray or an operator's drain, the receivers' error rate and TTFT are compared with their objectives and
with what they were when the drain began. Both must be worse: what was bad before is no reason to stop.
"""

from __future__ import annotations

from dataclasses import dataclass

from steerd.model.fleet import Objectives

__all__ = ["Relief", "Strain"]

_ERRORS = 0.05
"""Error rate that counts as over its objective: probes are too few to see an objective of 99.9% missed."""
_GREW = 1.1


@dataclass(frozen=True, slots=True)
class Strain:
    """Receivers as they stand: mean error rate over 60 s (0..1), and the median TTFT in seconds (None: not measured)."""

    errors: float
    ttft_s: float | None


class Relief:
    """Remembers how the receivers of each drain stood when it began."""

    def __init__(self) -> None:
        self._before: dict[str, Strain] = {}

    def begin(self, drain: str, strain: Strain) -> None:
        """A drain begins (or this coordinator first sees it)."""
        self._before.setdefault(drain, strain)

    def end(self, drain: str) -> None:
        self._before.pop(drain, None)

    def worse(self, drain: str, strain: Strain, objectives: Objectives) -> str | None:
        """What got worse past its objective since `begin`, in words, or None."""
        before = self._before.setdefault(drain, strain)
        allowed = max(_ERRORS, 1.0 - objectives.availability if objectives.availability is not None else 0.0)
        if strain.errors > allowed and strain.errors > _GREW * before.errors:
            return f"the receivers fail {strain.errors:.0%} of looks, {before.errors:.0%} before"
        limit = objectives.ttft_s
        if limit is None or strain.ttft_s is None or strain.ttft_s <= limit:
            return None
        if before.ttft_s is not None and strain.ttft_s <= _GREW * before.ttft_s:
            return None
        was = f", {before.ttft_s:.1f} s before" if before.ttft_s is not None else ""
        return f"the receivers' first token takes {strain.ttft_s:.1f} s{was}: over the objective of {limit:g} s"
