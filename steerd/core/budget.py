"""A budget of tokens per day, as a bucket that fills while it is spent. Pure: time is an argument.

    per day = burst + 24 h of refill, so that no 24 hours cost more than the budget, but for what its last look owes
    burst   = 10% of the day (half of a day that is small): what can be saved up
    start   = nothing, since nobody knows what was spent before: an agent that restarts again and again must not spend a burst each
              time
    reserve = the last 20% of the burst: for confirms, and for endpoints that are not known to be well
    debt    = a look that costs more than can be saved up is made on a full bucket, and paid off before the next one

Nothing is exchanged between agents: each has its share, and a lost agent's share stays unspent.
"""

from __future__ import annotations

__all__ = ["TokenBudget"]

_DAY_S = 86400.0
_BURST = 0.10
_SMALL = 600.0
_RESERVE = 0.20


class TokenBudget:
    """`per_day` tokens, from `now` on (steady seconds); `level` are there at once."""

    def __init__(self, per_day: float, now: float, level: float = 0.0) -> None:
        self.per_day = per_day
        self.burst = max(_BURST * per_day, min(per_day / 2, _SMALL))
        self.reserve = _RESERVE * self.burst
        self._per_s = (per_day - self.burst) / _DAY_S
        self._level = min(self.burst, level)
        self._at = now
        self.untouched = True
        """Nothing was ever spent."""

    def changed(self, per_day: float, now: float) -> TokenBudget:
        """The budget from `now` on where it is `per_day`: what is left stays, as far as that may be saved up, and what is owed."""
        if per_day == self.per_day:
            return self
        found = TokenBudget(per_day, now, self.left(now))
        found.untouched = self.untouched
        return found

    def left(self, now: float) -> float:
        """Tokens that may be spent now; negative when looks cost more than was thought."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self._per_s)
            self._at = now
        return self._level

    def allows(self, tokens: float, now: float, *, reserve: bool) -> bool:
        """Whether `tokens` may be spent, into debt where that is more than the burst. Only with `reserve` out of what is kept for
        confirms.
        """
        kept = self.reserve
        if reserve or kept < tokens:  # a reserve that pays for no look is none
            kept = 0.0
        return self.burst > 0.0 and self.left(now) - min(tokens, self.burst) >= kept

    def spend(self, tokens: float, now: float) -> None:
        """Takes `tokens`; gives them back where negative (they were thought to be spent, and were not)."""
        self._level = min(self.burst, self.left(now) - tokens)
        self.untouched = self.untouched and tokens <= 0
