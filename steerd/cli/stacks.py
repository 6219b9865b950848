"""`steerd stacks`: serving stacks known, and what each checks and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from probes import stacks
from probes.registry import KINDS
from probes.stacks import Stack, StackCheck
from steerd.cli.errors import BadInput
from steerd.cli.options import print_json
from steerd.cli.views.paint import grid, show
from steerd.config import ConfigError, load

__all__ = ["command", "configured"]


@click.command("stacks")
@click.argument("name", required=False)
@click.option("--config", "config", metavar="FILE", envvar="STEERD_CONFIG", help="Also the stacks of this config.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(name: str | None, *, config: str | None, as_json: bool) -> None:
    """Show the serving stacks known, or what the stack NAME checks and why.

    A config may bring its own, or change one of these: `stacks: {mine: {extends: vllm, checks: ...}}`.

    \b
    Examples:
      steerd stacks
      steerd stacks vllm
      steerd stacks vllm --json
      steerd stacks mine --config steerd.yaml
    """
    own = configured(config)
    known = sorted({*stacks.names(), *own})
    if name is None:
        found = [stacks.own(own, one) for one in known]
        if as_json:
            print_json([_facts(one) for one in found])
        else:
            show(_list(found))
        return
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "`steerd stacks` lists them."
        raise BadInput(f"No stack is called {name!r}; {hint}")
    stack = stacks.own(own, name)
    if as_json:
        print_json(_facts(stack))
    else:
        show(_one(stack))


def configured(config: str | None) -> Mapping[str, Any]:
    """The stacks that a config file brings, by name; none without a file."""
    if config is None:
        return {}
    try:
        return load(Path(config)).stacks
    except ConfigError as error:
        raise BadInput("\n".join(str(problem) for problem in error.problems)) from error
    except OSError as error:
        raise BadInput(f"{config}: {error.strerror or error}") from error


def _checked(check: StackCheck) -> bool:
    return KINDS[check.kind].built


def _facts(stack: Stack) -> dict[str, Any]:
    return {
        "name": stack.name,
        "help": stack.help,
        "notes": list(stack.notes),
        "checks": [
            {
                "name": check.name,
                "layer": check.layer,
                "kind": check.kind,
                "built": _checked(check),
                "interval_s": check.interval_s,
                "timeout_s": check.timeout_s,
                "settings": dict(check.settings),
                "optional": check.optional,
                "why": check.why,
            }
            for check in stack.checks
        ],
    }


def _list(found: list[Stack]) -> RenderableType:
    table = grid("stack", "checks", "what it is")
    for stack in found:
        checks = ", ".join(f"({c.name})" if c.optional else c.name for c in stack.checks if _checked(c))
        table.add_row(Text(stack.name, style="bold"), checks, stack.help)
    return table


def _one(stack: Stack) -> RenderableType:
    parts: list[RenderableType] = [Text.assemble((stack.name, "bold"), f"   {stack.help}")]
    for check in stack.checks:
        head = Text.assemble("\n", (check.name, "bold"), f"   {check.layer}, kind {check.kind}{_pace(check)}")
        if not _checked(check):
            head.append(f"   left out: {KINDS[check.kind].help}", style="yellow")
        parts.append(head)
        if check.optional:
            text = f"optional: `checks: {{{check.name}: {{}}}}` switches it on"
            parts.append(Padding(Text(text, style="yellow"), (0, 0, 0, 2)))
        parts += [Padding(Text(check.why), (0, 0, 0, 2))]
        parts += [Padding(Text(line, style="dim"), (0, 0, 0, 2)) for line in _settings(check.settings)]
    if stack.notes:
        parts.append(Text("\nnotes", style="dim"))
        parts += [Padding(Text(note), (0, 0, 0, 2)) for note in stack.notes]
    return Group(*parts)


def _pace(check: StackCheck) -> str:
    every = "" if check.interval_s is None else f", every {check.interval_s:g} s"
    return every + ("" if check.timeout_s is None else f", within {check.timeout_s:g} s")


def _settings(settings: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in settings.items():
        if name == "prompts":
            lines += [f"asks: {prompt['ask']}   expects: {prompt.get('expect', 'anything')}" for prompt in value]
        elif isinstance(value, Mapping):
            lines.append(f"{name}: " + ", ".join(f"{key} {item}" for key, item in value.items()))
        elif isinstance(value, list):
            lines.append(f"{name}: " + ", ".join(str(item) for item in value))
        else:
            lines.append(f"{name}: {value}")
    return lines
