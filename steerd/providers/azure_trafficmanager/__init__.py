"""Weights of the endpoints in an Azure Traffic Manager profile. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "azure-trafficmanager",
    "Azure Traffic Manager endpoint weights",
    (
        Setting("subscription", "string", "subscription id", required=True),
        Setting("resource_group", "string", "of the profile", required=True),
        Setting("calls_per_s", "float", "of the subscription's calls to Azure Resource Manager", default=0.5),
        Setting("endpoint_url", "url", "another API endpoint (sovereign cloud, tests)"),
        Setting("timeout", "duration", "of one call", default=5.0),
    ),
    extra="azure",
    modules=("azure.identity",),
)

CAPABILITIES = Capabilities(
    weight_max=1000,
    zero=False,
    atomic=True,
    rate_per_s=0.5,
    fence_note=(
        "the API has no compare-and-set: the profile's tags carry the fence, and profile and fence are compared with what was"
        " read right before the write, and read back after. This narrows the window in which a paused writer does harm,"
        " without closing it."
    ),
)

ROUTE_SETTINGS = (Setting("endpoints", "map", "target -> name of the profile's endpoint"),)

RIGHTS = {
    "profile": ("Microsoft.Network/trafficManagerProfiles/read", "Microsoft.Network/trafficManagerProfiles/write"),
}
"""What writing takes, by what it is granted on: packaging/azure/steerd-trafficmanager.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.azure_trafficmanager.client import (  # noqa: PLC0415  the registry is read without its clients
        TrafficManager,
    )

    return TrafficManager(context)
