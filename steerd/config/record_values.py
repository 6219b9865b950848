"""What stands in a record for each target of a route, and whether targets can be told apart."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from steerd.config.problems import Mark, quote
from steerd.config.tables import Items, Section
from steerd.config.topology import Build
from steerd.model.fleet import Endpoint, ProviderSpec
from steerd.model.route import Target

__all__ = ["DNS_KINDS", "LABEL", "MEMBER_MAPS", "SERVER_KINDS", "Draft", "distinct", "values_of"]

DNS_KINDS = frozenset({"embedded", "rfc2136", "powerdns", "route53", "clouddns"})
"""Kinds that write address records: routes take `name`, `type`, `ttl` and addresses."""
SERVER_KINDS = frozenset({"haproxy"})
"""Kinds whose routes take `backend` and know members by server name."""

SOCKET_KINDS = frozenset({"envoy"})
"""Kinds whose routes list members by IP:PORT, taken from the endpoints' `url`."""

MEMBER_MAPS = {
    "elbv2": "target_groups",
    "global-accelerator": "endpoints",
    "route53-arc": "controls",
    "cloudflare": "pools",
}
"""Kinds that know members by a name of the system's own -> the route's map of them, by target."""

LABEL = re.compile(r"(?:\*|_?[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)")
"""One label of a DNS name."""


@dataclass(slots=True)
class Draft:
    """A route while it is checked."""

    build: Build
    service: str
    section: Section
    provider: ProviderSpec
    types: tuple[str, ...]
    per: str
    only: tuple[str, ...] = ()
    members: dict[str, list[Endpoint]] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def dns(self) -> bool:
        return self.provider.kind in DNS_KINDS

    def wrong(self, key: str | None, text: str) -> None:
        self.build.problems.add(self.section.mark(key), text)

    @property
    def named(self) -> bool:
        """True when the record holds a name rather than addresses."""
        return bool({"CNAME", "ALIAS"} & set(self.types))

    def resident(self, key: str) -> bool:
        """True when residency (`only`) lets this target be served."""
        members = self.members.get(key, [])
        return not self.only or any(self.build.zone_region[e.zone] in self.only for e in members)

    def wrong_at(self, mark: Mark, text: str) -> None:
        """Note a problem at a place of its own."""
        self.build.problems.add(mark, text)


def values_of(draft: Draft, key: str, fixed: Section | None) -> dict[str, tuple[str, ...]]:
    """What stands in the record for a target: fixed values under its own key, else addresses by endpoint."""
    if (setting := MEMBER_MAPS.get(draft.provider.kind)) is not None:
        name = draft.extras.get(setting, {}).get(key)
        return {key: (str(name),)} if name is not None else {}
    if fixed is not None and fixed.given(key):
        return _fixed(draft, key, fixed)
    members = draft.members[key]
    if draft.provider.kind in SOCKET_KINDS:
        return _sockets(draft, key, members)
    if not draft.types:
        # Load balancers know their members by name; addresses are handed on for systems that want them.
        return {e.name: tuple(a for a in (e.address, e.address6) if a) for e in members if e.address or e.address6}
    if draft.named:
        if draft.resident(key):
            hint = f"add {key} to `targets`, such as {{{key}: {key}.example.net}}"
            draft.wrong(None, f"{draft.types[0]} routes take names: {hint}")
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for endpoint in members:
        addresses = (("A", endpoint.address), ("AAAA", endpoint.address6))
        own = tuple(a for kind, a in addresses if kind in draft.types and a)
        if own:
            found[endpoint.name] = own
    for kind in draft.types if draft.resident(key) else ():
        attribute = "address" if kind == "A" else "address6"
        if not any(getattr(e, attribute) for e in members):
            who = f"endpoint {key}" if draft.per == "endpoint" else f"any endpoint of {key}"
            hint = f"give {who} an `{attribute}`, or add it to `targets`"
            draft.wrong(None, f"nothing to serve as {kind} for {draft.per} {quote(key)}: {hint}")
    return found


def _sockets(draft: Draft, key: str, members: list[Endpoint]) -> dict[str, tuple[str, ...]]:
    """IP:PORT of each endpoint: its `url`'s, or its `address` with that port where the `url` has a name."""
    servers = draft.section.section("servers")
    if servers is not None and servers.given(key):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for endpoint in members:
        parts = urlsplit(endpoint.url)
        host = parts.hostname if parts.hostname and _version(parts.hostname) else endpoint.address or endpoint.address6
        if host is None:
            hint = f"give its `url` an IP address, or it an `address`, or the route `servers: {{{key}: IP:PORT}}`"
            draft.wrong(
                None, f"Envoy resolves no names in assignments, and {quote(endpoint.name)} has no address: {hint}"
            )
            continue
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found[endpoint.name] = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)
    return found


def _fixed(draft: Draft, key: str, fixed: Section) -> dict[str, tuple[str, ...]]:
    given: Items = fixed.get(key, Items())
    for value, mark in given.pairs():
        _check_value(draft, value, mark)
    if not given:
        return {}
    if draft.resident(key) and draft.types and not draft.named:
        for kind in draft.types:
            if not any(_version(v) == (6 if kind == "AAAA" else 4) for v in given):
                text = f"no {kind} value for {quote(key)}: this route writes {', '.join(draft.types)}"
                draft.wrong_at(fixed.mark(key), text)
    return {key: tuple(given)}


def _check_value(draft: Draft, value: str, mark: Mark) -> None:
    if not draft.types:
        return
    version = _version(value)
    if draft.named:
        name = value.rstrip(".")
        if version or "." not in name or not all(LABEL.fullmatch(label) for label in name.split(".")):
            text = f"{quote(value)} is not a name: {draft.types[0]} takes names such as lb.example.net"
            draft.wrong_at(mark, text)
        return
    if {4: "A", 6: "AAAA"}.get(version or 0) not in draft.types:
        kinds = " or ".join({"A": "IPv4", "AAAA": "IPv6"}[t] for t in draft.types)
        draft.wrong_at(mark, f"{quote(value)} is not an {kinds} address, which {', '.join(draft.types)} takes")


def _version(value: str) -> int | None:
    try:
        return ipaddress.ip_address(value).version
    except ValueError:
        return None


def distinct(draft: Draft, targets: list[Target]) -> None:
    """Two targets that look alike in the system cannot be weighed apart."""
    owner: dict[str, str] = {}
    named = MEMBER_MAPS.get(draft.provider.kind)
    for target in targets:
        seen = {v for values in target.values.values() for v in values} if draft.types or named else set()
        if target.server is not None:
            seen = {target.server}
        for value in sorted(seen):
            other = owner.setdefault(value, target.key)
            if other != target.key:
                why = f"a route per {draft.per} needs one of its own for each"
                text = f"{other} and {target.key} are both {quote(value)} here: {why}"
                draft.wrong(named or ("servers" if target.server else None), text)
