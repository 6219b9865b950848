"""`steerd status`: the fleet at a glance."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from steerd.cli.client import Client, parsed, path
from steerd.cli.errors import NotWell
from steerd.cli.options import as_json, connected, print_json
from steerd.cli.views.paint import console, show
from steerd.cli.views.status import render, wrongs

WATCH_EVERY_S = 2.0


@click.command("status")
@click.option("--watch", is_flag=True, help="Keep showing it, until Ctrl-C.")
@click.option(
    "--all", "everything", is_flag=True, help="List every endpoint of a large fleet, not only those not healthy."
)
@as_json
@connected
def command(client: Client, *, watch: bool, everything: bool, as_json: bool) -> None:
    """Show the fleet: leader, services with their regions, zones and endpoints, routes, drains, agents.

    Exits 0 when all is well and 1 when something is not; the first line says what.

    \b
    Examples:
      steerd status
      steerd status --watch
      steerd status --json | jq .services.chat.health
    """
    if watch:
        _watch(client, everything=everything, as_json=as_json)
        return
    data = client.raw("GET", path("status"))
    status = parsed(data)
    if as_json:
        print_json(data)
    else:
        show(render(status, everything=everything))
    raise SystemExit(1 if wrongs(status) else 0)


def _watch(client: Client, *, everything: bool, as_json: bool) -> None:
    """Ask again and again. A coordinator that restarts is waited for; what it said last stays on the screen."""
    out = console()
    live = None if as_json or not out.is_terminal else Live(console=out, screen=True, auto_refresh=False)
    shown: Any = Text("")
    try:
        if live is not None:
            live.start()
        while True:
            try:
                data = client.raw("GET", path("status"))
            except NotWell as error:
                if live is None:
                    raise
                view: Any = Group(Text(f"? {error.message} What is below is old.", style="yellow"), "", shown)
            else:
                if as_json:
                    print_json(data)
                view = shown = render(parsed(data), everything=everything)
            if live is not None:
                live.update(view, refresh=True)
            elif not as_json:
                show(view)
                click.echo()
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return
    finally:
        if live is not None:
            live.stop()
