"""How far a replica is behind, in seconds of data that could be missing: right while the primary is idle, and while the
link to it is broken.

The usual formula, now minus the time of the last replayed transaction, is wrong twice: on an idle primary it grows although
nothing is missing, and a database that only compares received with replayed calls a replica with a broken link up to date.
So the look remembers when the replica was last seen whole (link up, everything received replayed): data committed since
then may be missing, data before cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReplicaState", "Replicas"]


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One look at a replica.

    `linked`: its link to the primary stands, with a sign of life no older than is usual. `behind`: it received, or knows
    of, more than it replayed. `silent_s`: since when the link has been silent, as far as the replica knows. `bound_s`: an
    upper bound of its own, such as the age of the last transaction replayed.
    """

    linked: bool
    behind: bool = False
    silent_s: float | None = None
    bound_s: float | None = None


class Replicas:
    """Keeps, per target, when the replica was last whole."""

    def __init__(self) -> None:
        self._whole: dict[str, float] = {}

    def lag_s(self, target: str, state: ReplicaState, now: float) -> float | None:
        """Seconds of data that may be missing, or None when nobody knows. `now` in seconds of a steady clock."""
        if state.linked and not state.behind:
            self._whole[target] = now
            return 0.0
        bounds = [] if state.bound_s is None else [max(0.0, state.bound_s)]
        if not state.behind and state.silent_s is not None:
            # Whole when the link was last heard of.
            bounds.append(state.silent_s)
        if target in self._whole:
            bounds.append(now - self._whole[target])
        return min(bounds) if bounds else None

    def forget(self, target: str) -> None:
        """The target is no replica now."""
        self._whole.pop(target, None)
