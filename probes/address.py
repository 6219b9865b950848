"""Where a look that is not HTTP connects to."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from probes.errors import MisconfiguredError
from probes.settings import port_of, text
from probes.target import Target

__all__ = ["Address", "AddressSettings", "host_of", "is_address"]

_PORTS = {"http": 80, "https": 443, "tls": 443, "dns": 53}


@dataclass(frozen=True, slots=True)
class Address:
    """`name` is the host as configured (the TLS name), `host` what to connect to."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """`url`, `host` and `port` of a check; what is missing comes from the target's URL."""

    url: str | None
    host: str | None
    port: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> AddressSettings:
        """Reads the settings. Raises `SettingError`."""
        return cls(text(settings, "url"), text(settings, "host"), port_of(settings))

    def name_of(self, target: Target) -> str:
        """The name to resolve for `target`; nothing where there is none, or the target brings an address of its own."""
        if self.host is not None:
            return self.host
        return "" if self.url is None and target.address is not None else host_of(self.url or target.url)

    def of_target(self, target: Target, default_port: int | None = None, *, at: str | None = None) -> Address:
        """The address for `target`; `at` is what its name was resolved to. Raises `MisconfiguredError` when no port is known."""
        base = self.url or target.url
        try:
            url = URL(base if "://" in base else f"tcp://{base}")
            port = self.port or url.explicit_port or _PORTS.get(url.scheme, default_port)
        except ValueError as error:
            raise MisconfiguredError(f"{base!r} is not a URL: {error}") from error
        name = self.host or url.host
        if not name:
            raise MisconfiguredError(f"{base!r} names no host: write tcp://HOST:PORT, or set `host` of this check")
        if port is None:
            raise MisconfiguredError(f"{base!r} names no port: write tcp://HOST:PORT, or set `port` of this check")
        if at is not None:
            return Address(name, at, port)
        # A target's own address stands for its URL's host only.
        own = self.host is None and self.url is None and target.address is not None
        return Address(name, target.address if own and target.address else name, port)


def host_of(url: str) -> str:
    """The host of a URL; nothing where it has none, which is the look's to tell."""
    try:
        return URL(url if "://" in url else f"tcp://{url}").host or ""
    except ValueError:
        return ""


def is_address(host: str) -> bool:
    """True when `host` is an IP address and needs no resolution."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
