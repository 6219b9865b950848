"""What a config says that is allowed and worth a second thought."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from urllib.parse import urlsplit

from steerd.config.checks import dropped
from steerd.config.own_stacks import stack_of
from steerd.config.thrift import thin_budgets
from steerd.config.topology import is_loopback
from steerd.config.units import format_duration
from steerd.model.fleet import Fleet, Service
from steerd.model.route import Route
from steerd.providers.registry import capabilities_of

__all__ = ["warnings"]


def warnings(fleet: Fleet) -> list[str]:
    """One line each: what steerd could not do if a region fell silent, what travels in the open, what is not watched, what
    this build does not heed yet.
    """
    found = [
        *_silent_regions(fleet),
        *_in_the_open(fleet),
        *_placement(fleet),
        *_services(fleet),
        *thin_budgets(fleet),
        *_members_only(fleet),
        *_not_in_force(fleet),
    ]
    return list(dict.fromkeys(found))


def _silent_regions(fleet: Fleet) -> Iterator[str]:
    """decisions.md, section 4: what a cut or a power loss of one region would leave of the quorum."""
    for region in fleet.regions:
        left = [a for a in fleet.agents if fleet.vantage_region(a.zone) != region.name]
        if len(left) == len(fleet.agents):
            continue
        voices = len({a.zone for a in left})
        vantages = len({fleet.vantage_region(a.zone) for a in left})
        lacks = []
        if voices < fleet.quorum.voices:
            lacks.append(f"{voices} of {fleet.quorum.voices} voices")
        if vantages < fleet.quorum.vantage_regions:
            lacks.append(f"{vantages} of {fleet.quorum.vantage_regions} vantage regions")
        if lacks:
            yield (
                f"if region {region.name} fell silent, {' and '.join(lacks)} would be left: steerd could not tell a dead"
                f" region from a cut, and would drain nothing; add agents outside {region.name}"
            )


def _in_the_open(fleet: Fleet) -> Iterator[str]:
    for coordinator in fleet.coordinators:
        who = f"coordinator {coordinator.name}"
        if _plain_http(coordinator.url):
            yield f"{who} is reached by plain HTTP ({coordinator.url}): votes and tokens can be read and changed on the way"
        listen = coordinator.listen or fleet.listen
        host = urlsplit(coordinator.url).hostname or ""
        if is_loopback(listen.host):
            if not is_loopback(host):
                yield f"{who} listens on {listen.host} only and is reached at {host}: forward to it, or set `listen.host`"
            continue
        if listen.insecure:
            yield f"{who} listens on {listen.host} with `insecure: true`: that network can read and change votes"
        if listen.tls is None or listen.tls.client_ca is None:
            open_agents = [a.name for a in fleet.agents if a.token is None]
            if open_agents:
                names = ", ".join(open_agents[:5]) + (", ..." if len(open_agents) > 5 else "")
                yield f"no `token` for agents {names}: whoever reaches a coordinator could vote in their names"
    for service in fleet.services:
        keyed = [c.name for c in service.checks if c.settings.get("api_key") is not None]
        plain = [e.name for e in service.endpoints if _plain_http(e.url)]
        if keyed and plain:
            yield f"service {service.name} sends the key of {', '.join(keyed)} over plain HTTP, to {plain[0]} for one"


def _plain_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _placement(fleet: Fleet) -> Iterator[str]:
    known = list(fleet.zone_region)
    for agent in fleet.agents:
        if agent.zone in fleet.zone_region:
            continue
        close = difflib.get_close_matches(agent.zone, known, n=1, cutoff=0.85)
        if close:
            text = f"agent {agent.name} votes from {agent.zone}, which is outside `regions`: a vantage of its own"
            yield f"{text}; or did you mean {close[0]}?"
    if fleet.store.kind == "memory":
        yield "store memory forgets every decision and drain when the coordinator stops: for tests only"


def _services(fleet: Fleet) -> Iterator[str]:
    instances = {d.name: set(d.instances) for d in fleet.dependencies if d.instances}
    for service in fleet.services:
        names = {c.name for c in service.checks}
        for check in dropped(stack_of(fleet, service.stack)):
            if check.name not in names:
                what = f"check {check.name!r} of stack {service.stack} is left out"
                yield f"service {service.name}: {what}, as probe kind {check.kind!r} cannot be used"
        if service.fallback and service.fallback not in fleet.service_by_name:
            yield f"service {service.name} falls back on {service.fallback!r}, which is no service of this config"
        if not service.routes:
            yield f"service {service.name} has no routes: it is watched, and nothing is steered"
        for route in service.routes:
            if route.types and route.ttl_s > service.objectives.rto_s:
                yield (
                    f"service {service.name}: record {route.name} may be cached for {format_duration(route.ttl_s)}, longer than"
                    f" the RTO of {format_duration(service.objectives.rto_s)}"
                )
        for name in service.depends_on:
            regions = {fleet.zone_region[e.zone] for e in service.endpoints}
            missing = sorted(regions - instances.get(name, regions))
            if missing:
                yield f"service {service.name} has endpoints in {', '.join(missing)}, where dependency {name} has no instance"


def _members_only(fleet: Fleet) -> Iterator[str]:
    """decisions.md, section 7: a record of members gives each its part by capacity; less than half of that is nothing there."""
    for service in fleet.services:
        capacity: dict[str, float] = {}
        for endpoint in service.endpoints:
            region = fleet.vantage_region(endpoint.zone)
            capacity[region] = capacity.get(region, 0.0) + endpoint.capacity
        for route in service.routes:
            provider = fleet.provider_by_name.get(route.provider)
            caps = capabilities_of(provider) if provider is not None else None
            wanted = _preference(service, route, sorted(capacity))
            if caps is None or not caps.membership or not wanted:
                continue
            there = [r for r in sorted(capacity) if not route.only or r in route.only]
            total, parts = sum(capacity[r] for r in there), sum(wanted.get(r, 0.0) for r in there)
            for region in there if total > 0 and parts > 0 else ():
                part = wanted.get(region, 0.0) / parts
                if 0 < part < 0.5 * capacity[region] / total:
                    yield (
                        f"service {service.name}: {route.key} knows members and no weights, so it cannot give {region} {part:.0%}:"
                        f" nothing of {region} is in it while the others serve"
                    )


def _preference(service: Service, route: Route, regions: list[str]) -> dict[str, float]:
    """Region -> part of the traffic, where the config names one."""
    routing = service.routing
    if routing.mode == "active-active":
        return dict(route.prefer or routing.prefer or {})
    active = routing.order[0] if routing.order else regions[0]
    return {r: 1.0 - routing.trickle * (len(regions) - 1) if r == active else routing.trickle for r in regions}


def _not_in_force(fleet: Fleet) -> Iterator[str]:
    """Settings that this build reads and does not heed, although whoever wrote them counts on them. Take a line out when
    its rule is built.
    """
    if fleet.alerts:
        yield "alerts are not sent anywhere yet: watch `steerd status` (exit 1 when something is not well) or `steerd history`"
