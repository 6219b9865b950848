"""Removal: whether what a new config takes away may go (decisions.md, section 12).

Removed endpoints leave in one step, after a capacity check: those that stay must take the demand under `max_utilization`. A config
that fails it, or removes over half of a service's capacity, is refused unless an operator accepts it; then an alert stands until
the demand fits.
"""

from __future__ import annotations

from collections.abc import Collection

from steerd.core import passive
from steerd.core.inputs import demand_of
from steerd.core.world import World
from steerd.model.fleet import Fleet, Service
from steerd.model.health import Health

__all__ = ["crowded", "refusal", "still_crowded"]

_MOST_REMOVED = 0.5
_TINY = 1e-9
_ACCEPT = "accept it with `steerd config accept`"


def refusal(world: World, new: Fleet) -> str | None:
    """Why `new` may not replace the config in force without `steerd config accept`, or None."""
    for service in world.fleet.services:
        after = new.service_by_name.get(service.name)
        kept = {e.name for e in after.endpoints} if after is not None else set()
        total = sum(e.capacity for e in service.endpoints)
        removed = sum(e.capacity for e in service.endpoints if e.name not in kept)
        if total > 0 and removed > _MOST_REMOVED * total + _TINY:
            return f"the new config removes {removed / total:.0%} of the capacity of {service.name}: {_ACCEPT}"
    short = crowded(world, new)
    return f"{'; '.join(short[s] for s in sorted(short))}: {_ACCEPT}" if short else None


def crowded(world: World, new: Fleet) -> dict[str, str]:
    """Service -> in words, where the endpoints that stay could not take what the removed ones carry now."""
    found = {}
    for service in new.services:
        old = world.fleet.service_by_name.get(service.name)
        if old is None or service.name not in world.services:
            continue
        stays = {e.name for e in service.endpoints} & {e.name for e in old.endpoints}
        shares = world.services[service.name].shares
        going = sorted(e.name for e in old.endpoints if e.name not in stays and shares.get(e.name, 0.0) > _TINY)
        if going and (load := _load(world, service, stays)) is not None:  # by the demand of the new config
            what = ", ".join(going[:3]) + (f" and {len(going) - 3} more" if len(going) > 3 else "")
            found[service.name] = f"without {what}, {service.name} would run at {load}"
    return found


def still_crowded(world: World, service: str, now: float) -> None:
    """Ends the alert of an accepted removal once the demand fits."""
    of = f"{service}/removed"
    if ("capacity-short", of) not in world.alerts.active:
        return
    spec = world.service(service)
    load = _load(world, spec, {e.name for e in spec.endpoints})
    if load is None:
        world.alerts.clear("capacity-short", of)
    else:
        world.alerts.set("capacity-short", of, f"endpoints were removed, and {service} runs at {load}", now)


def _load(world: World, service: Service, names: Collection[str]) -> str | None:
    """How full those of `names` that can serve would be, in words; None while that is within the limit or demand is unknown."""
    demand, limit = demand_of(world, service), world.fleet.guards.max_utilization
    factors = world.services[service.name].factors
    out: set[str] = set()
    for drain in world.drains.of_service(service.name, world.domains):
        if drain.fraction >= 1.0 - _TINY:
            out |= world.domains.members(service.name, drain.name)
    able = [e for e in service.endpoints if e.name in names and e.name not in out]
    able = [e for e in able if (known := world.board.states.get(e.name)) and known.health is not Health.DOWN]
    active = passive.active_region(world, service.name)
    able = [e for e in able if world.domains.region_of(e.name) == active] or able
    capacity = sum(e.capacity * factors.get(e.name, (1.0, 0.0))[0] for e in able)
    if demand is None or demand <= limit * capacity + _TINY:
        return None
    part = f"{demand / capacity:.0%}" if capacity > 0 else "more than all"
    return f"{part} of the capacity that stays (max_utilization {limit:.0%})"
