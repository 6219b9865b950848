"""`steerd plan`: what would be written now."""

from __future__ import annotations

import click

from steerd.cli.client import Client, parsed, path
from steerd.cli.options import as_json, connected, print_json
from steerd.cli.views.paint import show
from steerd.cli.views.plan import render


@click.command("plan")
@as_json
@connected
def command(client: Client, *, as_json: bool) -> None:
    """Show what would be written now, as a difference per route, with the guards that stop a move.

    \b
    Examples:
      steerd plan
      steerd plan --json
    """
    data = client.raw("GET", path("plan"))
    if as_json:
        print_json(data)
        return
    show(render(parsed(data)))
