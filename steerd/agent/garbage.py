"""Keeps the garbage collector from a full collection while looks are due.

What an agent makes of its config lives as long as the config: tens of objects a watch. A collection that goes through all of them
to find that nothing is garbage stops the event loop for a sixth of a second at 10 000 endpoints, at a moment nobody chose, and
every look due meanwhile is late. So it is made once, before the first look, and what is left is not gone through again.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["Garbage"]

_MANY_WATCHES: Final = 1000
"""With fewer than this a full collection is over before anybody notices, and the rest of the process is none of our business."""


class Garbage:
    """What one agent asks of the collector, which is the process's: `settle`, and `release` before what was settled goes."""

    def __init__(self) -> None:
        self._settled = False

    def settle(self, watches: int) -> None:
        """Collects now, and leaves out of later collections what is there."""
        if watches >= _MANY_WATCHES:
            gc.collect()
            gc.freeze()
            self._settled = True

    def release(self) -> None:
        """Everything is looked at again by later collections."""
        if self._settled:
            gc.unfreeze()
            self._settled = False
