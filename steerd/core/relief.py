"""Relief: whether a staged drain hurts those who receive (decisions.md, section 9; Maelstrom, OSDI'18).

Before each step out of a gray or an operator's drain, the receivers' error rate and TTFT are compared with their objectives and
with what they were when the drain began, which the drain carries (`Drain.before`): a new leader judges by the same. Both must be
worse: what was bad before is no reason to stop.
"""

from __future__ import annotations

from steerd.model.fleet import Objectives
from steerd.model.plan import Strain

__all__ = ["worse"]

_ERRORS = 0.05
"""Error rate that counts as over its objective: probes are too few to see an objective of 99.9% missed."""
_GREW = 1.1


def worse(before: Strain | None, strain: Strain, objectives: Objectives) -> str | None:
    """What got worse past its objective since the drain began, in words, or None. `before` None: nobody knows how the receivers
    stood then, so the objective alone decides."""
    allowed = max(_ERRORS, 1.0 - objectives.availability if objectives.availability is not None else 0.0)
    if strain.errors > allowed and (before is None or strain.errors > _GREW * before.errors):
        was = f", {before.errors:.0%} before" if before is not None else ""
        return f"the receivers fail {strain.errors:.0%} of looks{was}"
    limit = objectives.ttft_s
    if limit is None or strain.ttft_s is None or strain.ttft_s <= limit:
        return None
    if before is not None and before.ttft_s is not None and strain.ttft_s <= _GREW * before.ttft_s:
        return None
    was = f", {before.ttft_s:.1f} s before" if before is not None and before.ttft_s is not None else ""
    return f"the receivers' first token takes {strain.ttft_s:.1f} s{was}: over the objective of {limit:g} s"
