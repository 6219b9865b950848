"""When a look must use a new connection, and which question comes next: a little memory per target."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Turn", "Turns"]


@dataclass(slots=True)
class Turn:
    """One target's looks so far, and whether the next needs a new connection whatever its number."""

    looks: int = 0
    renew: bool = False


class Turns:
    """Counts looks per target.

    A kept-alive connection hides a full accept queue, an expired certificate and changed DNS, so every `fresh_every`-th
    look gets a new one. After a look that did not pass, every look does until one passes: otherwise a pooled connection
    that still works would call the endpoint well again between two confirms that say it is not.
    """

    def __init__(self, fresh_every: int) -> None:
        self._fresh_every = max(1, fresh_every)
        self._turns: dict[str, Turn] = {}

    @property
    def fresh_every(self) -> int:
        """Every how many looks a connection is new."""
        return self._fresh_every

    def of(self, target: str) -> Turn:
        """The turn of a target, for who takes it by hand."""
        return self._turns.setdefault(target, Turn())

    def next(self, target: str) -> tuple[int, bool]:
        """The number of this look at the target, from 0, and whether it needs a new connection."""
        turn = self.of(target)
        number = turn.looks
        turn.looks += 1
        return number, turn.renew or turn.looks % self._fresh_every == 0

    def forget(self, target: str) -> None:
        """The target is gone."""
        self._turns.pop(target, None)

    def ended(self, target: str, *, well: bool) -> None:
        """Tell how the look went."""
        self.of(target).renew = not well
