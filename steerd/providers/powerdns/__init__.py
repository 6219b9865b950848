"""PowerDNS Authoritative Server through its HTTP API: weights by LUA records, or membership. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build", "capabilities_for"]

KIND = Kind(
    "powerdns",
    "PowerDNS HTTP API: weights by LUA records, or membership",
    (
        Setting("url", "url", "of the API, for example http://127.0.0.1:8081", required=True),
        Setting("api_key", "secret", "the API key", required=True),
        Setting("zone", "string", "the zone that holds the records", required=True),
        Setting("server_id", "string", "of the API", default="localhost"),
        Setting("lua", "bool", "weights by LUA records; else membership", default=True),
        Setting(
            "verify", "strings", "name servers to ask after a write, HOST:PORT; by default those of the NS records"
        ),
        Setting("ca", "path", "certificates to trust for an https URL, instead of the system's"),
        Setting("timeout", "duration", "of one call or question", default=5.0),
    ),
    modules=("dns",),
)

CAPABILITIES = Capabilities(
    weight_max=10_000,
    atomic=True,
    compare_and_set=False,
    ttl=True,
    dns=True,
    fence_note=(
        "PowerDNS has no compare-and-set: steerd checks its lease right before the call, compares the records and the fence with"
        " what it read, reads back after, and sets a stale write of its own right. This narrows the window without closing it."
    ),
)


def capabilities_for(settings: Mapping[str, Any]) -> Capabilities:
    """Without LUA records an address is in or out."""
    return CAPABILITIES if settings.get("lua", True) else replace(CAPABILITIES, membership=True, weight_max=1)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.powerdns.client import PowerDNS  # noqa: PLC0415  the registry is read without its clients

    return PowerDNS(context)
