"""Residency: a route with `only` is never served from a region outside it, not even by force (decisions.md, section 8).

Its plan is made of the endpoints inside alone. When nothing inside is left, the route stays as it is, and an alert says so.
"""

from __future__ import annotations

from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.route import Route

__all__ = ["outside", "tell"]


def outside(world: World, route: Route) -> frozenset[str]:
    """Targets of the route that have an endpoint outside the regions it may be served from."""
    if not route.only:
        return frozenset()
    return frozenset(
        t.key
        for t in route.targets
        if any(e in world.domains.zone_of and world.domains.region_of(e) not in route.only for e in t.endpoints)
    )


def tell(world: World, service: str, now: float) -> None:
    """Alerts for each route of the service with nothing left inside its regions: drained, or down."""
    for route in world.service(service).routes:
        if not route.only:
            continue
        inside = {e for e in world.domains.members_of_service(service) if world.domains.region_of(e) in route.only}
        left = {e for e in inside if world.board.states[e].health is not Health.DOWN}
        for drain in world.drains.of_service(service, world.domains):
            if drain.fraction >= 1.0:
                left -= world.domains.members(service, drain.name)
        if inside and not left:
            text = (
                f"{route.key} may only be served from {', '.join(route.only)}, where nothing is left: it stays as it is"
            )
            world.alerts.set("residency-blocked", route.key, text, now)
        else:
            world.alerts.clear("residency-blocked", route.key)
