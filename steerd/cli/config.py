"""`steerd config`: is this config right, what does it amount to, and what may stand in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from steerd import config
from steerd.cli.client import Client, path
from steerd.cli.moves import send
from steerd.cli.options import as_json as json_option
from steerd.cli.options import connected
from steerd.config import support
from steerd.config.render import as_data
from steerd.model.fleet import Fleet

__all__ = ["command"]


def _examples(*lines: str) -> str:
    """An epilog that click leaves as it is written."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


FILE = click.argument("file", type=click.Path(path_type=Path), envvar="STEERD_CONFIG")


@click.group(
    "config",
    epilog=_examples(
        "steerd config check steerd.yaml", "steerd config show steerd.yaml", "steerd config schema > steerd.schema.json"
    ),
)
def command() -> None:
    """Check, show or describe the configuration."""


@command.command("check", epilog=_examples("steerd config check steerd.yaml", "steerd config check --json steerd.yaml"))
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print problems, warnings and counts as JSON.")
def check(*, file: Path, as_json: bool) -> None:
    """Find every problem of FILE at once, each with its line, its column and what would be right.

    Exit code 2 when there is a problem. Warnings, and parts that this build lacks, are told and are no problems.
    """
    try:
        fleet = config.load(file)
    except config.ConfigError as error:
        if as_json:
            _print_json({"ok": False, "problems": [_problem(p) for p in error.problems]})
        else:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            count = len(error.problems)
            click.echo(f"{count} problem{'s' if count > 1 else ''}", err=True)
        sys.exit(2)
    warnings = config.warnings(fleet)
    lacks = {role: support.unbuilt(fleet, role) for role in ("agent", "coordinator")}
    if as_json:
        _print_json(
            {
                "ok": True,
                "problems": [],
                "warnings": warnings,
                "unbuilt": lacks,
                "counts": _counts(fleet),
                "config_hash": fleet.config_hash,
            }
        )
        return
    counts = ", ".join(f"{n} {what[:-1] if n == 1 else what}" for what, n in _counts(fleet).items())
    click.echo(f"ok: {counts} (config {fleet.config_hash})")
    for line in warnings:
        click.echo(f"warning: {line}")
    for role, lines in lacks.items():
        for line in lines:
            click.echo(f"this build cannot start a{'n' if role == 'agent' else ''} {role}: {line}")


@command.command("show", epilog=_examples("steerd config show steerd.yaml", "steerd config show --json steerd.yaml"))
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def show(*, file: Path, as_json: bool) -> None:
    """Print the effective config: every default filled in, secrets as references only."""
    try:
        fleet = config.load(file)
    except config.ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(2)
    if as_json:
        _print_json(as_data(fleet))
    else:
        click.echo(config.show(fleet), nl=False)


@command.command(
    "schema",
    epilog=_examples(
        "steerd config schema > steerd.schema.json",
        "# then, as the first line of a config:",
        "# yaml-language-server: $schema=./steerd.schema.json",
    ),
)
def schema() -> None:
    """Print the JSON Schema of the config, for editors to complete and check."""
    click.echo(json.dumps(config.schema(), indent=2))


def _problem(problem: config.Problem) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "column": problem.column, "text": problem.text}


def _counts(fleet: Fleet) -> dict[str, int]:
    return {
        "regions": len(fleet.regions),
        "zones": sum(len(r.zones) for r in fleet.regions),
        "agents": len(fleet.agents),
        "coordinators": len(fleet.coordinators),
        "services": len(fleet.services),
        "endpoints": sum(len(s.endpoints) for s in fleet.services),
        "routes": sum(len(s.routes) for s in fleet.services),
    }


def _print_json(data: dict[str, Any]) -> None:
    click.echo(json.dumps(data, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


@command.command("accept", epilog=_examples("steerd config accept"))
@json_option
@connected
def accept(client: Client, *, as_json: bool) -> None:
    """Let the coordinator take the config on its disk although it removes over half of a service's capacity."""
    send(client, "POST", path("config", "accept"), as_json=as_json)
