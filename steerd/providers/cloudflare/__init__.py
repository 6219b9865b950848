"""Weights of the pools behind a Cloudflare load balancer. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "cloudflare",
    "Cloudflare Load Balancing pool weights",
    (
        Setting("zone_id", "string", "of the load balancers", required=True),
        Setting("account_id", "string", "of the pools", required=True),
        Setting("token", "secret", "API token: {file: PATH} or {env: NAME}", required=True),
        # 1200 calls in 5 minutes are 4 a second, and one too many blocks all of them: a quarter is left to people.
        Setting("calls_per_s", "float", "of the token's calls to the API", default=3.0),
        Setting("endpoint_url", "url", "another API endpoint (tests)"),
        Setting("timeout", "duration", "of one call", default=5.0),
    ),
)

# Weights are fractions in steps of 0.01. All of them go in one call, but pools that are enabled or disabled take one each.
CAPABILITIES = Capabilities(
    weight_max=100,
    atomic=False,
    rate_per_s=3.0,
    fence_note=(
        "the API has no compare-and-set: the load balancer's description carries the fence, and weights, pools and fence are"
        " compared with what was read right before the write, and read back after. This narrows the window in which a paused"
        " writer does harm, without closing it."
    ),
)

ROUTE_SETTINGS = (
    Setting("pools", "map", "target -> id of its pool", required=True),
    Setting("disable_pools", "bool", "also disable the pools of targets that are out", default=False),
)

RIGHTS = {"zone": ("Load Balancers Write",), "account": ("Load Balancing: Monitors and Pools Write",)}
"""Permission groups that writing takes, by what they are granted on: packaging/cloudflare grants just these."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.cloudflare.client import Cloudflare  # noqa: PLC0415  the registry is read without its clients

    return Cloudflare(context)
