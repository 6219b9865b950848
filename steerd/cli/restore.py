"""`steerd restore NAME`: end a drain."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.moves import send
from steerd.cli.options import as_json, connected


@click.command("restore")
@click.argument("name")
@click.option("--now", is_flag=True, help="In one step instead of the restore ramp.")
@click.option("--force", is_flag=True, help="Even what is still down; the data gate holds.")
@click.option("--accept-data-loss", is_flag=True, help="Pass the data gate: its data may be behind.")
@as_json
@connected
def command(client: Client, name: str, *, now: bool, force: bool, accept_data_loss: bool, as_json: bool) -> None:
    """Bring a drained endpoint, zone or region back, in the steps of the restore ramp.

    Exits 3 when it is vetoed, because it is still down.

    \b
    Examples:
      steerd restore eu-west-1a
      steerd restore chat-euw1a-1 --now
    """
    asked = {"now": now, "force": force, "accept_data_loss": accept_data_loss}
    flags = "&".join(f"{flag}=true" for flag, on in asked.items() if on)
    send(client, "DELETE", path("drains", name) + (f"?{flags}" if flags else ""), as_json=as_json)
