"""Which names a resolver answered for last: what tells a broken name from a broken resolver."""

from __future__ import annotations

import socket
import time

__all__ = ["NameStanding", "NameTroubleError"]

_MOST = 64
"""Names remembered; the ones answered for last."""


class NameTroubleError(socket.gaierror):
    """This name does not resolve while others do: nothing is wrong with this host."""


class NameStanding:
    """Names that were answered for, with or without an address, and when."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def answered(self, name: str) -> None:
        """The resolver said something of `name`."""
        self._at.pop(name, None)
        while len(self._at) >= _MOST:
            del self._at[next(iter(self._at))]
        self._at[name] = time.monotonic()

    def others(self, name: str) -> tuple[tuple[str, float], ...]:
        """The names but `name` that were answered for, the last first, and when (monotonic seconds)."""
        return tuple((one, at) for one, at in reversed(self._at.items()) if one != name)

    def clear(self) -> None:
        """The resolver answers for nobody."""
        self._at.clear()
