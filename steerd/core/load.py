"""Load: what shares mean for the capacity that carries them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from steerd.core.classes import Shares
from steerd.core.inputs import demand_of
from steerd.core.world import World

__all__ = ["load_of", "most_loaded", "utilization"]


def utilization(world: World, service: str, shares: Mapping[str, float], diverted: float = 0.0) -> dict[str, float]:
    """Endpoint -> demand x share / capacity; empty while demand is unknown. `diverted` is the part a fallback takes."""
    return load_of(world, service, shares, (e.name for e in world.service(service).endpoints), diverted)


def load_of(
    world: World, service: str, shares: Mapping[str, float], endpoints: Iterable[str], diverted: float = 0.0
) -> dict[str, float]:
    """`utilization` of these endpoints."""
    demand = demand_of(world, service)
    if demand is None:
        return {}
    demand *= 1.0 - diverted
    known = world.fleet.endpoint_by_name
    return {e: shares.get(e, 0.0) * demand / c for e in endpoints if (c := known[e].capacity) > 0}


def most_loaded(
    world: World, service: str, shares: Mapping[str, float], diverted: float = 0.0, without: Collection[str] = ()
) -> float:
    """The highest utilization of any endpoint that is not in the domains `without`; 0 while demand is unknown."""
    if not isinstance(shares, Shares):
        out = {e for name in without for e in world.domains.members(service, name)}
        load = utilization(world, service, shares, diverted)
        return max((u for e, u in load.items() if e not in out), default=0.0)
    demand = (demand_of(world, service) or 0.0) * (1.0 - diverted)
    of = shares.classes.of
    named = Counter((of[e], shares[e]) for e in set(without) if e in of and e not in shares.own and e in shares)
    alike = [
        share * demand / kind.capacity
        for kind, share, count in shares.parts()
        if count > named[kind.number, share]
        and kind.capacity > 0
        and kind.zone not in without
        and kind.region not in without
    ]
    apart = [
        share * demand / kind.capacity
        for name, share in shares.own.items()
        if (kind := shares.classes.kind(name)).capacity > 0 and not {name, kind.zone, kind.region}.intersection(without)
    ]
    return max((*alike, *apart), default=0.0)
