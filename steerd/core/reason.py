"""Reason: the fingerprint of all that may change a service's plan, and in words what differs between two.

Equal fingerprints: nothing is recomputed, nothing is reshuffled.
"""

from __future__ import annotations

from typing import NamedTuple

from steerd.core import passive
from steerd.core.inputs import demand_of
from steerd.core.world import World
from steerd.model.plan import Drain

__all__ = ["Reason", "because", "reason_of"]

_TOLD = 5
_ANEW = "what stands is planned anew"


class Reason(NamedTuple):
    """What a plan was made for. `follows` is what the world does by itself (demand, who may take over, a fallback's part): while
    an operator's freeze stands it stays as it was."""

    drains: tuple[tuple[str, str, float, bool], ...]
    pins: tuple[tuple[str, float], ...]
    factors: tuple[tuple[str, float], ...]
    generation: int
    active: str | None
    follows: tuple[object, ...]


def reason_of(world: World, service: str) -> Reason:
    """The fingerprint as it stands now."""
    drains = world.drains.of_service(service, world.domains)
    state = world.services[service]
    kept = bool(state.plan_vetoes or state.short or (state.result is not None and state.result.diverted))
    follows: tuple[object, ...] = (
        demand_of(world, service) if kept else None,
        passive.closed(world, service, drains, world.now) if kept else None,
        tuple(sorted((s, round(v, 3)) for s, v in state.spill.items())),
    )
    if world.freeze is not None and isinstance(state.reason, Reason):
        follows = state.reason.follows
    return Reason(
        drains=tuple(sorted((d.key, d.cause.value, round(d.fraction, 6), d.force) for d in drains)),
        pins=tuple(sorted((p.name, p.share) for p in world.pins.values() if world.domains.members(service, p.name))),
        factors=tuple(sorted((e, f) for e, (f, _) in state.factors.items())),
        generation=state.generation,
        active=passive.active_region(world, service),
        follows=follows,
    )


def because(world: World, service: str, before: object, after: Reason) -> str:
    """One line for a decision: what is another than when the service was planned last."""
    if not isinstance(before, Reason):
        word = str(before[0]) if isinstance(before, tuple) and before else ""
        standing = [_drain(d) for d in sorted(world.drains.of_service(service, world.domains), key=lambda d: d.key)]
        return "; ".join([_WORDS.get(word, _ANEW), *standing[:_TOLD]])
    lines: list[str] = []
    if before.drains != after.drains:
        lines.append(_drains(world, service, before, after))
    if before.pins != after.pins:
        lines += _pins(world, before, after)
    if before.factors != after.factors:
        lines += _factors(before, after)
    if before.generation != after.generation:
        lines.append(f"the config of {service} changed")
    if before.active != after.active:
        lines.append(f"{after.active} is active")
    if before.follows != after.follows:
        lines.append("the demand, or who may take traffic, changed")
    return "; ".join(lines) or _ANEW


def _drain(d: Drain) -> str:
    return f"{d.phase.value} {d.name} {d.fraction:.0%} out ({d.cause.value}, {d.by}): {d.reason}"


def _drains(world: World, service: str, before: Reason, after: Reason) -> str:
    """The drains that moved; those that ended, where none did."""
    moved = {key for key, *_ in set(after.drains) - set(before.drains)}
    found = [d for d in world.drains.of_service(service, world.domains) if d.key in moved]
    if found:
        found.sort(key=lambda d: (-d.step_at, d.key))
        return "; ".join(_drain(d) for d in found[:_TOLD])
    if not after.drains:
        return "everything is back in service"
    ended = sorted({_name(key) for key, *_ in before.drains} - {_name(key) for key, *_ in after.drains})
    return f"{', '.join(ended[:_TOLD])} fully back in service" if ended else "a drain beside another one ended"


def _name(key: str) -> str:
    """The domain of a `Drain.key`."""
    return key.split(":", 2)[2]


def _pins(world: World, before: Reason, after: Reason) -> list[str]:
    old, new = dict(before.pins), dict(after.pins)
    lines = [
        f"{n} is pinned to {s:.1%} by {world.pins[n].by}: {world.pins[n].reason}"
        for n, s in sorted(new.items())
        if old.get(n) != s
    ]
    return lines + [f"{n} is no longer pinned" for n in sorted(old.keys() - new.keys())]


def _factors(before: Reason, after: Reason) -> list[str]:
    old, new = dict(before.factors), dict(after.factors)
    names = sorted(n for n in {*old, *new} if old.get(n, 1.0) != new.get(n, 1.0))
    return [f"{n} weighs {new.get(n, 1.0):.0%}" for n in names[:_TOLD]]


_WORDS = {
    "config changed while nobody led": "the config changed while nobody led",
    "late": "a route is read at last: it is brought in line",
    "operator": "an operator's command is carried out now that the routes are read",
    "publish": "first publication, or a write that was left open",
    "residency": "a route is served from where it never may be",
    "restored": "somebody else's edit is given back to steerd",
    "unfinished": "a drain that stood in the store was not written yet",
}
