"""`steerd providers`: the traffic systems steerd writes to, what each can express, and a safe round trip through one."""

from __future__ import annotations

import asyncio
import difflib
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from steerd.cli.errors import BadInput
from steerd.cli.options import print_json
from steerd.cli.parts import resolve
from steerd.cli.views.paint import grid, show
from steerd.config import ConfigError, load
from steerd.config.record_values import DNS_KINDS
from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Route
from steerd.providers import registry
from steerd.providers.base import Context, Misconfigured, Provider
from steerd.providers.scratch import MARKED, scratch_backend, scratch_record
from steerd.providers.trial import Step, not_tried, trial, write_trial

__all__ = ["command"]


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    "providers",
    invoke_without_command=True,
    epilog=_examples(
        "steerd providers",
        "steerd providers show route53",
        "steerd providers test r53 --config steerd.yaml",
        "steerd providers test r53 --config steerd.yaml --write scratch.acme.example",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Show the traffic systems that steerd can write to, and what each can express."""
    if ctx.invoked_subcommand is not None:
        return
    if as_json:
        print_json([_facts(kind) for kind in registry.KINDS.values()])
    else:
        show(_list())


@command.command("show", epilog=_examples("steerd providers show haproxy", "steerd providers show haproxy --json"))
@click.argument("kind")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_kind(*, kind: str, as_json: bool) -> None:
    """Show what providers of KIND can express, and their settings."""
    found = registry.KINDS.get(kind)
    if found is None:
        near = difflib.get_close_matches(kind, registry.KINDS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "`steerd providers` lists them."
        raise BadInput(f"No provider kind is called {kind!r}; {hint}")
    if as_json:
        print_json(_facts(found))
    else:
        show(_one(found))


@command.command(
    "test",
    epilog=_examples(
        "steerd providers test r53 --config steerd.yaml",
        "steerd providers test r53 --config steerd.yaml --write scratch.acme.example",
        "steerd providers test edge --config steerd.yaml --write scratch --servers s1,s2",
        "steerd providers test gw --config steerd.yaml --write default/scratch --servers a,b",
    ),
)
@click.argument("name")
@click.option("--config", "file", metavar="FILE", envvar="STEERD_CONFIG", required=True, help="The fleet's config.")
@click.option("--write", metavar="SCRATCH", help="Also move this record or backend, which serves nobody, out and back.")
@click.option(
    "--servers",
    metavar="A,B",
    help="The two members of the scratch backend (gcp-backend: URLs of groups).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON.")
def test(*, name: str, file: str, write: str | None, servers: str | None, as_json: bool) -> None:
    """A safe round trip through provider NAME of a config: open it, read every route, ask for rights.

    Nothing is changed without --write, and with it only SCRATCH, which must serve nobody and whose name must say `scratch`
    (a DNS name in its first label). A DNS record is made where there is none and stays, as does its fence, a TXT at
    _steerd.SCRATCH (delete both when you are done). A backend (haproxy, gateway-api, gcp-backend) or profile
    (azure-trafficmanager) must be there, with just the two members named, which end as they began (in, where both were out),
    after a failure or Ctrl-C too; where they cannot be put back, the last step says what was left. [NAMESPACE|REGION/]NAME
    tells where it is. Other kinds have nothing that could be moved harmlessly, and say why. Exit code 1 when something
    is missing.
    """
    fleet = _fleet(file)
    spec = fleet.provider_by_name.get(name)
    if spec is None:
        known = ", ".join(sorted(fleet.provider_by_name)) or "none"
        raise BadInput(f"{file} has no provider {name!r}; it has: {known}")
    routes = [route for route in fleet.route_by_key.values() if route.provider == name]
    scratch = _scratch(spec, fleet, write, servers) if write is not None else None
    try:
        provider = registry.build(Context(fleet, spec, resolve))
    except Misconfigured as error:
        raise BadInput(f"{error.text}: {error.action}" if error.action else error.text) from error
    unmoved = spec.kind if write is not None and scratch is None else None
    steps: list[Step] = []
    try:
        asyncio.run(_trial(provider, routes, scratch, fleet.name, unmoved, steps, quiet=as_json))
    finally:
        if as_json:  # of a trial that was stopped too: the last step says what was left
            print_json([_step_facts(step) for step in steps])
    sys.exit(0 if all(step.ok for step in steps) else 1)


def _fleet(file: str) -> Fleet:
    try:
        return load(Path(file))
    except ConfigError as error:
        raise BadInput("\n".join(str(problem) for problem in error.problems)) from error
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from error


def _scratch(spec: ProviderSpec, fleet: Fleet, write: str, servers: str | None) -> Route | None:
    """The scratch route; None where nothing of the kind may be moved. Refuses a name that any route of the fleet writes, by
    whichever provider."""
    dns = spec.kind in DNS_KINDS
    if not dns and spec.kind not in MARKED:
        return None
    own = write.rstrip(".").lower() if dns else write.rpartition("/")[2]
    taken = [route for route in fleet.route_by_key.values() if route.name.rstrip(".").lower() == own.lower()]
    if taken:
        raise BadInput(f"{own!r} is a route of service {taken[0].service!r}: name one that serves nobody")
    names = [part.strip() for part in (servers or "").split(",") if part.strip()]
    if dns and servers:
        raise BadInput("--servers is for load balancers: a scratch record serves addresses kept for documentation")
    try:
        if dns:
            return scratch_record(spec.name, own)
        return scratch_backend(spec.name, spec.kind, write, names)
    except ValueError as error:
        raise BadInput(str(error)) from error


async def _trial(
    provider: Provider,
    routes: list[Route],
    scratch: Route | None,
    fleet: str,
    unmoved: str | None,
    steps: list[Step],
    *,
    quiet: bool,
) -> None:
    """Adds to `steps`. `unmoved` is the kind, where a write was asked for that is never made."""

    def told(step: Step) -> None:
        steps.append(step)
        if not quiet:
            show(_line(step))

    try:
        async for step in trial(provider, routes, fleet):
            told(step)
        if unmoved is not None:
            told(not_tried(unmoved, steps))
        if scratch is not None and steps and all(step.ok for step in steps):
            await write_trial(provider, scratch, fleet, told)
    finally:
        await provider.close()


def _line(step: Step) -> RenderableType:
    took = f"  ({step.took_s * 1000:.0f} ms)" if step.took_s else ""
    line = Text.assemble(
        ("✓ " if step.ok else "✗ ", "green" if step.ok else "bold red"), (step.what, "bold"), f"  {step.text}{took}"
    )
    if step.action:
        line.append(f"\n  → {step.action}")
    return line


def _step_facts(step: Step) -> dict[str, Any]:
    return {
        "step": step.what,
        "ok": step.ok,
        "text": step.text,
        "action": step.action or None,
        "took_s": round(step.took_s, 4),
    }


def _weights(caps: Capabilities) -> str:
    if caps.membership:
        return "in or out"
    return f"{0 if caps.zero else 1} to {caps.weight_max}" + ("" if caps.zero else ", 0 = taken out")


def _fence(caps: Capabilities) -> str:
    return "refuses a stale write" if caps.compare_and_set else caps.fence_note or "read back"


def _facts(kind: Kind) -> dict[str, Any]:
    caps = registry.CAPABILITIES[kind.name]
    return {
        "kind": kind.name,
        "help": kind.help,
        "usable": registry.missing(kind) is None,
        "missing": registry.missing(kind),
        "extra": kind.extra,
        "capabilities": {
            "membership": caps.membership,
            "weight_max": caps.weight_max,
            "zero": caps.zero,
            "minimum": caps.minimum,
            "atomic": caps.atomic,
            "compare_and_set": caps.compare_and_set,
            "ttl": caps.ttl,
            "dns": caps.dns,
            "volatile": caps.volatile,
            "rate_per_s": caps.rate_per_s or None,
            "fence_note": caps.fence_note or None,
        },
        "rights": {on: list(rights) for on, rights in registry.RIGHTS.get(kind.name, {}).items()},
        "settings": [
            {"name": s.name, "type": s.type, "help": s.help, "default": s.default, "required": s.required}
            for s in kind.settings
        ],
    }


def _list() -> RenderableType:
    table = grid("kind", "weights", "fence", "what it is")
    for kind in sorted(registry.KINDS.values(), key=lambda k: (registry.missing(k) is not None, k.name)):
        lacking = registry.missing(kind)
        caps = registry.CAPABILITIES[kind.name]
        words = Text(kind.help)
        if lacking is not None:
            words.append(f"\n{lacking.removeprefix(f'provider kind {kind.name!r} ')}", style="yellow")
        table.add_row(Text(kind.name, style="bold" if lacking is None else "dim"), _weights(caps), _short(caps), words)
    return table


def _short(caps: Capabilities) -> str:
    return "compare-and-set" if caps.compare_and_set else "read back"


def _one(kind: Kind) -> RenderableType:
    caps = registry.CAPABILITIES[kind.name]
    rows = grid("", "")
    rows.show_header = False
    rows.add_row("weights", _weights(caps))
    rows.add_row("fence", _fence(caps))
    rows.add_row(
        "writes", "all targets at once" if caps.atomic else "one target after the other, added before taken out"
    )
    if caps.ttl:
        rows.add_row("TTL", "is the route's")
    if caps.volatile:
        rows.add_row("forgets", "what was written, when it restarts: steerd writes it again")
    for on, rights in registry.RIGHTS.get(kind.name, {}).items():
        rows.add_row(f"rights on {on}", ", ".join(rights))
    if caps.rate_per_s:
        rows.add_row("calls", f"at most {caps.rate_per_s:g} per second and account")
    parts: list[RenderableType] = [Text.assemble((kind.name, "bold"), f"   {kind.help}"), Padding(rows, (0, 0, 0, 2))]
    if lacking := registry.missing(kind):
        parts.append(Text(lacking, style="yellow"))
    if kind.settings:
        table = grid("setting", "type", "default", "what it is")
        for s in kind.settings:
            default = "required" if s.required else "" if s.default is None else f"{s.default}"
            table.add_row(Text(s.name, style="bold"), s.type, default, s.help)
        parts += ["", Padding(table, (0, 0, 0, 2))]
    return Group(*parts)
