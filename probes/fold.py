"""The outcome of a name from those of its addresses:

all of them fail                    FAIL, as the first of them
some fail, others do not            SLOW: a part of the requests fails, and a share of the traffic is what it deserves
none fails                          the worst of the others: SLOW, SATURATED, PASS
an ERROR                            counts only where no address gave an answer
"""

from __future__ import annotations

from dataclasses import replace

from probes.outcome import Outcome, Status

__all__ = ["fold"]


def fold(outcomes: dict[str, Outcome]) -> Outcome:
    """See the module's text. `outcomes` by address, at least one."""
    answered = {a: o for a, o in outcomes.items() if o.status is not Status.ERROR}
    if not answered:
        return next(iter(outcomes.values()))
    failing = {a: o for a, o in answered.items() if o.status is Status.FAIL}
    longest = max(answered.values(), key=lambda o: o.duration_s)
    if failing:
        first = next(iter(failing.values()))
        detail = ", ".join(f"{address}: {o.reason}" for address, o in failing.items())
        if len(failing) == len(answered):
            return first if len(outcomes) == 1 else replace(first, detail=detail)
        reason = f"{len(failing)} of {len(outcomes)} addresses: {first.reason}"
        return replace(first, status=Status.SLOW, reason=reason, transport=False, unanswered=False, detail=detail)
    for status in (Status.SLOW, Status.SATURATED):
        found = [o for o in answered.values() if o.status is status]
        if found:
            return found[0]
    return longest
