"""`steerd run`: agent and coordinator in one process."""

from __future__ import annotations

from pathlib import Path

import click

from steerd.cli.daemon import config_option, serve


@click.command("run")
@config_option
@click.option("--agent", envvar="STEERD_AGENT", default="", help="Which agent (STEERD_AGENT); not needed for one.")
@click.option(
    "--coordinator", envvar="STEERD_COORDINATOR", default="", help="Which coordinator (STEERD_COORDINATOR); the same."
)
def command(config: Path, agent: str, coordinator: str) -> None:
    """Run an agent and a coordinator in one process: what is deployed once per region.

    The agent reaches its own coordinator as it reaches the others: by the `url` in the config.

    \b
    Examples:
      steerd run --config steerd.yaml
      steerd run --config steerd.yaml --agent euw1a --coordinator euw1
    """
    serve(config, agent=agent, coordinator=coordinator)
