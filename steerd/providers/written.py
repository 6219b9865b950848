"""The fence of systems that have no place for one: what this process wrote last, per route.

It stops a writer from going back behind its own later writes, nothing more. Such providers compare before they write, read
back after, and every new leader reconciles (ha.md, fencing at the provider).
"""

from __future__ import annotations

from steerd.model.route import Fence
from steerd.providers.base import Change
from steerd.providers.errors import Conflict

__all__ = ["Written", "check_stale"]


class Written:
    """Route key -> the fence of its last write."""

    def __init__(self) -> None:
        self._fences: dict[str, Fence] = {}

    def fence(self, route: str) -> Fence | None:
        """What was written last, None before the first write."""
        return self._fences.get(route)

    def check(self, change: Change) -> None:
        """Raises `Conflict` where something newer was written already."""
        known = self._fences.get(change.route)
        if known is not None and known.newer_than(change.fence):
            raise Conflict(
                f"{change.route}: {known.text!r} was written already, which is newer than {change.fence.text!r}"
            )

    def note(self, change: Change) -> None:
        """The write was carried out."""
        self._fences[change.route] = change.fence


def check_stale(change: Change, standing: Fence | None) -> None:
    """Raises `Conflict` where a newer fence than the change's stands in the system."""
    if standing is not None and standing.newer_than(change.fence):
        raise Conflict(f"{change.route}: {standing.text!r} stands there, which is newer than {change.fence.text!r}")
