"""Envoy's endpoint discovery (EDS v3): steerd serves the assignments, over REST or as files. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build", "capabilities_for"]

KIND = Kind(
    "envoy",
    "Envoy endpoint discovery (EDS): steerd serves the assignments",
    (
        Setting("listen", "string", "HOST:PORT of the REST-JSON discovery service"),
        Setting("path", "path", "file that Envoy watches; `{name}` in it stands for the cluster"),
        Setting(
            "hold",
            "duration",
            "how long a poll without news waits for some; under Envoy's request_timeout",
            default=0.8,
        ),
        Setting("cert", "path", "certificate of the discovery service", needs=("key",)),
        Setting("key", "path", "its key", needs=("cert",)),
        Setting("client_ca", "path", "lets in only Envoys with a certificate of this authority", needs=("cert",)),
    ),
)

# Volatile: what is served over REST alone is in memory, so what differs is what a restart forgot.
CAPABILITIES = Capabilities(weight_max=10_000, atomic=True, compare_and_set=True, volatile=True)


def capabilities_for(settings: Mapping[str, Any]) -> Capabilities:
    """A file outlives a restart, and others may edit it."""
    return replace(CAPABILITIES, volatile=False) if settings.get("path") else CAPABILITIES


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.envoy.client import Envoy  # noqa: PLC0415  the registry is read without its clients

    return Envoy(context)
