"""`steerd explain NAME`: why it stands as it does."""

from __future__ import annotations

import click

from steerd.cli.client import Client, parsed, path
from steerd.cli.options import as_json, connected, print_json
from steerd.cli.views.explain import render
from steerd.cli.views.paint import show


@click.command("explain")
@click.argument("name")
@as_json
@connected
def command(client: Client, name: str, *, as_json: bool) -> None:
    """Show why a zone, region, endpoint or service stands as it does: voices, reasons, diagnosis, guards, moves.

    \b
    Examples:
      steerd explain eu-west-1a
      steerd explain chat-euw1a-1 --json
    """
    data = client.raw("GET", path("explain", name))
    if as_json:
        print_json(data)
        return
    show(render(parsed(data)))
