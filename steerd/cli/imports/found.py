"""What an import found, before it is written down. Frozen facts, and names that the config takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from steerd.config.specs import NAME_PATTERN

__all__ = ["Endpoint", "Found", "Names", "Service", "Unreadable", "in_url", "slug"]


class Unreadable(Exception):
    """The source is not what the import expects. The text says where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that serves. `weight` is what it has now (0: out); `host` is where it listens, as it stands in a URL; `target` what
    a DNS record serves for it where that is no address; `server` the name that a load balancer knows it by. `url` None: it is not
    known where agents look.
    """

    name: str
    url: str | None
    host: str | None = None
    address: str | None = None
    address6: str | None = None
    weight: float = 1.0
    region: str | None = None
    zone: str | None = None
    target: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One split of traffic. `route` are the keys of its route beside `provider` and `per`."""

    name: str
    endpoints: tuple[Endpoint, ...]
    route: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Everything, with the provider that writes it. `notes` are what a human should know, one line each."""

    provider: str
    kind: str
    settings: Mapping[str, Any]
    services: tuple[Service, ...]
    notes: tuple[str, ...] = ()


def slug(text: str) -> str:
    """A name that the config takes, as near to `text` as it gets."""
    found = re.sub(r"[^a-z0-9.-]+", "-", text.lower().rstrip(".")).strip("-.")
    return found[:100].strip("-.") or "unnamed"


def in_url(host: str) -> str:
    """An address or name as it stands in a URL."""
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host
    except ValueError:
        return host


@dataclass(slots=True)
class Names:
    """Names are unique over all kinds in a config: a second one of the same text gets a number."""

    taken: set[str] = field(default_factory=set)

    def take(self, *parts: str) -> str:
        """A name of `parts` that nobody has yet."""
        wanted = slug("-".join(slug(part) for part in parts if part))
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}-{number}"
        self.taken.add(name)
        return name

    def exactly(self, text: str) -> bool:
        """Takes `text` itself, where the config takes it as a name and nobody has it yet."""
        if text in self.taken or not re.fullmatch(NAME_PATTERN, text):
            return False
        self.taken.add(text)
        return True

    def reserve(self, names: Iterable[str]) -> None:
        """Names that are given away already."""
        self.taken.update(names)
