"""Building a provider and writing through it, as the coordinator does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Change, Context, Provider
from steerd.providers.pace import Paces

__all__ = ["ADDRESSES", "build", "deadline", "desired", "fence", "prepare", "route", "write"]

ADDRESSES = {"za": "192.0.2.1", "zb": "192.0.2.2", "zc": "192.0.2.3"}


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def fence(epoch: int = 1, seq: int = 1) -> Fence:
    return Fence("acme", epoch, seq, "p")


def build(kind: str, settings: Mapping[str, Any], paces: Paces | None = None) -> Provider:
    """A provider with room for as many calls as the tests make, unless its settings say less."""
    spec = ProviderSpec("it", kind, settings={"calls_per_s": 1000.0, **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: "", paces or Paces()))


def route(name: str, values: Mapping[str, tuple[str, ...]] | None = None, **more: Any) -> Route:
    """A route over zones; `values` is zone -> what is served for it."""
    given = values if values is not None else {z: (a,) for z, a in ADDRESSES.items()}
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": vs} if vs else {}) for z, vs in given.items())
    base: dict[str, Any] = {"key": f"it/{name}", "service": "chat", "provider": "it", "name": name, "per": "zone"}
    return Route(**base, targets=targets, **more)


def desired(of: Route, weights: Mapping[str, int]) -> Desired:
    """Members by name, with the values of those in service."""
    values = {t.key: tuple(v for vs in t.values.values() for v in vs) for t in of.targets}
    return Desired(tuple(Member(t, w, values.get(t, ()) if w else ()) for t, w in sorted(weights.items())))


async def prepare(provider: Provider, of: Route, weights: Mapping[str, int], by: Fence) -> Change:
    observed = await provider.read(of, deadline())
    return provider.translate(of, desired(of, weights), observed, by)


async def write(provider: Provider, of: Route, weights: Mapping[str, int], by: Fence) -> Change:
    change = await prepare(provider, of, weights, by)
    await provider.apply(change, deadline())
    return change
