"""Guards: which moves may not happen, each with a named reason (decisions.md, section 8).

A guard looks at one intended drain and what already stands, and answers None or a `Veto`. The order is the order in which they
are asked; the first veto is the one shown.

    never-empty, residency           bind everything, operators included
    freeze, pin                      bind automation, confirmed dead too
    global, floor, blast radius,
    max-ejected                      bind automation, not the confirmed dead
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from steerd.core.domains import Domain, Domains
from steerd.core.rotation import in_rotation
from steerd.model.plan import Cause, Drain, Freeze, Phase, Pin, Veto
from steerd.model.rules import Guards

__all__ = ["Intent", "Standing", "check", "out_zones"]

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Intent:
    """A drain about to begin: its domain and the endpoints of the service in it."""

    service: str
    name: str
    kind: Domain
    cause: Cause
    endpoints: frozenset[str]
    automatic: bool = True
    force: bool = False

    @property
    def dead(self) -> bool:
        return self.cause is Cause.DEAD


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands when a guard is asked. `shares` are the published ones of the service, `drains` all that exist.
    `standby` are endpoints that carry nothing now but would: nothing is empty and no floor broken while they take over."""

    domains: Domains
    rules: Guards
    shares: Mapping[str, float]
    drains: tuple[Drain, ...]
    pins: tuple[Pin, ...] = ()
    freeze: Freeze | None = None
    everywhere: bool = False
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    standby: frozenset[str] = frozenset()


def check(intent: Intent, standing: Standing, now: float) -> Veto | None:
    """The first guard that forbids `intent`, or None."""
    for guard, binds_operators, binds_dead in _GUARDS:
        if not intent.automatic and not binds_operators:
            continue
        if intent.dead and intent.automatic and not binds_dead:
            continue
        if (veto := guard(intent, standing, now)) is not None:
            return veto
    return None


def _held(standing: Standing, service: str) -> set[str]:
    """Domains that are fully out: they count as soon as the drain is in the book, also when its shares are not published yet."""
    return {
        d.name for d in standing.drains if d.service in (None, service) and d.phase is Phase.HELD and d.fraction >= 1.0
    }


def _rotation(
    standing: Standing, service: str, without: Intent | None = None, regions: tuple[str, ...] | None = None
) -> int:
    """Endpoints that carry traffic and go on doing so, without those of an intended drain."""
    held = _held(standing, service)
    names = held | {without.name} if without is not None else held
    return in_rotation(standing.domains, service, standing.shares, names, regions)


def _standby(intent: Intent | None, standing: Standing, regions: tuple[str, ...] | None = None) -> int:
    """Endpoints that stand ready, without those of an intended drain."""
    names = standing.standby - intent.endpoints if intent is not None else standing.standby
    return sum(regions is None or standing.domains.region_of(e) in regions for e in names)


def _leaving(intent: Intent, standing: Standing) -> bool:
    """The move takes something out of service. Not when all of it is out already: such a drain is on paper only, and keeps a
    failed endpoint out while a wider drain around it ends."""
    return any(standing.shares.get(e, 0.0) > _TINY for e in intent.endpoints)


def _never_empty(intent: Intent, standing: Standing, now: float) -> Veto | None:
    staying = _rotation(standing, intent.service, intent) + _standby(intent, standing)
    if not staying and _leaving(intent, standing):
        text = f"draining {intent.name} would leave {intent.service} with nothing in service"
        return Veto(intent.service, intent.name, "never-empty", text, now)
    return None


def _residency(intent: Intent, standing: Standing, now: float) -> Veto | None:
    for route, regions in sorted(standing.only.items()):
        inside = _rotation(standing, intent.service, None, regions) + _standby(None, standing, regions)
        left = _rotation(standing, intent.service, intent, regions) + _standby(intent, standing, regions)
        if inside and not left:
            text = f"{route} may only be served from {', '.join(regions)}, where {intent.name} is all that is left"
            return Veto(intent.service, intent.name, "residency", text, now)
    return None


def _freeze(intent: Intent, standing: Standing, now: float) -> Veto | None:
    if standing.freeze is None:
        return None
    text = f"frozen by {standing.freeze.by}: {standing.freeze.reason}"
    return Veto(intent.service, intent.name, "freeze", text, now)


def _pin(intent: Intent, standing: Standing, now: float) -> Veto | None:
    mine = {p.name: standing.domains.members(intent.service, p.name) & intent.endpoints for p in standing.pins}
    if not intent.endpoints or intent.endpoints != frozenset().union(*mine.values()):
        return None
    words = [
        f"{p.name} is pinned to {p.share:.1%} by {p.by} ({p.reason}), {_left(p.until - now)}"
        for p in sorted(standing.pins, key=lambda p: p.name)
        if mine[p.name]
    ]
    return Veto(intent.service, intent.name, "pin", "; ".join(words), now)


def _left(seconds: float) -> str:
    """How long a pin still holds, roughly: a text that changes every second would be a new alert every second."""
    if seconds <= 0:
        return "which is over and waits for `steerd unfreeze`"
    return f"for less than {math.ceil(seconds / 3600)} h more"


def _everywhere(intent: Intent, standing: Standing, now: float) -> Veto | None:
    if not standing.everywhere:
        return None
    text = "everything is bad at once: more likely a deploy, a shared dependency or steerd itself than this domain"
    return Veto(intent.service, intent.name, "global", text, now)


def _floor(intent: Intent, standing: Standing, now: float) -> Veto | None:
    rotation, stay = _rotation(standing, intent.service), _rotation(standing, intent.service, intent)
    members = len(standing.shares)
    needed = max(1.0, standing.rules.min_in_rotation * members)
    left = stay + _standby(intent, standing)
    if rotation > stay and left < needed - _TINY:
        floor = f"min_in_rotation {standing.rules.min_in_rotation:.0%}"
        text = f"{left} of {members} endpoints would stay in rotation, fewer than {floor}"
        return Veto(intent.service, intent.name, "floor", text, now)
    return None


def out_zones(standing_drains: tuple[Drain, ...]) -> tuple[set[str], set[str]]:
    """(zones, regions) that are drained or draining by a drain of their own; a restoring one has given its place back."""
    active = [d for d in standing_drains if d.phase is not Phase.RESTORING and d.cause is not Cause.NEW]
    return {d.name for d in active if d.kind == "zone"}, {d.name for d in active if d.kind == "region"}


def _blast_radius(intent: Intent, standing: Standing, now: float) -> Veto | None:
    if not _leaving(intent, standing):
        return None
    rules, domains = standing.rules, standing.domains
    zones, regions = out_zones(standing.drains)
    if intent.kind == "region":
        others = regions - {intent.name}
        if len(others) + 1 > rules.max_regions_drained:
            text = f"{', '.join(sorted(others))} is drained already: max_regions_drained is {rules.max_regions_drained}"
            return Veto(intent.service, intent.name, "blast-radius", text, now)
    if intent.kind == "zone":
        region = domains.region_of_zone(intent.name)
        others = {z for z in zones - {intent.name} if domains.region_of_zone(z) == region and region not in regions}
        if len(others) + 1 > rules.max_zones_drained:
            text = f"{', '.join(sorted(others))} of {region} is out already: max_zones_drained is {rules.max_zones_drained}"
            return Veto(intent.service, intent.name, "blast-radius", text, now)
    return None


def _max_ejected(intent: Intent, standing: Standing, now: float) -> Veto | None:
    if intent.kind != "endpoint" or not _leaving(intent, standing):
        return None
    active = [d for d in standing.drains if d.service == intent.service and d.phase is not Phase.RESTORING]
    single = {d.name for d in active if d.kind == "endpoint" and d.cause is not Cause.NEW} - {intent.name}
    limit = max(2.0, standing.rules.max_ejected * len(standing.shares))
    if len(single) + 1 > limit + _TINY:
        text = f"{len(single)} single endpoints are out already: max_ejected is {standing.rules.max_ejected:.0%}"
        return Veto(intent.service, intent.name, "max-ejected", text, now)
    return None


# (guard, binds operators, binds the confirmed dead)
_GUARDS = (
    (_never_empty, True, True),
    (_residency, True, True),
    (_freeze, False, True),
    (_pin, False, True),
    (_everywhere, False, False),
    (_floor, False, False),
    (_blast_radius, False, False),
    (_max_ejected, False, False),
)
