"""`steerd agent`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from steerd.cli.daemon import config_option, serve


@click.command("agent")
@config_option
@click.option(
    "--name",
    envvar="STEERD_AGENT",
    default="",
    help="Which agent (STEERD_AGENT); not needed for one.",
)
def command(config: Path, name: str) -> None:
    """Run a probe agent: it looks at endpoints from its zone and tells every coordinator.

    It holds no cloud credentials.

    Ends on SIGTERM; reads its config again on SIGHUP and when the file changes.

    \b
    Examples:
      steerd agent --config steerd.yaml --name euw1a
      STEERD_CONFIG=steerd.yaml steerd agent
    """
    serve(config, agent=name)
