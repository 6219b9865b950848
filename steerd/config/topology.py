"""Regions, zones, agents and coordinators; and the one name space that they share with services and endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Items, Section
from steerd.model.fleet import Agent, Coordinator, Listen, Region, Tls

__all__ = ["Build", "agents", "coordinators", "is_loopback", "listen", "named", "regions", "url_key"]


@dataclass(slots=True)
class Build:
    """A config being built: what was read, what is wrong, and who has which name."""

    root: Section
    problems: Problems
    base: Path
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    zone_region: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, Mark]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    stacks: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def claim(self, name: str, kind: str, mark: Mark) -> None:
        """Take `name` for a `kind`; a name that is taken is a problem."""
        taken = self.names.get(name)
        if taken is None:
            self.names[name] = (kind, mark)
            return
        where = f"{taken[1].file}:{taken[1].line}" if taken[1].file != mark.file else f"line {taken[1].line}"
        why = "names are unique across kinds, as `steerd explain NAME` takes any"
        self.problems.add(mark, f"name {quote(name)} is taken by a {taken[0]} ({where}): {why}")

    def known_region(self, name: str, mark: Mark) -> bool:
        """True when the region exists; otherwise a problem."""
        if name in self.regions:
            return True
        declared = self.root.section("regions")
        if declared is not None and not declared.given(name):
            self.problems.add(mark, f"there is no region {quote(name)}{nearest(name, self.regions)}")
        return False

    @property
    def whole(self) -> bool:
        """True when every region was read: only then is an unknown zone a mistake of whoever names it."""
        declared = self.root.section("regions")
        return declared is not None and len(self.regions) == len(declared.node.entries)


def named(build: Build, key: str) -> list[tuple[str, Section, Mark]]:
    """The named sections under a root key: name, section, where the name stands."""
    parent = build.root.section(key)
    if parent is None:
        return []
    return [(name, value, parent.key_mark(name)) for name, value in parent if isinstance(value, Section)]


def regions(build: Build) -> tuple[Region, ...]:
    """The regions; fills the build's `regions` and `zone_region`."""
    found = []
    for name, section, mark in named(build, "regions"):
        build.claim(name, "region", mark)
        if "zones" not in section:
            continue
        zones: Items = section.get("zones")
        kept = []
        for zone, at in zones.pairs():
            build.claim(zone, "zone", at)
            if zone not in build.zone_region:
                build.zone_region[zone] = name
                kept.append(zone)
        build.regions[name] = tuple(kept)
        found.append(Region(name, tuple(kept)))
    return tuple(found)


def listen(section: Section | None, base: Listen) -> Listen:
    """`base` overlaid with what the section gives."""
    if section is None:
        return base
    tls = section.section("tls")
    given: dict[str, Any] = {key: value for key, value in section if key != "tls"}
    if tls is not None and "cert" in tls and "key" in tls:
        given["tls"] = Tls(tls.get("cert"), tls.get("key"), tls.get("client_ca"))
    return replace(base, **given)


def _check_listen(build: Build, owner: Section | None, own: Listen, who: str) -> None:
    """Plain HTTP beyond loopback has to be asked for (ha.md, security)."""
    if is_loopback(own.host) or own.tls is not None or own.insecure:
        return
    section = owner or build.root
    if section.given("tls"):
        return
    text = f"{who} would listen on {own.host} in plain HTTP: give `tls: {{cert, key}}`, or say `insecure: true`"
    build.problems.add(section.mark("host"), text)


def agents(build: Build, base: Listen) -> tuple[Agent, ...]:
    """The agents. `sees` is checked once services are known."""
    found = []
    for name, section, mark in named(build, "agents"):
        build.claim(name, "agent", mark)
        zone = section.get("zone")
        if zone is None:
            continue
        if zone not in build.zone_region and build.whole:
            taken = build.names.get(zone)
            if taken is None or taken[0] != "vantage zone":
                build.claim(zone, "vantage zone", section.mark("zone"))
        own = section.section("listen")
        own_listen = listen(own, base) if own is not None else None
        if own_listen is not None:
            _check_listen(build, own, own_listen, f"agent {name}")
        found.append(Agent(name, zone, section.get("token"), tuple(section.get("sees", ())), own_listen))
    return tuple(found)


def coordinators(build: Build, base: Listen) -> tuple[Coordinator, ...]:
    """The coordinators, each in a known region, no two at one URL."""
    found = []
    urls: dict[str, str] = {}
    for name, section, mark in named(build, "coordinators"):
        build.claim(name, "coordinator", mark)
        region, url = section.get("region"), section.get("url")
        if region is not None:
            build.known_region(region, section.mark("region"))
        if url is not None:
            other = urls.setdefault(url_key(url), name)
            if other != name:
                build.problems.add(
                    section.mark("url"), f"coordinator {quote(other)} has this URL too: each needs its own"
                )
        own = section.section("listen")
        own_listen = listen(own, base) if own is not None else None
        if own is not None and own_listen is not None:
            _check_listen(build, own, own_listen, f"coordinator {name}")
        if region is not None and url is not None:
            found.append(Coordinator(name, region, url, own_listen))
    if build.root.given("listen") and any(c.listen is None for c in found):
        _check_listen(build, build.root.section("listen"), base, "a coordinator")
    return tuple(found)


def url_key(url: str) -> str:
    """One text for all spellings of a URL: host in lower case, default port, no trailing slash."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}.get(parts.scheme, 0)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}{query}"


def is_loopback(host: str) -> bool:
    """True for names and addresses of this host only."""
    return host in {"localhost", "::1"} or host.startswith("127.")
