"""Fleets for tests, made in code: regions x zones x endpoints, one agent per zone and some outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steerd.model.fleet import (
    Agent,
    Check,
    Coordinator,
    Demand,
    Endpoint,
    Fleet,
    ProviderSpec,
    Region,
    Routing,
    Service,
)
from steerd.model.route import Capabilities, Route, Target
from steerd.model.rules import Quorum
from steerd.model.sample import Layer

__all__ = ["MEMBERS", "WEIGHTED", "make_fleet", "repeated", "with_second"]

WEIGHTED = Capabilities(weight_max=255, compare_and_set=True, dns=True, ttl=True)
MEMBERS = Capabilities(membership=True, zero=False, compare_and_set=True, dns=True, ttl=True)


def make_fleet(
    regions: dict[str, int] | None = None,
    *,
    per_zone: int = 2,
    capacity: float = 100.0,
    demand: float | None = 600.0,
    outside: int = 1,
    per: Any = "endpoint",
    **service: Any,
) -> Fleet:
    """`regions` maps a region's name to its number of zones: {"eu": 3} has zones eua, eub, euc. One service, `chat`."""
    regions = regions if regions is not None else {"eu": 3, "us": 3}
    topology = tuple(
        Region(name, tuple(f"{name}{'abcdefgh'[i]}" for i in range(count))) for name, count in regions.items()
    )
    endpoints = tuple(
        Endpoint(
            f"{zone}-{n + 1}", "chat", zone, f"http://10.0.{i}.{n + 1}:8000", capacity, address=f"203.0.{i}.{n + 1}"
        )
        for i, zone in enumerate(z for r in topology for z in r.zones)
        for n in range(per_zone)
    )
    agents = tuple(Agent(f"probe-{z}", z) for r in topology for z in r.zones)
    agents += tuple(Agent(f"probe-out{i}", f"out{i}") for i in range(outside))
    fleet = Fleet(
        name="test",
        regions=topology,
        agents=agents,
        coordinators=(Coordinator("co", topology[0].name, "http://127.0.0.1:1"),),
        providers=(ProviderSpec("dns", "memory"),),
        config_hash="c0ffee",
    )
    fleet = replace(fleet, quorum=Quorum(vantage_regions=min(2, len(fleet.vantage_regions))))
    if per == "endpoint":
        targets = tuple(Target(e.name, (e.name,), {e.name: (e.address or "",)}) for e in endpoints)
    else:
        of = {e.name: e.zone if per == "zone" else fleet.vantage_region(e.zone) for e in endpoints}
        targets = tuple(
            Target(
                key,
                tuple(e.name for e in endpoints if of[e.name] == key),
                {e.name: (e.address or "",) for e in endpoints if of[e.name] == key},
            )
            for key in dict.fromkeys(of.values())
        )
    route = Route(key="dns/chat.test", service="chat", provider="dns", name="chat.test", per=per, targets=targets)
    settings: dict[str, Any] = {
        "routing": Routing(),
        "demand": Demand(value=demand) if demand is not None else None,
        "checks": (Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0),),
        **service,
    }
    return replace(fleet, services=(Service(name="chat", endpoints=endpoints, routes=(route,), **settings),))


def with_second(fleet: Fleet, name: str = "small", *, demand: float | None = 300.0, **service: Any) -> Fleet:
    """The fleet with a second service on the same zones: its endpoints are called `NAME-ENDPOINT`."""
    first = fleet.services[0]
    endpoints = tuple(
        replace(
            e, name=f"{name}-{e.name}", service=name, url=e.url.replace(":8000", ":9000"), address=f"198.51.100.{n + 1}"
        )
        for n, e in enumerate(first.endpoints)
    )
    targets = tuple(Target(e.name, (e.name,), {e.name: (e.address or "",)}) for e in endpoints)
    route = Route(
        key=f"dns/{name}.test", service=name, provider="dns", name=f"{name}.test", per="endpoint", targets=targets
    )
    second = replace(
        first,
        name=name,
        endpoints=endpoints,
        routes=(route,),
        demand=Demand(value=demand) if demand is not None else None,
        **service,
    )
    return replace(fleet, services=(*fleet.services, second))


def repeated(fleet: Fleet, count: int) -> Fleet:
    """`count` services like the fleet's first one, with a target per endpoint: s000 with endpoints s000-..., and so on."""
    made = []
    for number in range(count):
        service, name, mark = fleet.services[0], f"s{number:03}", f"s{number:03}-"
        endpoints = tuple(replace(e, name=mark + e.name, service=name) for e in service.endpoints)
        targets = tuple(
            Target(mark + t.key, (mark + t.key,), {mark + t.key: t.values[t.key]}) for t in service.routes[0].targets
        )
        route = replace(service.routes[0], key=f"dns/{name}.test", service=name, name=f"{name}.test", targets=targets)
        made.append(replace(service, name=name, endpoints=endpoints, routes=(route,)))
    return replace(fleet, services=tuple(made))
