"""Reads a traffic system over its API for an import, by the provider that will write it: its credentials, pace and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from steerd.cli.errors import BadInput, NotWell
from steerd.cli.parts import resolve
from steerd.config.record_values import DNS_KINDS
from steerd.model.fleet import Fleet, ProviderSpec
from steerd.providers import registry
from steerd.providers.base import Context, Lists, Misconfigured, ProviderError

__all__ = ["listed"]

WITHIN_S = 120.0
"""All pages together: at 2.5 calls a second that is 90 000 record sets, more than a provider reads."""


def listed(kind: str, settings: Mapping[str, Any], name: str | None) -> Sequence[Mapping[str, Any]]:
    """What stands there, as the API tells it; of `name` only, where it is given. Raises `BadInput` where this host or the
    arguments are not made for it, or nothing of that name is there; `NotWell` where the system says no."""
    if name is not None and kind in DNS_KINDS:
        name = name.rstrip(".").lower()  # as the config's own names: the APIs take one spelling each
    try:
        provider = registry.build(
            Context(Fleet(name="import"), ProviderSpec("import", kind, settings=settings), resolve)
        )
    except Misconfigured as error:
        raise BadInput(_words(error)) from error
    assert isinstance(provider, Lists), "asked of kinds that list only"

    async def read() -> Sequence[Mapping[str, Any]]:
        try:
            await provider.open()
            return await provider.listed(asyncio.get_running_loop().time() + WITHIN_S, name)
        finally:
            await provider.close()

    try:
        rows = asyncio.run(read())
    except ProviderError as error:
        raise NotWell(_words(error)) from error
    if name is not None and not rows:
        raise BadInput(f"there is no record {name} in what was read: compare the name with the zone's")
    return rows


def _words(error: ProviderError) -> str:
    return f"{error.text}\n→ {error.action}" if error.action else error.text
