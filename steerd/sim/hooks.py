"""Activation hooks as a rehearsal runs them: nothing out there is asked, and what is wanted is there after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

__all__ = ["TAKES_S", "SimHooks"]

TAKES_S = 30.0
"""How long a hook takes: a step whose `timeout` is shorter fails."""
_BUILT = ("webhook", "command")


class SimHooks:
    """Implements `coordinator.hooks.HookRunner`. What production does not run fails here, too."""

    async def __call__(self, hook: Mapping[str, Any], _service: str, _region: str) -> tuple[bool, str]:
        kind = next((k for k in _BUILT if k in hook), None)
        if kind is None:
            return False, "this hook is not built yet: use `webhook` or `command`"
        await asyncio.sleep(TAKES_S)
        return True, f"rehearsed: the {kind} is taken to do what it is asked for within {TAKES_S:g} s"
