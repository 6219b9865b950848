"""Loopback addresses by number: all of 127/8 answers on this host."""

from __future__ import annotations

__all__ = ["address"]


def address(number: int) -> str:
    """127.1.0.1, 127.1.1.1, ... one for each number below 60 000."""
    return f"127.{1 + number // 250}.{number % 250}.1"
