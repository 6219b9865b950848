"""Failure domains by name: which endpoints a zone, region or endpoint means, per service. Built once per config."""

from __future__ import annotations

from typing import Literal

from steerd.model.fleet import Fleet
from steerd.model.plan import Drain

__all__ = ["Domain", "Domains"]

Domain = Literal["endpoint", "zone", "region"]


class Domains:
    """Index over a fleet. Names are unique across kinds, so a name alone says what it is."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._members: dict[tuple[str, str], frozenset[str]] = {}
        self.zones: dict[str, tuple[str, ...]] = {}
        self.service_of: dict[str, str] = {}
        self.zone_of: dict[str, str] = {}
        building: dict[tuple[str, str], set[str]] = {}
        for service in fleet.services:
            zones: dict[str, None] = {}
            for endpoint in service.endpoints:
                zones[endpoint.zone] = None
                self.service_of[endpoint.name] = service.name
                self.zone_of[endpoint.name] = endpoint.zone
                region = self.region_of_zone(endpoint.zone)
                for name in {endpoint.name, endpoint.zone, region}:
                    building.setdefault((service.name, name), set()).add(endpoint.name)
            self.zones[service.name] = tuple(sorted(zones))
        self._members = {key: frozenset(names) for key, names in building.items()}
        self._capacity: dict[tuple[str, str], float] = {}
        self._all = {s.name: frozenset(e.name for e in s.endpoints) for s in fleet.services}

    def region_of_zone(self, zone: str) -> str:
        return self.fleet.vantage_region(zone)

    def region_of(self, endpoint: str) -> str:
        return self.region_of_zone(self.zone_of[endpoint])

    def kind(self, name: str) -> Domain | None:
        """endpoint, zone or region; None for names that cannot be drained."""
        kind = self.fleet.kind_of(name)
        return kind if kind in ("endpoint", "zone", "region") else None  # type: ignore[return-value]  # narrowed by the line

    def members(self, service: str, name: str) -> frozenset[str]:
        """Endpoints of `service` in the domain `name` (an endpoint, zone or region); empty when there are none."""
        return self._members.get((service, name), frozenset())

    def members_of_service(self, service: str) -> frozenset[str]:
        """All endpoints of `service`."""
        return self._all[service]

    def capacity(self, service: str, name: str) -> float:
        """Nominal capacity of the service's endpoints in the domain `name`."""
        known = self._capacity.get((service, name))
        if known is None:
            endpoints = self.fleet.endpoint_by_name
            known = sum(endpoints[e].capacity for e in sorted(self.members(service, name)))
            self._capacity[service, name] = known
        return known

    def services_in(self, name: str) -> tuple[str, ...]:
        """Services that have endpoints in the domain."""
        return tuple(s.name for s in self.fleet.services if (s.name, name) in self._members)

    def touches(self, drain: Drain) -> bool:
        """False when nothing the drain covers is in this fleet any longer."""
        if drain.service is not None:
            return bool(self.members(drain.service, drain.name))
        return bool(self.services_in(drain.name))
