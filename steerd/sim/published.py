"""What the traffic systems publish: weights at the start, and the share of each endpoint as served now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from steerd.core.decide import plan_hash, plan_service
from steerd.core.engine import Engine
from steerd.core.events import ConfigLoaded
from steerd.core.quantize import realised
from steerd.model.fleet import Fleet, Service
from steerd.model.route import Desired, Fence, Observed, Route, Target
from steerd.providers.memory import Record
from steerd.sim.provider import Far, capabilities_of

__all__ = ["Served", "publish_healthy", "shares_of"]

_TINY = 1e-12


class Served:
    """The share of every endpoint, zone and region as served now. A write of one service's record costs that service only."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, float]] = {}
        """Name -> service -> share."""

    def read(
        self, fleet: Fleet, fars: Mapping[str, Far], services: Iterable[Service] | None = None
    ) -> dict[str, float]:
        """Reads the records of `services` (all without, and what others had is gone). Returns what they concern: name -> share.
        A zone that carries several services has the mean of its shares of each; a name that carries nothing any more has 0."""
        changed: dict[str, None] = {}
        if services is None:
            changed.update(dict.fromkeys(self._by_name))
            self._by_name = {}
            services = fleet.services
        for service in services:
            shares = shares_of(fleet, service, fars)
            if not shares:
                continue
            mine: dict[str, float] = {}
            for endpoint in service.endpoints:
                share = shares.get(endpoint.name, 0.0)
                for name in (endpoint.name, endpoint.zone, fleet.vantage_region(endpoint.zone)):
                    mine[name] = mine.get(name, 0.0) + share
            for name in [n for n, known in self._by_name.items() if service.name in known and n not in mine]:
                del self._by_name[name][service.name]
                changed[name] = None
            for name, share in mine.items():
                self._by_name.setdefault(name, {})[service.name] = share
            changed.update(dict.fromkeys(mine))
        return {n: sum(s) / len(s) if (s := self._by_name.get(n, {}).values()) else 0.0 for n in changed}


def publish_healthy(fleet: Fleet, fars: Mapping[str, Far]) -> None:
    """Fill the systems with what the plan of a healthy fleet gives, fences included."""
    engine = Engine("rehearsal")
    engine.step(ConfigLoaded(fleet, capabilities_of(fleet), accepted=True), 0.0)
    world = engine.world
    for state in world.steer.routes.values():
        state.observed = Observed({t.key: 0 for t in state.route.targets}, exists=False)
    for service in fleet.services:
        planned = plan_service(world, service.name, (), 0.0)
        fence = Fence(fleet.name, 1, 1, plan_hash(world, planned.routes))
        for key, desired in planned.routes.items():
            route = fleet.route_by_key[key]
            members = {m.target: m for m in desired.members if m.weight > 0}
            fars[route.provider].system.records[route.name] = Record(members, route.ttl_s, fence)


def shares_of(fleet: Fleet, service: Service, fars: Mapping[str, Far]) -> dict[str, float]:
    """Endpoint -> its share of the service, from the widest route down; empty when nothing is written anywhere."""
    wide = next((r for r in service.routes if r.scope is None), None)
    if wide is None:
        return {}
    shares: dict[str, float] = {}
    targets = {t.key: t for t in wide.targets}
    for key, share in _split(wide, fars).items():
        members = _served(wide, targets.get(key), fars)
        for endpoint, part in _inside(fleet, service, key, members, fars).items():
            shares[endpoint] = shares.get(endpoint, 0.0) + share * part
    return shares


def _split(route: Route, fars: Mapping[str, Far]) -> dict[str, float]:
    """Target key -> what the record gives it."""
    far = fars[route.provider]
    record = far.system.records.get(route.name)
    if record is None:
        return {}
    known = {t.key for t in route.targets}
    members = tuple(record.members[k] for k in sorted(record.members) if k in known)
    return realised(Desired(members), far.capabilities)


def _served(route: Route, target: Target | None, fars: Mapping[str, Far]) -> tuple[str, ...]:
    """Endpoints of a target that the record really leads to: with addresses of their own, those whose address is served."""
    record = fars[route.provider].system.records.get(route.name)
    if target is None or record is None or target.key not in record.members:
        return ()
    values = set(record.members[target.key].values)
    found = tuple(e for e in target.endpoints if values & set(target.values.get(e, ())))
    return found or target.endpoints


def _inside(
    fleet: Fleet, service: Service, key: str, members: tuple[str, ...], fars: Mapping[str, Far]
) -> dict[str, float]:
    """How a target's share is split over its endpoints: by the route inside it, else by capacity."""
    if len(members) <= 1:
        return dict.fromkeys(members, 1.0)
    inner = next((r for r in service.routes if r.scope == key), None)
    if inner is not None:
        found: dict[str, float] = {}
        targets = {t.key: t for t in inner.targets}
        for target, part in _split(inner, fars).items():
            mine = _served(inner, targets.get(target), fars)
            for endpoint, piece in _inside(fleet, service, target, mine, fars).items():
                found[endpoint] = found.get(endpoint, 0.0) + part * piece
        if sum(found.values()) > _TINY:
            return found
    capacity = {e: fleet.endpoint_by_name[e].capacity for e in members if e in fleet.endpoint_by_name}
    total = sum(capacity.values())
    return {e: c / total for e, c in capacity.items()} if total > 0 else dict.fromkeys(members, 1.0 / len(members))
