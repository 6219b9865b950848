"""Waiting for a condition with a deadline, in place of sleeping for a while and hoping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["until", "until_sync"]

GAP_S = 0.01


async def until(cond: Callable[[], object], within_s: float = 5.0) -> None:
    """Return once `cond()` is true; AssertionError when it is not within `within_s` of the loop's time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not cond():
        assert loop.time() < end, f"not so within {within_s:g} s"
        await asyncio.sleep(GAP_S)


def until_sync(cond: Callable[[], object], within_s: float = 5.0) -> None:
    """The same without a loop."""
    end = time.monotonic() + within_s
    while not cond():
        assert time.monotonic() < end, f"not so within {within_s:g} s"
        time.sleep(GAP_S)
