"""What the verbs that change something share: send the command, show the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from rich.console import Group

from steerd.cli.client import Client
from steerd.cli.durations import DURATION
from steerd.cli.errors import Vetoed
from steerd.cli.options import print_json
from steerd.cli.views.moves import impact, render
from steerd.cli.views.paint import show

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["for_option", "reason_option", "send"]


def _said(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx, param
    if not value.strip():
        raise click.BadParameter("say why: whoever looks next reads it.")
    return value


reason_option = click.option(
    "--reason", required=True, callback=_said, help="Why; recorded, and shown to whoever looks next."
)


def for_option(default: str) -> Callable[[F], F]:
    """`--for`, with the default named in its help."""
    return click.option("--for", "for_s", type=DURATION, help=f"How long, such as 90s, 30m or 2h (default: {default}).")


def send(client: Client, method: str, target: str, body: Mapping[str, Any] | None = None, *, as_json: bool) -> None:
    """Send one command; print its answer. A veto shows the impact it forbids; vetoes and bad input leave as errors."""
    said = None if body is None else {key: value for key, value in body.items() if value is not None}
    try:
        answer = client.send(method, target, said)
    except Vetoed as veto:
        if as_json:
            print_json(veto.answer)
        else:
            show(Group(*impact((veto.answer.get("data") or {}).get("preview"))))
        raise
    if as_json:
        print_json(answer)
    else:
        show(render(answer))
