"""What a command may end with besides success: one clear message, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

__all__ = ["BadInput", "NotWell", "Vetoed"]


class NotWell(click.ClickException):
    """Something is not well: nobody answers, a daemon died."""

    exit_code = 1


class BadInput(click.ClickException):
    """The arguments or the config are wrong, and trying again will not help."""

    exit_code = 2


class Vetoed(click.ClickException):
    """A guard said no. `answer` is the coordinator's: result, text and data."""

    exit_code = 3

    def __init__(self, message: str, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.answer = answer or {}
