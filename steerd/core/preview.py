"""Previews: what a move would do before anybody makes it: who receives how much, utilization after, who takes over, what forbids.

Nothing is changed and nothing is asked of anybody: no step is begun, no hook runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from steerd.core import activate, datagate, guards, passive
from steerd.core.decide import plan_service
from steerd.core.inputs import demand_of
from steerd.core.load import utilization
from steerd.core.shares import Result
from steerd.core.world import World
from steerd.model.plan import Active, Drain, Veto

__all__ = ["pinned_words", "preview_drain", "receives", "service_notes"]

_TINY = 1e-9


def preview_drain(
    world: World, drain: Drain, standing: Callable[[str], guards.Standing], now: float
) -> tuple[dict[str, object], Veto | None]:
    """Who would receive how much if `drain` went all the way, utilization after, and the guard that forbids it."""
    rows: list[dict[str, object]] = []
    moved, worst, veto = 0.0, None, None
    notes: list[str] = []
    for service in world.domains.services_in(drain.name):
        members = world.domains.members(service, drain.name)
        intent = guards.Intent(
            service, drain.name, drain.kind, drain.cause, members, automatic=False, force=drain.force
        )
        veto = veto or guards.check(intent, standing(service), now)
        existing = [d for d in world.drains.of_service(service, world.domains) if d.key != drain.key]
        before = plan_service(world, service, world.drains.of_service(service, world.domains), now).result
        successor, words = _successor(world, service, drain, now)
        notes += words
        after = _plan_with(world, service, [*existing, replace(drain, fraction=1.0)], successor, now)
        mine = receives(world, service, before.shares, after)
        rows += mine
        moved += sum(after.shares[str(r["name"])] - before.shares.get(str(r["name"]), 0.0) for r in mine)
        load = utilization(world, service, after.shares, after.diverted)
        if (left := after.kept.get(drain.key, 0.0)) > _TINY:
            notes.append(
                f"{left:.0%} of {service} would stay on {drain.name}: no room under max_utilization (--force moves it)"
            )
        if after.diverted > _TINY:
            notes.append(
                f"{after.diverted:.0%} of {service} would belong on its fallback {world.service(service).fallback}"
            )
        if load:
            worst = max(load.values()) if worst is None else max(worst, *load.values())
        if demand_of(world, service) is None:
            notes.append(f"the demand of {service} is unknown: the capacity rule is off")
    notes += pinned_words(world, drain)
    preview: dict[str, object] = {"receives": rows, "moved": moved, "after_utilization": worst, "notes": notes}
    return preview, veto


def pinned_words(world: World, drain: Drain) -> list[str]:
    """What a drain of something pinned moves: nothing, the pin wins."""
    found = []
    for name, pin in sorted(world.pins.items()):
        services = world.domains.services_in(drain.name)
        mine = {e for s in services for e in world.domains.members(s, drain.name)}
        theirs = {e for s in services for e in world.domains.members(s, name)}
        if mine & theirs:
            what = "nothing of it moves" if mine <= theirs else f"{name} stays as it is"
            found.append(
                f"{name} is pinned to {pin.share:.1%} by {pin.by}, and the pin wins: {what} until `steerd unpin {name}`"
            )
    return found


def receives(world: World, service: str, before: Mapping[str, float], after: Result) -> list[dict[str, object]]:
    """The endpoints that gain: {name, from, to, utilization}, by name. Utilization is None while demand is unknown."""
    load = utilization(world, service, after.shares, after.diverted)
    return [
        {"name": e, "from": before.get(e, 0.0), "to": share, "utilization": load.get(e)}
        for e, share in sorted(after.shares.items())
        if share - before.get(e, 0.0) > _TINY
    ]


def _successor(world: World, service: str, drain: Drain, now: float) -> tuple[str | None, list[str]]:
    """The region that would become active, and in words what it would do first and what keeps it from it."""
    empty = passive.emptied(world, service, drain.name, drain.kind)
    if passive.active_region(world, service) not in empty:
        return None, []
    notes: list[str] = []
    out = {*passive.held_out(world, service), *empty}
    for region in passive.regions_of(world, service):
        if region in out or not passive.in_service(world, service, region):
            continue
        behind = None if drain.accept_data_loss else datagate.blocked(world, service, region, now)
        if behind is not None:
            notes.append(f"{region} may not take {service} over: {behind}")
            continue
        steps = [activate.words(step) for step in world.service(service).activate.get(region, ())]
        notes.append(f"{region} takes {service} over" + (f"; first: {', '.join(steps)}" if steps else ""))
        return region, notes
    return None, notes


def _plan_with(world: World, service: str, drains: list[Drain], active: str | None, now: float) -> Result:
    """The plan as it would be with `active` in the lead."""
    if active is None:
        return plan_service(world, service, drains, now).result
    known = dict(world.active)
    world.active = {**known, service: Active(active, now)}
    try:
        return plan_service(world, service, drains, now).result
    finally:
        world.active = known


def service_notes(world: World, service: str, result: Result, now: float) -> list[str]:
    """What a plan of the service should be read with: the active region, what waits, what the fallback takes."""
    notes: list[str] = []
    active = passive.active_region(world, service)
    if active is not None:
        notes.append(f"{active} is active")
    notes += [f"{r} stays out until it is restored: failback is manual" for r in passive.held_out(world, service)]
    for (name, region), act in sorted(world.activations.items()):
        if name == service:
            notes.append(f"{region} prepares to take over: {act.status}" + (f", {act.text}" if act.text else ""))
    if result.diverted > _TINY:
        notes.append(
            f"{result.diverted:.0%} of the demand has no room and belongs on {world.service(service).fallback}"
        )
    taken: Mapping[str, Any] = world.services[service].spill
    notes += [
        f"{amount:g} of the demand comes from {source}, whose fallback this is"
        for source, amount in sorted(taken.items())
    ]
    return notes
