"""Keep: what damping, velocity and factors take over from the store, and what a new config means for them."""

from __future__ import annotations

from steerd.core.world import World
from steerd.model.plan import HardState

__all__ = ["configure_rules", "load_rules"]

_LONGEST_S = 24 * 3600.0


def load_rules(world: World, state: HardState, now: float) -> None:
    """A new leader goes on from what the last one stored, and a follower keeps up with it."""
    world.damper.load(state.penalties, now)
    world.velocity.load(state.removed)
    for known in world.services.values():
        known.factors.clear()
    for endpoint, factor in sorted(state.factors.items()):
        service = world.domains.service_of.get(endpoint)
        if service is not None:
            world.services[service].factors[endpoint] = (factor, now)
    block = max(world.fleet.guards.repeat_block_s, world.fleet.guards.dwell_s)
    for key in [k for k, at in world.last_change.items() if now - at > max(block, _LONGEST_S)]:
        del world.last_change[key]


def configure_rules(world: World, now: float) -> None:
    """Takes the constants of a new config, and forgets what left it."""
    fleet = world.fleet
    world.gray.configure(fleet)
    world.damper.rules = fleet.damping
    world.damper.keep_only({**fleet.endpoint_by_name, **dict.fromkeys(world.domains.zone_of.values())}, now)
    world.velocity.rules = fleet.guards
    world.readings.configure(fleet.endpoint_by_name, fleet.agent_by_name)
    for service, state in world.services.items():
        members = world.domains.members_of_service(service)
        state.factors = {e: f for e, f in state.factors.items() if e in members}
    if any(s.demand is not None and s.demand.progress for s in fleet.services):
        world.timers.at(now, "demand", "")
