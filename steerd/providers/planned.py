"""Providers whose names, settings and capabilities are settled and whose code is not written yet.

A config that names one is valid; the coordinator that needs it says so and does not start. Their capabilities are what
the planner and the simulator need to know of them; the numbers are the vendors' documented limits (providers.md). When
one is written, its entry moves into its own package.
"""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities

__all__ = ["PLANNED", "PLANNED_ROUTE_SETTINGS"]

_TIMEOUT = Setting("timeout", "duration", "of one call", default=5.0)
_READ_BACK = "no compare-and-set: steerd checks its lease right before the call, reads back after, and reconciles"

PLANNED: Mapping[str, tuple[Kind, Capabilities]] = {
    kind.name: (kind, capabilities)
    for kind, capabilities in (
        (
            Kind(
                "cloudflare",
                "Cloudflare Load Balancing pool weights",
                (
                    Setting("zone_id", "string", "of the load balancer", required=True),
                    Setting("account_id", "string", "of the pools", required=True),
                    Setting("token", "secret", "API token", required=True),
                    _TIMEOUT,
                ),
                built=False,
            ),
            # pool_weights are fractions in steps of 0.01; 1200 calls per 5 minutes, beyond which every call is refused.
            Capabilities(weight_max=100, ttl=True, dns=True, rate_per_s=4.0, fence_note=_READ_BACK),
        ),
    )
}

PLANNED_ROUTE_SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "cloudflare": (Setting("pools", "map", "target -> pool id", required=True),),
}
"""Keys a route takes beyond those of configuration.md, by provider kind."""
