"""Localize: which failure domain explains what is bad (decisions.md, section 6).

Pure function of counts per zone. The rules, first that matches:

    everywhere   every zone (>= 2) is bad                                   -> global
    region       all its zones (>= 2) are bad, and another region is not    -> region
    zone         >= 55% of its endpoints, and >= 2 of them (or its only one),
                 while the zones not named or drained are <= 20% bad        -> zone
    endpoint     the rest
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Found", "ZoneCount", "localize"]

_ZONE_BAD = 0.55
"""Fraction of a zone's endpoints: Kubernetes' node lifecycle calls a zone disrupted at 55%."""
_OTHERS_BAD = 0.20
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class ZoneCount:
    """Endpoints of one service in one zone: all of them, and the bad ones by name. A zone without endpoints is left out."""

    zone: str
    region: str
    total: int
    bad: tuple[str, ...]

    @property
    def is_bad(self) -> bool:
        """At least 55% of its endpoints and at least two of them, or its only one."""
        if self.total == 1:
            return len(self.bad) == 1
        return len(self.bad) >= 2 and len(self.bad) >= _ZONE_BAD * self.total - _EPSILON


@dataclass(frozen=True, slots=True)
class Found:
    """What explains the bad endpoints: everything at once, or regions, zones and single endpoints."""

    everywhere: bool
    regions: tuple[str, ...]
    zones: tuple[str, ...]
    endpoints: tuple[str, ...]


def localize(counts: Iterable[ZoneCount], drained: Collection[str], *, was_everywhere: bool = False) -> Found:
    """The failure domains behind the bad endpoints of one service.

    `drained` names zones already out. `was_everywhere` keeps a global diagnosis until its caller saw a zone good for long
    enough (60 s): only then may the narrower rules speak again.
    """
    zones = {c.zone: c for c in counts if c.total > 0}
    bad = {z for z, c in zones.items() if c.is_bad}
    endpoints = tuple(sorted(e for c in zones.values() for e in c.bad))
    if was_everywhere or (len(zones) >= 2 and len(bad) == len(zones)):
        return Found(everywhere=True, regions=(), zones=(), endpoints=endpoints)
    regions = _bad_regions(zones, bad)
    named = {z for z, c in zones.items() if c.region in regions}
    found: list[str] = []
    for zone in sorted(bad - named, key=lambda z: (z not in drained, -len(zones[z].bad) / zones[z].total, z)):
        if zone in drained or _others_well(zones, named | set(drained) | {zone}):
            found.append(zone)
            named.add(zone)
    rest = tuple(e for e in endpoints if not any(e in zones[z].bad for z in named))
    return Found(everywhere=False, regions=regions, zones=tuple(sorted(found)), endpoints=rest)


def _bad_regions(zones: Mapping[str, ZoneCount], bad: Collection[str]) -> tuple[str, ...]:
    by_region: dict[str, list[str]] = {}
    for zone, count in zones.items():
        by_region.setdefault(count.region, []).append(zone)
    whole = {r for r, members in by_region.items() if all(z in bad for z in members)}
    if len(whole) == len(by_region):
        return ()
    return tuple(sorted(r for r in whole if len(by_region[r]) >= 2))


def _others_well(zones: Mapping[str, ZoneCount], aside: Collection[str]) -> bool:
    others = [c for z, c in zones.items() if z not in aside]
    total = sum(c.total for c in others)
    return total == 0 or sum(len(c.bad) for c in others) <= _OTHERS_BAD * total + _EPSILON
