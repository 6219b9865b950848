"""`steerd import`: a starting config from what a traffic system serves already."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from steerd import config
from steerd.cli.errors import BadInput
from steerd.cli.imports import azure, envoy, haproxy, live, records
from steerd.cli.imports.found import Found, Names, Unreadable
from steerd.cli.imports.render import Wishes, render

__all__ = ["command"]

_RESERVED = ("main", "outside-1", "outside-2", "outside-3")


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
    "  steerd import route53 --hosted-zone Z0123456789ABC --url 'https://{address}:8443'\n"
    "  steerd import clouddns --project acme --managed-zone main\n"
    "  steerd import azure-trafficmanager --subscription ID --resource-group edge --name chat",
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


def _over_api(function: Callable[..., None]) -> Callable[..., None]:
    """What sources share that are read over their API too."""
    for option in (
        click.option("--name", metavar="NAME", help="Read this record or profile only (over the API)."),
        click.option("--endpoint-url", metavar="URL", help="Another API endpoint (private link, sovereign cloud)."),
    ):
        function = option(function)
    return function


@command.command("route53")
@_options
@_over_api
@click.option("--hosted-zone", metavar="ID", help="Read this zone over the API, or name the one that FILE is of.")
@click.option("--role", metavar="ARN", help="Role to assume first.")
def route53_verb(
    *, hosted_zone: str | None, role: str | None, name: str | None, endpoint_url: str | None, **options: Any
) -> None:
    """Weighted and plain records of a hosted zone, over the API or from a file.

    FILE is what `aws route53 list-resource-record-sets --hosted-zone-id ID` prints. The credentials are those of the SDK's own
    chain; reading takes route53:ListResourceRecordSets. Records with another routing policy (latency, geolocation, failover,
    multi-value) exclude weights: they are left out, and named in the config's comments.
    """
    _from_api_or_file(
        "route53",
        {"hosted_zone": hosted_zone},
        {"role": role, "endpoint_url": endpoint_url},
        name,
        options,
        lambda text, names: records.route53(text, names, hosted_zone),
        lambda rows: {"ResourceRecordSets": rows},
    )


@command.command("clouddns")
@_options
@_over_api
@click.option("--managed-zone", metavar="NAME", help="Read this zone over the API, or name the one that FILE is of.")
@click.option("--project", help="The project that holds it.")
def clouddns_verb(
    *, managed_zone: str | None, project: str | None, name: str | None, endpoint_url: str | None, **options: Any
) -> None:
    """Record sets of a Cloud DNS managed zone, over the API or from a file.

    FILE is what `gcloud dns record-sets list --zone Z --format json` prints. The credentials are Application Default Credentials;
    reading takes dns.resourceRecordSets.list. Geolocation and failover policies exclude weights: their records are left out,
    and named in the config's comments.
    """
    _from_api_or_file(
        "clouddns",
        {"project": project, "managed_zone": managed_zone},
        {"endpoint_url": endpoint_url},
        name,
        options,
        lambda text, names: records.clouddns(text, names, managed_zone, project),
        lambda rows: {"rrsets": rows},
    )


@command.command("azure-trafficmanager")
@_options
@_over_api
@click.option("--subscription", metavar="ID", help="Read over the API: the subscription.")
@click.option("--resource-group", metavar="NAME", help="Read over the API: the group that holds the profiles.")
def azure_verb(
    *, subscription: str | None, resource_group: str | None, name: str | None, endpoint_url: str | None, **options: Any
) -> None:
    """Traffic Manager profiles of a resource group, over the API or from a file.

    FILE is what `az network traffic-manager profile show -g GROUP -n NAME` prints. The credentials are those of Azure's default
    chain; a role on one profile only lets nobody list them: give its --name.
    """
    _from_api_or_file(
        "azure-trafficmanager",
        {"subscription": subscription, "resource_group": resource_group},
        {"endpoint_url": endpoint_url},
        name,
        options,
        azure.read,
        lambda rows: rows,
    )


def _from_api_or_file(
    kind: str,
    place: Mapping[str, str | None],
    access: Mapping[str, str | None],
    name: str | None,
    options: dict[str, Any],
    read: Callable[[str, Names], Found],
    document: Callable[[Sequence[Any]], Any],
) -> None:
    """Reads FILE, or without one what `place` (settings of the provider) says, by way of `access` (more of them). What was
    read over the API is written by the same settings."""

    def found(names: Names) -> Found:
        if options["source"] is not None:
            if given := [n for n, value in {"name": name, **access}.items() if value is not None]:
                raise BadInput(f"--{given[0].replace('_', '-')} is for reading over the API: take it or --from")
            return read(_text(options["source"], ""), names)
        if not all(place.values()):
            said = " ".join(f"--{n.replace('_', '-')} ..." for n in place)
            raise BadInput(f"say what to read: {said} (over the API), or --from FILE")
        settings = {n: value for n, value in {**place, **access}.items() if value is not None}
        rows = live.listed(kind, settings, name)
        made = read(json.dumps(document(list(rows)), default=str), names)
        return replace(made, settings={**made.settings, **settings})

    _write(found, options)


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
