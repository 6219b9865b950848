"""`steerd pin NAME SHARE`: hold a share."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.durations import SHARE
from steerd.cli.moves import for_option, reason_option, send
from steerd.cli.options import as_json, connected


@click.command("pin")
@click.argument("name")
@click.argument("share", type=SHARE)
@reason_option
@for_option("1h, at most 72h")
@as_json
@connected
def command(client: Client, name: str, share: float, *, reason: str, for_s: float | None, as_json: bool) -> None:
    """Hold the share of an endpoint, zone or region; automation does not change it until the pin expires.

    \b
    Examples:
      steerd pin eu-west-1a 10% --reason "canary" --for 2h
      steerd pin chat-euw1a-1 0.05 --reason "new driver"
    """
    send(
        client, "POST", path("pins"), {"name": name, "share": share, "reason": reason, "for_s": for_s}, as_json=as_json
    )
