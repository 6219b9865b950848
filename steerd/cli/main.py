"""`steerd`: finds the verb's own file and runs its `command`. Nothing is imported for a verb that is not asked for.

Exit codes: 0 well, 1 something is not well, 2 bad input (arguments, config), 3 a guard vetoed it.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from typing import Any

import click

__all__ = ["GROUPS", "VERBS", "cli", "main"]

GROUPS: dict[str, dict[str, str]] = {
    "Look": {
        "status": "the fleet at a glance",
        "explain": "why a zone, region, endpoint or service stands as it does",
        "plan": "what would be written now, route by route",
        "history": "what happened, and who or what did it",
        "probe": "run an endpoint's checks once from here",
        "stacks": "serving stacks known, and what each checks",
        "providers": "traffic systems steerd writes to; `providers test` tries one out",
        "simulate": "rehearse faults in virtual time, before they happen",
    },
    "Move": {
        "drain": "take an endpoint, zone or region out of service",
        "restore": "bring a drained one back",
        "pin": "hold a share where it is put",
        "unpin": "let automation have it again",
        "freeze": "stop all automatic moves",
        "unfreeze": "let automation move again",
    },
    "Run": {
        "demo": "a whole small world on this machine; breaks a zone and shows traffic leave and return",
        "run": "agent and coordinator in one process",
        "agent": "a probe agent",
        "coordinator": "a coordinator",
        "config": "check, show or describe the configuration",
        "import": "a starting config from what HAProxy, Envoy or a DNS service serves already",
        "version": "which version this is",
    },
}
"""Heading -> verb -> what it does, in the order of `--help`."""

VERBS: dict[str, str] = {verb: verb for verbs in GROUPS.values() for verb in verbs} | {"import": "import_verb"}
"""Verb -> module in `steerd.cli` that holds its `command`."""


class Verbs(click.Group):
    """A group whose commands are imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, imported now; None for a word that is no verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"steerd.cli.{VERBS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest verb when the one given is unknown."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else " `steerd --help` lists the verbs."
            raise click.UsageError(f"No verb is called {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Verbs under their headings."""
        del ctx
        for heading, verbs in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(list(verbs.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`steerd VERB --help` shows options and an example. "
    "Exit codes: 0 well, 1 something is not, 2 bad input, 3 vetoed.",
)
def cli() -> None:
    """Health checks and global traffic steering for AI model endpoints."""


def main(args: list[str] | None = None) -> Any:
    """The `steerd` program."""
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a sign gets a `?` for it and not a traceback.
        sys.stdout.reconfigure(errors="replace")
    return cli.main(args=args, prog_name="steerd")
