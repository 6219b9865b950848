"""`steerd history`: what happened."""

from __future__ import annotations

from urllib.parse import urlencode

import click

from steerd.cli.client import Client, parsed, path
from steerd.cli.durations import MOMENT
from steerd.cli.options import as_json, connected, print_json
from steerd.cli.views.history import render
from steerd.cli.views.paint import show


@click.command("history")
@click.option("--since", type=MOMENT, help="From when on: 2h ago, or a time such as 2030-01-31T09:00.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="How many at most.")
@as_json
@connected
def command(client: Client, *, since: float | None, limit: int, as_json: bool) -> None:
    """Show what happened, who or what did it, and how long each stage took; oldest first.

    \b
    Examples:
      steerd history --since 2h
      steerd history --since 2030-01-31T09:00 --json
    """
    query: dict[str, float | int] = {"limit": limit} | ({} if since is None else {"since": since})
    data = client.raw("GET", f"{path('history')}?{urlencode(query)}")
    if as_json:
        print_json(data)
        return
    show(render(parsed(data)["events"]))
