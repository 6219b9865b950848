"""Durations as people write them: `250ms`, `5s`, `10m`, `1h`, `2m30s`."""

from __future__ import annotations

import re

__all__ = ["duration_s"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration_s(text: str | float) -> float:
    """Seconds. Numbers are taken as seconds. Raises ValueError naming the forms that are accepted."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    value = str(text).strip()
    total, end = 0.0, 0
    for part in _PART.finditer(value):
        if part.start() != end:
            break
        total += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    if not value or end != len(value):
        raise ValueError(f"{text!r} is not a duration: write it as 250ms, 5s, 10m, 1h or 2m30s")
    return total
