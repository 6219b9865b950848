"""`steerd version`: which version this is, and what it was put together from."""

from __future__ import annotations

import json
import platform
import re
import ssl
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from steerd import __version__

__all__ = ["command", "facts"]

_EXTRA = re.compile(r"""^([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*["']([^"']+)["']""")


def facts() -> dict[str, Any]:
    """The facts of this build, ready for JSON. `extras` tells of each optional part whether its packages are there."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "openssl": ssl.OPENSSL_VERSION,
        "event_loop": "uvloop" if _installed("uvloop") else "asyncio",
        "installed": _how(),
        "extras": _extras(),
    }


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _how() -> str:
    """checkout, package, or uninstalled (run from a folder that is on the path by itself)."""
    try:
        origin = metadata.distribution("steerd").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return "uninstalled"
    editable = bool(origin) and json.loads(origin or "{}").get("dir_info", {}).get("editable", False)
    return f"checkout {Path(__file__).parents[2]}" if editable else "package"


def _extras() -> dict[str, bool]:
    try:
        requirements = metadata.requires("steerd") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, bool] = {}
    for requirement in requirements:
        if match := _EXTRA.match(requirement):
            package, extra = match.groups()
            found[extra] = found.get(extra, True) and _installed(package) is not None
    return found


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def command(*, as_json: bool) -> None:
    """Show which version this is: of steerd, of Python and of what matters to it.

    \b
    Examples:
      steerd version
      steerd version --json
    """
    known = facts()
    if as_json:
        click.echo(json.dumps(known, indent=2 if sys.stdout.isatty() else None))
        return
    there = [extra for extra, whole in known["extras"].items() if whole]
    click.echo(f"steerd {known['version']} ({known['installed']})")
    click.echo(f"Python {known['python']} on {known['platform']}, {known['event_loop']}, {known['openssl']}")
    click.echo(f"extras installed: {', '.join(there) or 'none'} (of {', '.join(known['extras']) or 'none'})")
