"""`steerd drain NAME`: take it out of service."""

from __future__ import annotations

import click

from steerd.cli.client import Client, path
from steerd.cli.moves import for_option, reason_option, send
from steerd.cli.options import as_json, connected


@click.command("drain")
@click.argument("name")
@reason_option
@for_option("4h, at most 72h")
@click.option("--now", is_flag=True, help="In one step instead of a ramp; guards still hold.")
@click.option("--force", is_flag=True, help="Pass every guard except never-empty, residency and data.")
@click.option(
    "--accept-data-loss",
    is_flag=True,
    help="Pass the data gate, which --force does not: the data of the region that takes over may be behind.",
)
@as_json
@connected
def command(
    client: Client,
    name: str,
    *,
    reason: str,
    for_s: float | None,
    now: bool,
    force: bool,
    accept_data_loss: bool,
    as_json: bool,
) -> None:
    """Drain an endpoint, zone or region, and show who receives its traffic.

    Exits 3 when a guard vetoes it.

    \b
    Examples:
      steerd drain eu-west-1a --reason "kernel update" --for 1h
      steerd drain chat-euw1a-1 --reason "bad answers" --now
      steerd drain eu-west-1 --reason "region lost" --now --accept-data-loss
    """
    body = {"name": name, "reason": reason, "for_s": for_s, "now": now, "force": force}
    if accept_data_loss:
        body["accept_data_loss"] = True
    send(client, "POST", path("drains"), body, as_json=as_json)
