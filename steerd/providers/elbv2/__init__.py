"""Weights of an Application Load Balancer's target groups in one listener rule. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.aws import AWS_SETTINGS, MODULES
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "elbv2",
    "Amazon Application Load Balancer target group weights",
    (
        Setting("calls_per_s", "float", "of the account's calls to Elastic Load Balancing in this region", default=3.0),
        *AWS_SETTINGS,
    ),
    extra="aws",
    modules=MODULES,
)

CAPABILITIES = Capabilities(
    weight_max=999,
    atomic=True,
    fence_note=(
        "a listener rule has no place for a fence: the whole action list is compared with what was read right before it is"
        " replaced, and read back after. This narrows the window in which a paused writer does harm, without closing it."
    ),
    rate_per_s=3.0,
)

ROUTE_SETTINGS = (
    Setting("rule", "string", "ARN of the listener rule", required=True),
    Setting("target_groups", "map", "target -> ARN of its target group", required=True),
)

RIGHTS = {
    "*": ("elasticloadbalancing:DescribeRules",),
    "rule": ("elasticloadbalancing:ModifyRule",),
    "listener": ("elasticloadbalancing:ModifyListener",),
}
"""What writing takes, by what it is granted on: packaging/aws/policies/elbv2.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.elbv2.client import ElbV2  # noqa: PLC0415  the registry is read without its clients

    return ElbV2(context)
