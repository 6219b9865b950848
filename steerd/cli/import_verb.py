"""`steerd import`: a starting config from what a traffic system serves already."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from steerd import config
from steerd.cli.errors import BadInput, NotWell
from steerd.cli.imports import azure, envoy, haproxy, records
from steerd.cli.imports.found import Found, Names, Unreadable
from steerd.cli.imports.render import Wishes, render

__all__ = ["command"]

_RESERVED = ("main", "outside-1", "outside-2", "outside-3")


def _route53_live(zone: str) -> str:
    """Every record set of a hosted zone, by the AWS SDK's own credential chain."""
    try:
        live = import_module("steerd.cli.imports.route53_live")
    except ModuleNotFoundError as error:
        hint = "install steerd with its 'aws' extra, or use --from FILE"
        raise BadInput(f"reading Route 53 needs {error.name}: {hint}") from error
    try:
        return json.dumps({"ResourceRecordSets": live.record_sets(zone)}, default=str)
    except live.ERRORS as error:
        hint = "check the credentials (`aws sts get-caller-identity`) and the zone's id"
        raise NotWell(f"Route 53: {error}\n→ {hint}") from error


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """What every source shares."""
    for option in reversed(
        [
            click.option("--from", "source", metavar="FILE", help="Where to read; - for standard input."),
            click.option(
                "--output", "-o", metavar="FILE", help="Where to write the config (default: standard output)."
            ),
            click.option("--fleet", default="imported", show_default=True, help="The fleet's name."),
            click.option(
                "--region", default="region-1", show_default=True, help="Region of what does not tell its own."
            ),
            click.option("--zone", help="Zone of what does not tell its own (default: REGION-a)."),
            click.option("--stack", default="http", show_default=True, help="What serves there: `steerd stacks`."),
            click.option("--model", metavar="ID", help="The model it serves, for stacks that ask for it."),
            click.option("--url", metavar="PATTERN", help="Where agents look, with {address} or {name} in it."),
        ]
    ):
        function = option(function)
    return function


@click.group(
    "import",
    epilog="\b\nExamples:\n"
    "  steerd import haproxy --from /etc/haproxy/haproxy.cfg -o steerd.yaml\n"
    "  curl -s localhost:9901/config_dump?include_eds | steerd import envoy --from -\n"
    "  steerd import route53 --hosted-zone Z0123456789ABC --url 'https://{address}:8443'",
)
def command() -> None:
    """Write a starting config from what a traffic system serves already.

    The config is in `observe` mode: everything is decided, shown and recorded, and nothing is written.
    """


@command.command("haproxy")
@_options
def haproxy_verb(**options: Any) -> None:
    """Backends and servers of a haproxy.cfg."""
    _write(lambda names: haproxy.read(_text(options["source"], "haproxy.cfg"), names), options)


@command.command("envoy")
@_options
def envoy_verb(**options: Any) -> None:
    """Clusters of an Envoy bootstrap, or of the admin interface's /config_dump?include_eds."""
    _write(lambda names: envoy.read(_text(options["source"], "the bootstrap or dump"), names), options)


@command.command("route53")
@_options
@click.option("--hosted-zone", metavar="ID", help="Read this zone by the AWS SDK, or name the one that FILE is of.")
def route53_verb(*, hosted_zone: str | None, **options: Any) -> None:
    """Weighted, latency and multi-value records of a hosted zone.

    FILE is what `aws route53 list-resource-record-sets --hosted-zone-id ID` prints.
    """

    def read(names: Names) -> Found:
        if options["source"] is None and hosted_zone is None:
            raise BadInput("say what to read: --hosted-zone ID, or --from FILE")
        text = _route53_live(hosted_zone or "") if options["source"] is None else _text(options["source"], "")
        return records.route53(text, names, hosted_zone)

    _write(read, options)


@command.command("clouddns")
@_options
@click.option("--managed-zone", metavar="NAME", help="The managed zone that FILE is of.")
@click.option("--project", help="The project that holds it.")
def clouddns_verb(*, managed_zone: str | None, project: str | None, **options: Any) -> None:
    """Record sets of a Cloud DNS zone: what `gcloud dns record-sets list --zone Z --format json` prints."""
    _write(lambda names: records.clouddns(_text(options["source"], "the list"), names, managed_zone, project), options)


@command.command("azure-trafficmanager")
@_options
def azure_verb(**options: Any) -> None:
    """A Traffic Manager profile: what `az network traffic-manager profile show -g GROUP -n NAME` prints."""
    _write(lambda names: azure.read(_text(options["source"], "the profile"), names), options)


def _text(source: str | None, what: str) -> str:
    if source is None:
        raise BadInput(f"say where {what or 'it'} is: --from FILE, or --from - for standard input")
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{source}: {getattr(error, 'strerror', None) or error}") from error


def _write(read: Callable[[Names], Found], options: dict[str, Any]) -> None:
    names = Names()
    names.reserve(_RESERVED)
    names.reserve(name for name in (options["region"], options["zone"]) if name)
    try:
        found = read(names)
    except Unreadable as error:
        raise BadInput(f"{options['source'] or 'the answer'}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        what = f"something in it is not as expected ({type(error).__name__}: {error})"
        raise BadInput(
            f"{options['source'] or 'the answer'}: {what}; `steerd import KIND --help` says what to give"
        ) from error
    wishes = Wishes(
        options["fleet"], options["region"], options["zone"], options["stack"], options["url"], options["model"]
    )
    text = render(found, wishes)
    try:
        config.parse(text, "the config", Path.cwd())
    except config.ConfigError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        click.echo(f"what was made is not a whole config yet; mend this by hand:\n{problems}", err=True)
    _put(text, options["output"])
    if options["output"]:
        count = sum(len(service.endpoints) for service in found.services)
        click.echo(
            f"{options['output']}: {count} endpoints of {len(found.services)} services, in observe mode", err=True
        )
        click.echo(f"next: steerd config check {options['output']}", err=True)


def _put(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    path = Path(output)
    if path.exists():
        raise BadInput(f"{output} is there already: name another file, or move that one away")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror or error}") from error
