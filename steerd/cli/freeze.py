"""`steerd freeze`: stop all automatic moves."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.moves import for_option, reason_option, send
from steerd.cli.options import as_json, connected


@click.command("freeze")
@reason_option
@for_option("until `steerd unfreeze`")
@as_json
@connected
def command(client: Client, *, reason: str, for_s: float | None, as_json: bool) -> None:
    """Stop all automatic moves, of dead endpoints too; operators can still move traffic.

    \b
    Example:
      steerd freeze --reason "provider maintenance" --for 2h
    """
    send(client, "POST", path("freeze"), {"reason": reason, "for_s": for_s}, as_json=as_json)
