"""When each agent looks: phases that spread the configured agents evenly over a check's interval (probes.md).

Every agent works its own times out from the config alone, without talking to the others. The agents that see an
endpoint are ranked by a hash with the endpoint and the check, and rank r of K looks at r / K of the interval, on
the wall clock: so some agent looks every interval / K. The endpoint's own offset, the same for all agents, spreads
the endpoints over the interval; without it every endpoint of a fleet would be looked at in the same instant. A
jitter of up to a tenth of a slot either way keeps the looks from beating against periodic work of the target.

A check that agents take turns at (the user path: it costs tokens) is looked at once per interval by one agent: rank
r takes the intervals whose number is r modulo K. A lost agent's turns stay empty and nobody else's move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from math import ceil

__all__ = ["JITTER", "Cadence", "agree", "agree_on", "rank"]

JITTER = 0.1
"""The jitter: at most this fraction of a slot (interval / K), early or late."""

_MASK = (1 << 64) - 1
_TWO_IN_53_BITS = 2.0 / (1 << 53)


def _hash(*parts: str) -> int:
    """64 bits that every agent and every Python agrees on. Parts are separated so that ("a", "bc") is not ("ab",
    "c").
    """
    return _hash_of("\x00".join(parts))


def _hash_of(joined: str) -> int:
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest())


def _fraction(number: int) -> float:
    """0 <= x < 1 from 64 bits."""
    return (number >> 11) / (1 << 53)


def _order(agents: Iterable[str], endpoint: str, check: str) -> list[str]:
    tail = f"\x00{endpoint}\x00{check}"
    return [name for _, name in sorted((_hash_of(name + tail), name) for name in set(agents))]


def rank(agent: str, agents: Iterable[str], endpoint: str, check: str) -> int:
    """The place of `agent` among `agents` for this endpoint and check, from 0. Raises ValueError if it is not among
    them.

    The order differs from endpoint to endpoint, so that no agent is always first.
    """
    return _order(agents, endpoint, check).index(agent)


@dataclass(frozen=True, slots=True)
class Cadence:
    """The intended times of one agent's looks at one endpoint by one check: slot n is at `time(n)` on the wall clock.

    `period_s` is the time between this agent's own looks, `phase_s` where in the period they fall, `jitter_s` how far a
    look may be off either way, and `seed` what the jitter is drawn from.
    """

    period_s: float
    phase_s: float
    jitter_s: float
    seed: int

    def time(self, slot: int) -> float:
        """The intended wall time of slot `slot`, in seconds of the epoch. Grows with `slot`."""
        # splitmix64's finaliser turns consecutive numbers into unrelated ones (Steele, Lea and Flood, 2014). In one piece, since
        # this is asked for every look there is.
        number = ((self.seed ^ (slot & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
        off = (((number ^ (number >> 31)) >> 11) * _TWO_IN_53_BITS - 1.0) * self.jitter_s
        return slot * self.period_s + self.phase_s + off

    def after(self, wall: float, last: int | None = None) -> int:
        """The first slot later than `wall`, and later than slot `last` unless the wall clock was set back since.

        `last` is the slot this agent acted on most recently. A timer that fires a moment early must not be given
        the same slot again; a clock that was set back by half a period or more starts over from what it now says.
        """
        return self.following(wall, last)[0]

    def following(self, wall: float, last: int | None = None) -> tuple[int, float]:
        """`after`, and the time of that slot."""
        slot = ceil((wall - self.phase_s - self.jitter_s) / self.period_s)
        while (at := self.time(slot)) <= wall:
            slot += 1
        if last is not None and slot <= last and self.time(last) - wall < self.period_s / 2:
            return last + 1, self.time(last + 1)
        return slot, at


def agree(agent: str, agents: Iterable[str], endpoint: str, check: str, interval_s: float, *, turns: bool) -> Cadence:
    """The cadence of `agent` for a check with `interval_s`, agreed upon with the other `agents` that see the endpoint.

    With `turns` they share one look per interval between them; without, each looks once per interval.
    Raises ValueError if `agent` is not among `agents`.
    """
    names = set(agents)
    if agent not in names:
        raise ValueError(f"{agent!r} is not among the agents that look at {endpoint}")
    return next(iter(agree_on((agent,), names, endpoint, check, interval_s, turns=turns)))[1]


def agree_on(
    wanted: Container[str], agents: Iterable[str], endpoint: str, check: str, interval_s: float, *, turns: bool
) -> Iterator[tuple[str, Cadence]]:
    """`agree` for those of `agents` that are `wanted`: the order of all of them is worked out once."""
    order = _order(agents, endpoint, check)
    offset_s = _fraction(_hash("offset", endpoint, check)) * interval_s
    slot_s = interval_s / len(order)
    for place, agent in enumerate(order):
        if agent not in wanted:
            continue
        seed = _hash("jitter", agent, endpoint, check)
        if turns:
            # Neighbouring turns are a whole interval apart, yet the jitter stays that of a slot: it is there for the
            # target.
            yield agent, Cadence(interval_s * len(order), place * interval_s + offset_s, JITTER * slot_s, seed)
        else:
            yield agent, Cadence(interval_s, (place * slot_s + offset_s) % interval_s, JITTER * slot_s, seed)
