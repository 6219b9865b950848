"""Inputs: what the share arithmetic needs of one service, by kinds of endpoints (`steerd.core.classes`)."""

from __future__ import annotations

from collections.abc import Iterable

from steerd.core import passive
from steerd.core.classes import Classes, Shares, kind_of_slot, slot_name
from steerd.core.shares import Inputs, Mover, Slot
from steerd.core.world import World
from steerd.model.fleet import Service
from steerd.model.plan import Drain
from steerd.model.route import Route

__all__ = ["demand_of", "inputs_for"]

_TINY = 1e-9


def inputs_for(
    world: World, service: str, drains: Iterable[Drain], route: Route | None = None, apart: Iterable[str] = (),
    part: float = 1.0,
) -> Inputs:  # fmt: skip
    """For the service, or for a route with its own `prefer` or `only`, which carries `part` of the demand.

    A slot is a kind of endpoints, or one endpoint that stands apart: drained, weighed or pinned by itself, or named in `apart`.
    """
    spec = world.service(service)
    classes = world.classes(service)
    drains = tuple(drains)
    factors = world.services[service].factors
    at_work = [d for d in drains if d.fraction > 0 and (d.service is None or d.service == service)]
    own = dict.fromkeys(d.name for d in at_work if d.name in classes.of)
    shares = world.services[service].shares
    known = shares if isinstance(shares, Shares) and shares.classes is classes and at_work else None
    out = _unlike(known) if known is not None else ()
    own.update(dict.fromkeys(e for e in (*factors, *world.pins, *apart, *out) if e in classes.of))
    only = route.only if route is not None else ()
    slots = _slots(classes, own, {e: f for e, (f, _) in factors.items()}, only)
    there = {s.name for s in slots}
    prefer = passive.preference(world, service)
    if route is not None and route.prefer is not None and spec.routing.mode == "active-active":
        prefer = route.prefer
    closed = passive.closed(world, service, drains, world.now)
    demand = demand_of(world, service)
    return Inputs(
        slots=slots,
        movers=tuple(
            Mover(
                d.key,
                d.cause,
                frozenset({d.name}) if d.name in there else _within(d.name, slots),
                d.fraction,
                d.force,
            )
            for d in at_work
        ),
        prefer=prefer,
        demand=demand * part if demand is not None else None,
        max_utilization=world.fleet.guards.max_utilization,
        shortfall=spec.shortfall,
        pins=_pins(world, service, slots),
        closed=frozenset(s.name for s in slots if s.region in closed) if closed else frozenset(),
        idle=frozenset(s.name for s in slots if not _carries(known, s.name)) if known is not None else frozenset(),
    )


def _slots(classes: Classes, own: Iterable[str], factors: dict[str, float], only: tuple[str, ...]) -> tuple[Slot, ...]:
    left = [len(k.members) for k in classes.kinds]
    apart: list[Slot] = []
    for name in own:
        kind = classes.kind(name)
        left[kind.number] -= 1
        if not only or kind.region in only:
            apart.append(Slot(name, kind.zone, kind.region, kind.capacity, factors.get(name, 1.0)))
    kinds = [
        Slot(slot_name(k), k.zone, k.region, k.capacity * left[k.number])
        for k in classes.kinds
        if left[k.number] and (not only or k.region in only)
    ]
    return (*kinds, *apart)


def _unlike(shares: Shares) -> list[str]:
    """Endpoints that stood apart and carry while their kind does not, or the other way round: they cannot be one slot with it."""
    carrying = {k.number: _carries(shares, slot_name(k)) for k in shares.classes.kinds}
    return [e for e, s in shares.own.items() if (s > _TINY) is not carrying[shares.classes.of[e]]]


def _carries(shares: Shares, slot: str) -> bool:
    """Any endpoint of the slot has a share now."""
    number = kind_of_slot(slot)
    values = shares.values_of(number) if number is not None else (shares.get(slot, 0.0),)
    return any(s > _TINY for s in values)


def _within(name: str, slots: Iterable[Slot]) -> frozenset[str]:
    """Slots of the zone or region `name`."""
    return frozenset(s.name for s in slots if name in (s.zone, s.region))


def _pins(world: World, service: str, slots: Iterable[Slot]) -> dict[str, float]:
    """Slot -> pinned share; a pinned domain's share is split by capacity."""
    found: dict[str, float] = {}
    for name in sorted(world.pins):
        pin = world.pins[name]
        total = world.domains.capacity(service, name)
        for slot in slots:
            if name in (slot.name, slot.zone, slot.region):
                found[slot.name] = pin.share * slot.capacity / total if total else 0.0
    return found


def demand_of(world: World, service: str | Service) -> float | None:
    """The demand last observed, else the configured number (of a config that is not in force yet, where `service` is one of it),
    with what it takes over as somebody's fallback."""
    spec = world.service(service) if isinstance(service, str) else service
    state, configured = world.services[spec.name], spec.demand
    own = state.demand if state.demand is not None else configured.value if configured is not None else None
    return own + sum(state.spill.values()) if own is not None else None
