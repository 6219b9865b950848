"""Which looks get lost: the same for every rule that is compared, deterministic per (seed, vantage, endpoint, slot).

A case is a random loss per (vantage zone, endpoint's zone), and bursts (Gilbert-Elliott with nothing lost between them): each such
link is cut for 5 s on average, 1% of the time, independently of the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log
from random import Random

from steerd.core.cadence import Cadence

__all__ = ["CASES", "START_S", "Case", "Link", "lost_slots"]

START_S = 1_000_000.0
"""Wall clock at which every trace begins."""
_BURST_S = 5.0
_BURST_SHARE = 0.01
_FIRST_ZONE = 0


@dataclass(frozen=True, slots=True)
class Case:
    """`random` everywhere; `vantage` from the first vantage zone, `link` from it to the first zone; and bursts, or not."""

    name: str
    random: float = 0.0
    vantage: float = 0.0
    link: float = 0.0
    bursts: bool = False

    def loss(self, vantage: int, zone: int) -> float:
        """The part of looks that gets lost between two zones, by number."""
        kept = 1.0 - self.random
        if vantage == _FIRST_ZONE:
            kept *= 1.0 - self.vantage
            if zone == _FIRST_ZONE:
                kept *= 1.0 - self.link
        return 1.0 - kept


CASES = {
    case.name: case
    for case in (
        Case("none"),
        Case("1%", random=0.01),
        Case("5%", random=0.05),
        Case("10%", random=0.10),
        Case("20%", random=0.20),
        Case("bursts", bursts=True),
        Case("bursts+10%", random=0.10, bursts=True),
        Case("vantage", vantage=0.30, bursts=True),
        Case("link", random=0.01, link=1.0),
    )
}


class Link:
    """When the way from a vantage zone to an endpoint's zone is cut."""

    def __init__(self, case: Case, seed: str, vantage: int, zone: int, seconds: float) -> None:
        self.rate = case.loss(vantage, zone)
        self._edges: list[float] = []
        rng = Random(f"link {seed} {vantage} {zone}")
        at = START_S
        while case.bursts and at < START_S + seconds:
            at += rng.expovariate(_BURST_SHARE / (1.0 - _BURST_SHARE) / _BURST_S)
            self._edges.append(at)
            at += rng.expovariate(1.0 / _BURST_S)
            self._edges.append(at)

    def cut(self, at: float) -> bool:
        """Whether a burst covers this moment."""
        return bisect_right(self._edges, at) % 2 == 1

    def bursts(self) -> Iterator[tuple[float, float]]:
        """(begin, end) of each burst."""
        return ((a, b) for i, (a, b) in enumerate(pairwise(self._edges)) if i % 2 == 0)


def lost_slots(link: Link, cadence: Cadence, seed: str, vantage: int, endpoint: str) -> Iterator[int]:
    """The slots of a cadence whose looks get lost, from the first after `START_S` on, without end.

    Chance has no memory: the gap to the next random loss is drawn at once.
    """
    first = cadence.after(START_S)
    chance = _random_slots(link.rate, first, Random(f"looks {seed} {vantage} {endpoint}"))
    cut = _cut_slots(link, cadence, first)
    a, b = next(chance, None), next(cut, None)
    while a is not None or b is not None:
        slot = min(s for s in (a, b) if s is not None)
        yield slot
        if a == slot:
            a = next(chance, None)
        if b == slot:
            b = next(cut, None)


def _random_slots(rate: float, slot: int, rng: Random) -> Iterator[int]:
    if rate <= 0.0:
        return
    scale = log(1.0 - rate) if rate < 1.0 else None
    while True:
        if scale is not None:
            slot += int(log(1.0 - rng.random()) / scale)
        yield slot
        slot += 1


def _cut_slots(link: Link, cadence: Cadence, slot: int) -> Iterator[int]:
    for begin, end in link.bursts():
        slot = max(slot, ceil((begin - cadence.phase_s - cadence.jitter_s) / cadence.period_s))
        while cadence.time(slot) < end:
            if cadence.time(slot) >= begin:
                yield slot
            slot += 1
