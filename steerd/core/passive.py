"""Active-passive: which region serves, which may take over, and which wait for a human (decisions.md, sections 7, 8 and 10).

    active region serves all but the trickle of the others
      its region is to be drained -> the next in `order` that is in service, with recent data and its steps done -> active
      it is well again            -> automatic: back, by the restore ramp; manual: not before an operator restores it

The same questions (data, steps) are asked in active-active before a whole region is drained: of the regions that would receive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from steerd.core import activate, datagate
from steerd.core.classes import share_in
from steerd.core.rotation import idle as idle_ones
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Active, Cause, Drain, Phase, Veto
from steerd.model.route import Route

__all__ = [
    "active_region", "admission", "before_review", "closed", "comes_before", "emptied", "held_out",
    "in_service", "leaving", "may_return", "preference", "regions_of", "stands_ready", "takeover",
]  # fmt: skip

_TINY = 1e-9
_SERVES = 0.02
"""A region with more than this, and more than its trickle, serves already: it needs no activation and no gate to take more."""


def passive(world: World, service: str) -> bool:
    return world.service(service).routing.mode == "active-passive"


def regions_of(world: World, service: str) -> tuple[str, ...]:
    """Regions with endpoints of the service: in `order` first, the rest by name."""
    there = {world.domains.region_of_zone(z) for z in world.domains.zones[service]}
    order = [r for r in world.service(service).routing.order if r in there]
    return (*order, *sorted(there - set(order)))


def active_region(world: World, service: str) -> str | None:
    """The region that serves an active-passive service; None for the others."""
    if not passive(world, service):
        return None
    regions = regions_of(world, service)
    known = world.active.get(service)
    if known is not None and known.region in regions:
        return known.region
    return regions[0] if regions else None


def held_out(world: World, service: str) -> tuple[str, ...]:
    """Regions that come before the active one in `order` and stay out because failback is manual."""
    active = active_region(world, service)
    if active is None or world.service(service).routing.failback != "manual":
        return ()
    regions = regions_of(world, service)
    return regions[: regions.index(active)]


def preference(world: World, service: str) -> Mapping[str, float] | None:
    """Region -> weight for the plan; None for proportional to capacity."""
    routing = world.service(service).routing
    active = active_region(world, service)
    if active is None:
        return routing.prefer
    out = held_out(world, service)
    weights = {r: 0.0 if r in out else routing.trickle for r in regions_of(world, service) if r != active}
    return {**weights, active: max(0.0, 1.0 - sum(weights.values()))}


def share_of(world: World, service: str, region: str) -> float:
    return share_in(world.services[service].shares, world.domains.members(service, region), region=region)


def serves(world: World, service: str, region: str) -> bool:
    """It carries real traffic now, more than a trickle."""
    return share_of(world, service, region) > max(_SERVES, 1.5 * world.service(service).routing.trickle)


def in_service(world: World, service: str, region: str, drains: Iterable[Drain] | None = None) -> bool:
    """Some endpoint of the region is not taken out by a drain (one on its way back counts as in)."""
    members = set(world.domains.members(service, region))
    for drain in world.drains.of_service(service, world.domains) if drains is None else drains:
        if drain.fraction >= 1.0 - _TINY and drain.phase is not Phase.RESTORING:
            members -= world.domains.members(service, drain.name)
    return bool(members)


def stands_ready(world: World, service: str) -> frozenset[str]:
    """Endpoints that carry nothing now but could: not drained, not pinned, known and not down. Guards count them as left."""
    gone: set[str] = set()
    for drain in world.drains.of_service(service, world.domains):
        gone |= world.domains.members(service, drain.name)
    for pin in world.pins.values():
        gone |= world.domains.members(service, pin.name)
    free = idle_ones(world.domains, service, world.services[service].shares) - gone
    return frozenset(e for e in free if world.board.states[e].health not in (Health.DOWN, Health.UNKNOWN))


def admission(world: World, service: str, region: str, now: float, drain: Drain | None = None) -> Veto | str | None:
    """May `region` take the service over now? None: yes. Text: not yet, its steps run. Veto: no.

    `drain` is the operator's drain behind the question: it may accept the loss of data, and be forced past waiting.
    """
    if not (drain is not None and drain.accept_data_loss):
        why = datagate.blocked(world, service, region, now)
        if why is not None:
            return Veto(service, region, "data", why, now)
    accept = drain is not None and drain.accept_data_loss
    found = activate.ensure(world, service, region, now, accept_data_loss=accept)
    if serves(world, service, region):
        return None  # its steps run in parallel with the move
    if found is None or found.status == "done" or (drain is not None and drain.force):
        return None
    if found.status == "failed":
        return Veto(service, region, "activate", found.text, now)
    return f"{region} prepares to take {service} over: {activate.words(_step(world, found))}, {found.text}"


def _step(world: World, found: activate.Activation) -> Mapping[str, object]:
    steps = world.service(found.service).activate[found.region]
    return steps[min(found.step, len(steps) - 1)]


def home(world: World, name: str, kind: str) -> str:
    """The region of a domain."""
    if kind == "region":
        return name
    return world.domains.region_of_zone(name) if kind == "zone" else world.domains.region_of(name)


def emptied(world: World, service: str, name: str, kind: str) -> tuple[str, ...]:
    """Regions that have nothing in service once the domain `name` is out: a region itself, and any zone or endpoint that is the
    last of one. Whoever takes over from these takes a region over."""
    members = world.domains.members(service, name)
    if kind == "region" or not members:
        return (name,) if members else ()
    region = home(world, name, kind)
    left = set(world.domains.members(service, region))
    for drain in world.drains.of_service(service, world.domains):
        if drain.fraction >= 1.0 - _TINY and drain.phase is not Phase.RESTORING:
            left -= world.domains.members(service, drain.name)
    return (region,) if left and left <= members else ()


def takeover(
    world: World, service: str, name: str, kind: str, now: float, drain: Drain | None = None
) -> Veto | str | None:
    """May the domain `name` be drained, as far as those go that take over regions it leaves empty? As `admission`."""
    empty = emptied(world, service, name, kind)
    active = active_region(world, service)
    if not empty or (active is not None and active not in empty):
        return None
    out = {*held_out(world, service), *empty}
    candidates = [r for r in regions_of(world, service) if r not in out and in_service(world, service, r)]
    if active is None:
        return _receivers(world, service, candidates, now, drain)
    first: Veto | None = None
    for region in candidates:
        said = admission(world, service, region, now, drain)
        world.wanted_regions.add((service, region))
        if not isinstance(said, Veto):
            return said
        first = first or said
    return first  # no candidate at all: the guards have their say (never-empty)


def _receivers(world: World, service: str, candidates: list[str], now: float, drain: Drain | None) -> Veto | str | None:
    """Active-active: every receiving region begins its steps; one that may receive now is enough to go."""
    said = {}
    for region in candidates:
        said[region] = admission(world, service, region, now, drain)
        world.wanted_regions.add((service, region))
    if not said or any(s is None for s in said.values()):
        return None
    waiting = [s for s in said.values() if isinstance(s, str)]
    return waiting[0] if waiting else next(iter(said.values()))


def leaving(world: World, service: str, drains: Iterable[Drain]) -> tuple[str, ...]:
    """Regions that these drains together take out, whole, however far they have come."""
    gone: dict[str, set[str]] = {}
    for drain in drains:
        gone.setdefault(home(world, drain.name, drain.kind), set()).update(world.domains.members(service, drain.name))
    return tuple(r for r in sorted(gone) if world.domains.members(service, r) <= gone[r])


def closed(world: World, service: str, drains: Iterable[Drain], now: float) -> frozenset[str]:
    """Regions whose endpoints take nothing beyond their preference: they may not take over (yet)."""
    active = active_region(world, service)
    at_work = [d for d in drains if d.fraction > 0]
    left = (active,) if active is not None else leaving(world, service, at_work)
    if not left:
        return frozenset()
    # A flag counts for the region it was given for, and for nobody else's move.
    accepted = {home(world, d.name, d.kind) for d in at_work if d.accept_data_loss}.issuperset(left)
    forced = {home(world, d.name, d.kind) for d in at_work if d.force}.issuperset(left)
    found: set[str] = set()
    for region in regions_of(world, service):
        if region == active:
            continue
        running = serves(world, service, region)
        fresh = accepted or datagate.blocked(world, service, region, now) is None
        act = world.activations.get((service, region))
        prepared = (
            forced or not world.service(service).activate.get(region) or (act is not None and act.status == "done")
        )
        if active is None:
            open_ = fresh and (running or prepared)
        else:
            open_ = running or (fresh and prepared and region not in held_out(world, service))
        if not open_:
            found.add(region)
    return frozenset(found)


def may_return(world: World, service: str, drain: Drain, now: float) -> str | None:
    """Why a drained region may not begin to come back, or None. Asked before the first step of a region, and of what is the first
    of its region to come back."""
    if drain.phase is Phase.RESTORING or (drain.kind != "region" and drain.cause is Cause.NEW):
        return None
    active = active_region(world, service)
    known = world.active.get(service)
    region = home(world, drain.name, drain.kind)
    if drain.kind != "region" and in_service(world, service, region):
        return None
    called = known is not None and known.called == region
    if world.service(service).routing.failback == "manual" and not called:
        return f"{drain.name} stays out until `steerd restore {drain.name}`: failback of {service} is manual"
    if active is None or active == region or not _before(world, service, region, active):
        return None
    world.wanted_regions.add((service, region))
    said = admission(world, service, region, now, drain)
    return said.text if isinstance(said, Veto) else said


def comes_before(world: World, service: str, region: str) -> bool:
    """True for a region that would be active if it were well: it comes before the active one in `order`."""
    active = active_region(world, service)
    return active is not None and _before(world, service, region, active)


def _before(world: World, service: str, region: str, other: str) -> bool:
    regions = regions_of(world, service)
    return region in regions and regions.index(region) < regions.index(other)


def take_over(world: World, route: Route, weights: Mapping[str, int], now: float) -> None:
    """What a record serves when a leader begins says which region is active, where the store does not."""
    parts = {e: weights.get(t.key, 0) / len(t.endpoints) for t in route.targets for e in t.endpoints}
    _begin(world, route.service, parts, now)


def idle(world: World, service: str) -> frozenset[str]:
    """Endpoints that carry nothing because their region stands by: they are not new."""
    if not passive(world, service):
        return frozenset()
    weights = preference(world, service) or {}
    return frozenset(
        e for r in regions_of(world, service) if weights.get(r, 0.0) <= 0 for e in world.domains.members(service, r)
    )


def _begin(world: World, service: str, parts: Mapping[str, float], now: float) -> None:
    """A leader that knows no active region takes the one that serves most; ties go by `order`."""
    known = world.active.get(service)
    regions = regions_of(world, service)
    if not passive(world, service) or not regions or (known is not None and known.region in regions):
        return
    total = sum(parts.values()) or 1.0
    served = {r: sum(parts.get(e, 0.0) for e in world.domains.members(service, r)) / total for r in regions}
    most = max(regions, key=lambda r: (round(served[r], 3), -regions.index(r)))
    world.active[service] = Active(most, now)
    world.state_changed = True


def before_review(world: World, service: str, now: float) -> None:
    """Each review asks anew which regions are wanted; the active one is known from here on."""
    world.wanted_regions = {k for k in world.wanted_regions if k[0] != service}
    _begin(world, service, world.services[service].shares, now)
