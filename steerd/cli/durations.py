"""Durations on the command line: `90s`, `2h`, `1h30m`; and moments: a duration ago, or a time."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DURATION", "MOMENT", "SHARE", "Duration", "Moment", "Share", "ago", "seconds"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(text: str) -> float:
    """The seconds in `1h30m`. Raises ValueError with what would be right."""
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 1h or 1h30m")
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if total <= 0:
        raise ValueError("a duration must be longer than 0")
    return total


def ago(span_s: float) -> str:
    """A span of time in few characters, the largest unit that fits: `45s`, `12m`, `3h`, `4d`."""
    span_s = max(0.0, span_s)
    for limit, unit, size in ((90, "s", 1), (5400, "m", 60), (172800, "h", 3600)):
        if span_s < limit:
            return f"{round(span_s / size)}{unit}"
    return f"{round(span_s / 86400)}d"


class Duration(click.ParamType[float]):
    """A click parameter that becomes seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value` in seconds; a usage error when it is no duration."""
        if isinstance(value, float):
            return value
        return _convert(self, seconds, value, param, ctx)


class Share(click.ParamType[float]):
    """A click parameter that becomes a share, 0..1: `25%` or `0.25`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value` as a fraction; a usage error when it is none."""
        if isinstance(value, float):
            return value
        return _convert(self, _share, value, param, ctx)


class Moment(click.ParamType[float]):
    """A click parameter for a time in the past: a duration ago, or an ISO 8601 time."""

    name = "duration|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value` as seconds of the epoch."""
        if isinstance(value, float):
            return value
        return _convert(self, _moment, value, param, ctx)


def _convert(
    kind: click.ParamType[float],
    parse: Callable[[str], float],
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> float:
    try:
        return parse(str(value))
    except ValueError as error:
        kind.fail(f"{error}.", param, ctx)


def _share(text: str) -> float:
    wanted = f"{text!r} is no share; write 25% or 0.25"
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(wanted) from None
    if not 0 <= value <= 1:
        raise ValueError(wanted)
    return value


def _moment(text: str) -> float:
    if _WHOLE.fullmatch(text.strip()):
        return datetime.now().astimezone().timestamp() - seconds(text)
    try:
        # A time without an offset is the operator's own.
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is neither a duration (2h) nor a time (2030-01-31T09:00)") from None


DURATION = Duration()
SHARE = Share()
MOMENT = Moment()
