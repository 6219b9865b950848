"""Roll: the endpoints of a service in one zone, counted by health. Kept up to date as health changes, so that what looks at zones
needs not look at endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from steerd.model.health import Health

__all__ = ["Roll", "Rolls"]


@dataclass(slots=True)
class Roll:
    """One service in one zone: how many endpoints, how many of them undecided or unknown, and who is bad by name."""

    zone: str
    region: str
    size: int = 0
    undecided: int = 0
    unknown: int = 0
    down: set[str] = field(default_factory=set)
    worse: set[str] = field(default_factory=set)
    """Degraded or down."""

    def count(self, name: str, health: Health, *, decided: bool, by: int) -> None:
        """Takes an endpoint in (`by` 1) as it stands, or out (-1) as it stood."""
        self.size += by
        self.undecided += by * (not decided)
        self.unknown += by * (health is Health.UNKNOWN)
        change = set.add if by > 0 else set.discard
        if health is Health.DOWN:
            change(self.down, name)
        if health >= Health.DEGRADED:
            change(self.worse, name)


class Rolls:
    """All rolls, by service and the name of a zone or region."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Roll] = {}
        self._service: dict[str, list[Roll]] = {}
        self._domain: dict[tuple[str, str], list[Roll]] = {}

    def of(self, service: str, zone: str, region: str) -> Roll:
        """The roll of a zone, begun where there is none."""
        found = self._of.get((service, zone))
        if found is None:
            found = self._of[service, zone] = Roll(zone, region)
            self._service.setdefault(service, []).append(found)
            for name in {zone, region}:
                self._domain.setdefault((service, name), []).append(found)
        return found

    def of_zone(self, service: str, zone: str) -> Roll:
        """The roll of a zone that has one. Raises KeyError."""
        return self._of[service, zone]

    def of_service(self, service: str) -> Iterable[Roll]:
        return self._service.get(service, ())

    def inside(self, service: str, name: str) -> Iterable[Roll]:
        """The rolls of a zone or region."""
        return self._domain.get((service, name), ())

    def anyone_decided(self) -> bool:
        return any(r.undecided < r.size for r in self._of.values())
