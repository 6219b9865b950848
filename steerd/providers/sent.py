"""Changes that a system takes at once and carries out later: what this process sent last, per route, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from steerd.model.route import Fence
from steerd.providers.base import Change, Receipt

__all__ = ["Sent"]

LAST_READ_S = 1.5
"""Of a verification's time, kept for reading back."""


class Sent:
    """Route key -> the fence and the change id of the last change sent. `done` is the word for one that is carried out, `gap_s` the
    time between two looks."""

    def __init__(self, done: str, gap_s: float) -> None:
        self._done, self._gap_s = done, gap_s
        self._last: dict[str, tuple[Fence, str]] = {}

    def note(self, change: Change, change_id: str) -> Receipt:
        """The system took it."""
        self._last[change.route] = change.fence, change_id
        return Receipt(change.route, f"change {change_id}")

    async def pending(self, change: Change, deadline: float, status: Callable[[str], Awaitable[str | None]]) -> str:
        """Waits until our change is carried out, as long as there is time; what is to be said when it is not. `status` asks by
        change id, and answers None for one the system has forgotten: that is long done, and what stands is read back."""
        fence, change_id = self._last.get(change.route, (None, ""))
        if fence != change.fence:
            return ""  # nothing of ours is on its way
        while (said := await status(change_id)) not in (None, self._done):
            if asyncio.get_running_loop().time() + self._gap_s + LAST_READ_S > deadline:
                return f"change {change_id} is still {said}"
            await asyncio.sleep(self._gap_s)
        self._last.pop(change.route, None)
        return ""
