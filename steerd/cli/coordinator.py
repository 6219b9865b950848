"""`steerd coordinator`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from steerd.cli.daemon import config_option, serve


@click.command("coordinator")
@config_option
@click.option(
    "--name",
    envvar="STEERD_COORDINATOR",
    default="",
    help="Which coordinator (STEERD_COORDINATOR); not needed for one.",
)
def command(config: Path, name: str) -> None:
    """Run a coordinator: it hears the agents, decides by quorum, and writes to the traffic systems.

    SIGTERM hands the lead over and ends; SIGHUP or a changed file reloads the config, and a bad one changes nothing.

    \b
    Examples:
      steerd coordinator --config steerd.yaml --name euw1
      STEERD_CONFIG=steerd.yaml steerd coordinator
    """
    serve(config, coordinator=name)
