"""`steerd unfreeze`: let automation move again."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.moves import send
from steerd.cli.options import as_json, connected


@click.command("unfreeze")
@as_json
@connected
def command(client: Client, *, as_json: bool) -> None:
    """End a freeze: automation moves again.

    \b
    Example:
      steerd unfreeze
    """
    send(client, "DELETE", path("freeze"), as_json=as_json)
