"""Strain: how the receivers of a service stand (see `steerd.core.relief`). Looks at those that fail looks or have readings."""

from __future__ import annotations

from collections.abc import Collection

from steerd.core.rotation import in_rotation
from steerd.core.world import World
from steerd.model.plan import Strain

__all__ = ["strain_of"]

_TTFT_WITHIN_S = 120.0


def strain_of(world: World, service: str, out: Collection[str], now: float) -> Strain:
    """How endpoints that carry traffic stand now, without those in the domains `out`."""
    shares, domains = world.services[service].shares, world.domains
    count = in_rotation(domains, service, shares, out, over=0.0)
    if not count:
        return Strain(0.0, None)

    def receives(endpoint: str) -> bool:
        places = {endpoint, domains.zone_of[endpoint], domains.region_of(endpoint)}
        return shares.get(endpoint, 0.0) > 0 and places.isdisjoint(out)

    members = domains.members_of_service(service)
    failing = sorted(e for e in world.gray.hot if e in members and receives(e))
    errors = sum(world.gray.rate(e) for e in failing) / count
    timed = (e for e in world.readings.subjects("ttft_s") if e in members and receives(e))
    found = (world.readings.median(e, "ttft_s", now, _TTFT_WITHIN_S) for e in timed)
    seen = sorted(v for v in found if v is not None)
    return Strain(errors, seen[(len(seen) - 1) // 2] if seen else None)
