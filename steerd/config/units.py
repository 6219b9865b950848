"""Durations, fractions and rates as people write them, to numbers and back without loss."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = [
    "DURATION_PATTERN",
    "FRACTION_PATTERN",
    "RATE_PATTERN",
    "format_duration",
    "format_fraction",
    "format_number",
    "parse_duration",
    "parse_fraction",
    "parse_rate",
]

_N = r"[0-9]{1,12}(?:\.[0-9]{1,30})?"
DURATION_PATTERN = rf"^(?=.)(?:{_N}d)?(?:{_N}h)?(?:{_N}m(?!s))?(?:{_N}s)?(?:{_N}ms)?$"
FRACTION_PATTERN = rf"^(?:{_N}%|[0-9]{{1,9}}/[1-9][0-9]{{0,8}}|[0-9](?:\.[0-9]{{1,40}})?|\.[0-9]{{1,40}})$"
RATE_PATTERN = rf"^{_N}/[smh]$"

_DURATION = re.compile(DURATION_PATTERN)
_FRACTION = re.compile(FRACTION_PATTERN)
_RATE = re.compile(RATE_PATTERN)
_PART = re.compile(rf"({_N})(ms|s|m|h|d)")
_UNIT_S = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}


def parse_duration(text: str) -> float:
    """Seconds of `2m30s`, `250ms`, `1h`. Raises ValueError with a hint."""
    if not _DURATION.fullmatch(text):
        bare = re.fullmatch(_N, text)
        hint = f"it has no unit: write {text}s or {text}ms" if bare else "write 250ms, 5s, 10m, 1h or 2m30s"
        raise ValueError(f"is not a duration: {hint}")
    return float(sum((Decimal(number) * _UNIT_S[unit] for number, unit in _PART.findall(text)), Decimal(0)))


def parse_fraction(text: str) -> float:
    """`80%`, `2/3` or `0.8` as 0..1. Raises ValueError with a hint."""
    if not _FRACTION.fullmatch(text):
        bare = re.fullmatch(_N, text)
        hint = f"write {text}% or 0.{text}" if bare and "." not in text else "write 80%, 2/3 or 0.8"
        raise ValueError(f"is not a fraction: {hint}")
    if text.endswith("%"):
        value = float(Decimal(text[:-1]) / 100)
    elif "/" in text:
        over, under = text.split("/")
        value = int(over) / int(under)
    else:
        value = float(text)
    if value > 1:
        raise ValueError(f"is over 1: a fraction is between 0% and 100%{_percent_hint(text)}")
    return value


def _percent_hint(text: str) -> str:
    return f"; did you mean {text}%?" if text.isdigit() else ""


def parse_rate(text: str) -> float:
    """`50/s` or `600/m` as a number per second. Raises ValueError with a hint."""
    if not _RATE.fullmatch(text):
        raise ValueError("is not a rate: write 50/s, 600/m or 100/h")
    number, unit = text.split("/")
    return float(Decimal(number) / _UNIT_S[unit])


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` turns back into exactly `seconds`."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = Decimal(repr(seconds)) / _UNIT_S[unit]
        if count == count.to_integral_value() and count >= 1:
            return f"{int(count)}{unit}"
    return f"{format_number(seconds)}s"


def format_fraction(value: float) -> str:
    """The text that `parse_fraction` turns back into exactly `value`: percent where that is short, else `2/3` or decimals."""
    percent = format_number(float(Decimal(repr(value)) * 100))
    if len(percent) <= 6 and parse_fraction(f"{percent}%") == value:
        return f"{percent}%"
    for under in range(2, 13):
        over = round(value * under)
        if over / under == value:
            return f"{over}/{under}"
    return format_number(value)


def format_number(value: float) -> str:
    """A plain decimal without exponent that reads back as the same float; integers without a point."""
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")
