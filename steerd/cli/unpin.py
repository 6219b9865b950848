"""`steerd unpin NAME`: let automation have a share again."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.moves import send
from steerd.cli.options import as_json, connected


@click.command("unpin")
@click.argument("name")
@as_json
@connected
def command(client: Client, name: str, *, as_json: bool) -> None:
    """End a pin before it expires.

    \b
    Example:
      steerd unpin eu-west-1a
    """
    send(client, "DELETE", path("pins", name), as_json=as_json)
