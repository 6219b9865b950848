"""Fleets of any size for benchmarks: three regions of three zones, an agent in each zone, services of 1000 endpoints."""

from __future__ import annotations

from collections.abc import Iterator

from steerd.model.fleet import Agent, Check, Coordinator, Demand, Endpoint, Fleet, ProviderSpec, Region, Service
from steerd.model.route import Route, Target
from steerd.model.rules import Quorum
from steerd.model.sample import Layer

__all__ = ["ZONES", "large_fleet", "large_yaml"]

_REGIONS = ("eu", "us", "ap")
ZONES = tuple(f"{region}-{letter}" for region in _REGIONS for letter in "abc")
"""One agent in each: nine."""
_PER_SERVICE = 1000
_CAPACITY = 100.0
_LOAD = 0.6


def large_fleet(endpoints: int) -> Fleet:
    """Made in code: `endpoints` of them, spread evenly over zones, looked at every 5 s by every agent."""
    return Fleet(
        name="large",
        regions=tuple(Region(r, tuple(z for z in ZONES if z.startswith(r))) for r in _REGIONS),
        agents=tuple(Agent(f"probe-{zone}", zone) for zone in ZONES),
        coordinators=tuple(Coordinator(f"co-{r}", r, f"https://co-{r}.test:7443") for r in _REGIONS[:2]),
        providers=(ProviderSpec("dns", "route53"),),
        quorum=Quorum(vantage_regions=2),
        services=tuple(_service(name, count) for name, count in _sizes(endpoints)),
        config_hash="large",
    )


def _sizes(endpoints: int) -> Iterator[tuple[str, int]]:
    for number, first in enumerate(range(0, endpoints, _PER_SERVICE)):
        yield f"model-{number:03}", min(_PER_SERVICE, endpoints - first)


def _members(service: str, count: int) -> Iterator[tuple[str, str, str]]:
    """(name, zone, address) of each endpoint."""
    number = int(service.rpartition("-")[2])
    for n in range(count):
        yield f"{service}-{n:04}", ZONES[n % len(ZONES)], f"10.{number}.{n // 250}.{n % 250 + 1}"


def _service(name: str, count: int) -> Service:
    members = tuple(
        Endpoint(n, name, zone, f"http://{address}:8000", _CAPACITY, address=address)
        for n, zone, address in _members(name, count)
    )
    by_zone = {z: tuple(e for e in members if e.zone == z) for z in ZONES}
    targets = tuple(
        Target(z, tuple(e.name for e in inside), {e.name: (e.address or "",) for e in inside})
        for z, inside in by_zone.items()
        if inside
    )
    record = f"{name}.test"
    return Service(
        name=name,
        checks=(Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0),),
        demand=Demand(value=_LOAD * _CAPACITY * count),
        endpoints=members,
        routes=(Route(key=f"dns/{record}", service=name, provider="dns", name=record, per="zone", targets=targets),),
    )


def large_yaml(endpoints: int) -> str:
    """The same fleet as a config file."""
    lines = ["fleet: large", "regions:"]
    lines += [f"  {r}: {{zones: [{', '.join(z for z in ZONES if z.startswith(r))}]}}" for r in _REGIONS]
    lines += ["agents:", *(f"  probe-{zone}: {{zone: {zone}}}" for zone in ZONES)]
    lines += ["coordinators:", *(f'  co-{r}: {{region: {r}, url: "https://co-{r}.test:7443"}}' for r in _REGIONS[:2])]
    lines += ['store: {kind: etcd, endpoints: ["https://etcd-1:2379"]}']
    lines += ["providers:", "  dns: {kind: route53, hosted_zone: Z0000000000SIM}", "services:"]
    for name, count in _sizes(endpoints):
        lines += [f"  {name}:", "    stack: http", "    checks: {liveness: {interval: 5s, timeout: 2s}}"]
        lines += [f"    demand: {_LOAD * _CAPACITY * count:g}", "    endpoints:"]
        lines += [
            f'      {n}: {{zone: {zone}, url: "http://{address}:8000", address: {address}, capacity: {_CAPACITY:g}}}'
            for n, zone, address in _members(name, count)
        ]
        lines += [f"    routes: [{{provider: dns, name: {name}.test, type: A, ttl: 30s, per: zone}}]"]
    return "\n".join(lines) + "\n"
