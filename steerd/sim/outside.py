"""What coordinators ask of the world beside stores and providers: in a rehearsal nothing out there is asked.

What an activation hook wants is there after a while. Nobody measures demand: a scenario says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

from steerd.coordinator.demand import AskError

__all__ = ["TAKES_S", "SimHooks", "unmeasured"]

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


async def unmeasured(url: str, query: str) -> NoReturn:
    """Implements `coordinator.demand.Ask`."""
    del url, query
    raise AskError("a rehearsal measures nothing; say it by a `demand` fault")
