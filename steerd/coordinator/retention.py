"""Which decisions may be forgotten. Pure.

Never the desired one of a route (its newest), never the applied one (its newest with a receipt), never one in flight: a
restart must find what was meant and what stands (invariant 11 of decisions.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = ["Kept", "removable"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One stored decision: its id "epoch.seq", its routes, those with a receipt, and its size in bytes."""

    id: str
    routes: frozenset[str]
    receipts: frozenset[str]
    size: int


def removable(decisions: Sequence[Kept], in_flight: Collection[str], most: int, most_bytes: int) -> list[str]:
    """Ids of `decisions` (both oldest first) to delete: beyond the newest `most` or `most_bytes`, and not needed."""
    needed = set(in_flight)
    desired: set[str] = set()
    applied: set[str] = set()
    over: list[str] = []
    size = 0
    for count, kept in enumerate(reversed(decisions), start=1):
        if kept.routes - desired or kept.receipts - applied:
            needed.add(kept.id)
        desired |= kept.routes
        applied |= kept.receipts
        size += kept.size
        if count > most or size > most_bytes:
            over.append(kept.id)
    return [i for i in reversed(over) if i not in needed]
