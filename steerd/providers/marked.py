"""The fence at the end of a description that belongs to people too: their words, then `[steerd v=1 ...]`. Pure."""

from __future__ import annotations

import re

from steerd.model.route import Fence

__all__ = ["fence_in", "with_fence"]

_MARK = re.compile(r"\s*\[steerd (v=1 [^\]]*)\]")


def fence_in(description: str) -> Fence | None:
    """What the description carries."""
    found = _MARK.search(description)
    return Fence.parse(found[1]) if found else None


def with_fence(description: str, fence: Fence) -> str:
    """The description with `fence` in place of the one it had."""
    return f"{_MARK.sub('', description)} [steerd {fence.text}]".strip()
