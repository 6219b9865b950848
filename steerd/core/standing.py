"""Standing: what the guards look at, for one service, read off the world."""

from __future__ import annotations

from steerd.core import guards, passive
from steerd.core.world import World

__all__ = ["standing_for"]


def standing_for(world: World, service: str) -> guards.Standing:
    """The service as it stands now."""
    routes = world.service(service).routes
    # While another route may be served from elsewhere the move goes on, and a restricted route stays as it is (residency.py).
    only = {r.key: r.only for r in routes if r.only} if all(r.only for r in routes if r.scope is None) else {}
    diagnosis = world.diagnoser.services.get(service)
    return guards.Standing(
        domains=world.domains,
        rules=world.fleet.guards,
        shares=world.services[service].shares,
        drains=tuple(world.drains.book.values()),
        pins=tuple(world.pins.values()),
        freeze=world.freeze,
        everywhere=diagnosis.everywhere if diagnosis is not None else False,
        only=only,
        standby=passive.stands_ready(world, service),
    )
