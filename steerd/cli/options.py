"""Options shared by the verbs that talk to a coordinator, and how JSON leaves them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from steerd.cli.client import Client, find

__all__ = ["as_json", "connected", "print_json"]

P = ParamSpec("P")
R = TypeVar("R")

as_json = click.option("--json", "as_json", is_flag=True, help="Print the coordinator's answer as JSON.")


def connected(function: Callable[Concatenate[Client, P], R]) -> Callable[..., R]:
    """Add --url, --token-file and --socket; call `function` with a connected client first."""

    @click.option("--url", metavar="URL", help="The coordinator's URL (default: STEERD_URL).")
    @click.option("--token-file", metavar="FILE", help="A file with the token to bring to that URL.")
    @click.option("--socket", "sock", metavar="PATH", help="The coordinator's Unix socket (default: STEERD_SOCKET).")
    @functools.wraps(function)
    def run(*args: Any, url: str | None, token_file: str | None, sock: str | None, **kwargs: Any) -> R:
        with find(url, token_file, sock) as client:
            return function(client, *args, **kwargs)

    return run


def print_json(data: bytes | Any) -> None:
    """Bytes go out as they came, except on a terminal, where JSON is indented."""
    if isinstance(data, bytes) and not sys.stdout.isatty():
        click.echo(data.decode())
        return
    value = json.loads(data) if isinstance(data, bytes) else data
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))
