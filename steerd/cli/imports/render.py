"""A starting config from what was found: valid as it stands, in `observe` mode, with what to look at in comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from steerd.cli.imports.found import Endpoint, Found, Service, in_url, slug

__all__ = ["Wishes", "render"]

_UNKNOWN = "http://SET-ME"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the source does not tell. `url` is a pattern with {address} and {name}, in place of the URLs found."""

    fleet: str = "imported"
    region: str = "region-1"
    zone: str | None = None
    stack: str = "http"
    url: str | None = None
    model: str | None = None


def render(found: Found, wishes: Wishes) -> str:
    """The config as YAML."""
    places = {e.name: _place(e, wishes) for s in found.services for e in s.endpoints}
    regions: dict[str, list[str]] = {}
    for region, zone in places.values():
        regions.setdefault(region, [])
        if zone not in regions[region]:
            regions[region].append(zone)
    zones = [zone for known in regions.values() for zone in known]
    lines = [
        f"# A start, made by `steerd import`: {_count(len(places), 'endpoint')} of {_count(len(found.services), 'service')}.",
        "# Everything is decided, shown and recorded, and nothing is written (`mode: observe`). Look at it with",
        "# `steerd config check`, run it, see what it would do with `steerd plan`, and take `mode` out when you trust it.",
        *(f"# - {_told(note)}" for note in found.notes),
        "",
        f"fleet: {_scalar(wishes.fleet)}",
        "mode: observe",
        "",
        "# Right zones are what everything stands on: a zone is what fails together.",
        "regions:",
        *(f"  {_scalar(name)}: {{zones: {_flow(known)}}}" for name, known in regions.items()),
        "",
        "# One agent for each zone that can look, and at least three in all: with fewer, nothing is ever called down.",
        "agents:",
        *(f"  {_scalar(slug(f'probe-{zone}'))}: {{zone: {_scalar(zone)}}}" for zone in zones),
        *(f"  probe-outside-{n}: {{zone: outside-{n}}}" for n in range(1, 4 - len(zones))),
        "coordinators:",
        f'  main: {{region: {_scalar(next(iter(regions)))}, url: "http://127.0.0.1:7443"}}',
        "store: {kind: sqlite, path: /var/lib/steerd/steerd.db}",
        "",
        "providers:",
        f"  {found.provider}: {_flow({'kind': found.kind, **found.settings})}",
        "",
        "services:",
    ]
    for service in found.services:
        lines += _service(found, service, places, wishes)
    return "\n".join(lines) + "\n"


def _service(found: Found, service: Service, places: dict[str, tuple[str, str]], wishes: Wishes) -> Iterator[str]:
    yield f"  {service.name}:"
    yield f"    stack: {_scalar(wishes.stack)}   # which checks: `steerd stacks`"
    if wishes.model:
        yield f"    model: {_scalar(wishes.model)}"
    yield "    endpoints:   # capacity is a guess from the weights: put in what each can take, and add `demand`"
    heaviest = max((e.weight for e in service.endpoints), default=1.0) or 1.0
    seen: set[str] = set()
    for endpoint in service.endpoints:
        url = _url(endpoint, wishes)
        if url == _UNKNOWN or url in seen:
            url = f"http://{endpoint.name}.set-me.example"
        seen.add(url)
        facts: dict[str, Any] = {"zone": places[endpoint.name][1], "url": url}
        if endpoint.address:
            facts["address"] = endpoint.address
        if endpoint.address6:
            facts["address6"] = endpoint.address6
        facts["capacity"] = round(100.0 * endpoint.weight / heaviest, 1) or 100.0
        yield f"      {endpoint.name}: {_flow(facts)}"
    route: dict[str, Any] = {"provider": found.provider, **service.route, "per": "endpoint"}
    if any(e.target for e in service.endpoints):
        route["targets"] = {e.name: e.target for e in service.endpoints if e.target}
    if found.kind == "haproxy":
        route["servers"] = {e.name: e.server for e in service.endpoints}
    if found.kind == "azure-trafficmanager":
        route["endpoints"] = {e.name: e.server for e in service.endpoints}
    yield "    routes:"
    yield f"      - {_flow(route)}"


def _place(endpoint: Endpoint, wishes: Wishes) -> tuple[str, str]:
    """Region and zone; what is not told is guessed, and never the same word for both."""
    region = slug(endpoint.region) if endpoint.region else wishes.region
    if endpoint.zone:
        zone = slug(endpoint.zone)
    elif endpoint.region or wishes.zone is None:
        zone = f"{region}-a"
    else:
        zone = wishes.zone
    return region, zone if zone != region else f"{zone}-zone"


def _url(endpoint: Endpoint, wishes: Wishes) -> str:
    if wishes.url is None:
        return endpoint.url or _UNKNOWN
    if "{address}" in wishes.url and endpoint.host is None:
        return _UNKNOWN
    return wishes.url.replace("{address}", in_url(endpoint.host or "")).replace("{name}", endpoint.name)


def _told(note: str) -> str:
    """As one line of a comment: notes repeat what others wrote (identifiers, names), and a line break would end the comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in note).split())


def _flow(value: Any) -> str:
    """One line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, width=10_000).removesuffix("...\n").strip()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
