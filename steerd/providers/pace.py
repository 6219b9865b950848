"""Calls to one account, held to its limit, with a share kept back for writes.

An account's limit is often shared with people and other tools (Route 53: 5 calls per second of an account), and going over
it stops everybody's calls. Reads every minute and verification are routine and may use a part of the limit only; what
carries out a decision may use all of it (`urgent`). A `Retry-After` holds everything back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from steerd.providers.errors import HeldBack

__all__ = ["KEPT_BACK", "Pace", "Paces", "is_urgent", "urgent"]

KEPT_BACK = 0.25
"""The part of an account's calls that only writes of decisions may use."""

_TINY = 1e-9

_URGENT: ContextVar[bool] = ContextVar("steerd_urgent_call", default=False)


@contextmanager
def urgent() -> Iterator[None]:
    """Calls made inside carry out a decision. Tasks and threads started inside inherit it (`asyncio.to_thread`)."""
    token = _URGENT.set(True)
    try:
        yield
    finally:
        _URGENT.reset(token)


def is_urgent() -> bool:
    """Whether the running call carries out a decision."""
    return _URGENT.get()


class _Bucket:
    """Tokens that come back at `rate` per second, up to `most`. Full at first."""

    def __init__(self, rate: float, most: float) -> None:
        self.rate, self.most, self.left = rate, most, most
        self._at: float | None = None

    def fill(self, now: float) -> None:
        self.left = min(self.most, self.left + (now - (self._at if self._at is not None else now)) * self.rate)
        self._at = now

    def wait_s(self) -> float:
        """Seconds until one token is there. What a sum of fractions leaves is nothing: a wait so short would never end."""
        missing = 1.0 - self.left
        return missing / self.rate if missing > _TINY else 0.0


class Pace:
    """A token bucket for one account: `rate_per_s` calls a second, what two seconds give (at least 2) at once. `now` is the
    event loop's time unless given."""

    def __init__(self, rate_per_s: float, now: Callable[[], float] | None = None) -> None:
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._paused_until = 0.0
        self._waiting = 0
        self.limit(rate_per_s)

    def limit(self, rate_per_s: float) -> None:
        """Another rate from now on; the buckets start full. Raises ValueError unless it is over 0."""
        if rate_per_s <= 0.0:
            raise ValueError(f"a pace needs more than 0 calls per second, not {rate_per_s!r}")
        self.rate_per_s = rate_per_s
        most = max(2.0, 2.0 * rate_per_s)
        self._all = _Bucket(rate_per_s, most)
        self._routine = _Bucket(rate_per_s * (1.0 - KEPT_BACK), max(1.0, most * (1.0 - KEPT_BACK)))

    async def take(self, deadline: float) -> None:
        """Waits for a call's turn. Raises `HeldBack`, with when to come again, if that is not before `deadline`."""
        self._waiting += 1
        try:
            while (wait_s := self.wait_s(urgent=is_urgent())) > 0.0:
                if self._now() + wait_s >= deadline:
                    raise HeldBack(
                        f"the account's {self.rate_per_s:g} calls per second are used up, the next is free in {wait_s:.1f} s",
                        "if this lasts, ask for a higher limit, raise `calls_per_s`, or let fewer tools share the account",
                        wait_s,
                    )
                await asyncio.sleep(wait_s)
            self._all.left -= 1.0
            if not is_urgent():
                self._routine.left -= 1.0
        finally:
            self._waiting -= 1

    def wait_s(self, *, urgent: bool) -> float:
        """Seconds until such a call may be made; 0 when it may now."""
        now = self._now()
        self._all.fill(now)
        self._routine.fill(now)
        wait_s = max(self._all.wait_s(), 0.0 if urgent else self._routine.wait_s())
        return max(wait_s, self._paused_until - now, 0.0)

    def pause(self, seconds: float) -> None:
        """The system said to stay away for so long (`Retry-After`)."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    def standing(self) -> dict[str, Any]:
        """For `status`: calls per second, calls free now for writes and for routine, seconds of a pause."""
        paused_s = max(0.0, self._paused_until - self._now())
        self.wait_s(urgent=True)
        return {
            "calls_per_s": self.rate_per_s,
            "free": max(0, int(self._all.left)),
            "free_routine": max(0, int(min(self._all.left, self._routine.left))),
            "waiting": self._waiting,
            "paused_s": round(paused_s, 1),
        }


class Paces:
    """The accounts of one process: providers on one account share one pace, whatever their entries are called. The lowest rate that
    an entry in force names holds for all of them."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self._shares: dict[str, dict[str, float]] = {}
        self._asked: dict[str, dict[str, float]] = {}

    def begin(self, provider: str) -> None:
        """The entry is built anew: once it is in force, accounts that it does not share any more hold nobody to its rates."""
        self._asked[provider] = {}

    def share(self, provider: str, account: str, rate_per_s: float) -> Pace:
        """The pace of `account`, for the entry `provider`. Its rate counts once the entry is in force (`keep`)."""
        self._asked.setdefault(provider, dict(self._shares.get(provider, {})))[account] = rate_per_s
        return self._paces.setdefault(account, Pace(rate_per_s))

    def keep(self, providers: Collection[str]) -> None:
        """These entries are in force now, and no others."""
        shares = self._shares | self._asked
        self._shares, self._asked = {name: shares[name] for name in providers if name in shares}, {}
        for account, pace in self._paces.items():
            rates = [shared[account] for shared in self._shares.values() if account in shared]
            if rates and pace.rate_per_s != min(rates):
                pace.limit(min(rates))

    def drop(self) -> None:
        """What was asked for since the last `keep` is not wanted after all."""
        self._asked.clear()

    def standing(self, provider: str) -> dict[str, Any] | None:
        """For `status`, of the account with least room where the entry calls several; None where it has no limit of its own."""
        shared = self._shares.get(provider) or self._asked.get(provider, {})
        found = [self._paces[account].standing() for account in shared]
        return min(found, key=lambda s: (-s["paused_s"], s["free"]), default=None)
