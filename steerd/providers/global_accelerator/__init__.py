"""Weights of the endpoints in an AWS Global Accelerator endpoint group. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.aws import AWS_SETTINGS, MODULES
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "global-accelerator",
    "Amazon Global Accelerator endpoint weights",
    (
        Setting("endpoint_group", "string", "ARN of the endpoint group, unless each route names its own"),
        Setting("calls_per_s", "float", "of the account's calls to Global Accelerator", default=1.0),
        *(s for s in AWS_SETTINGS if s.name != "aws_region"),  # its API is in one region only
    ),
    extra="aws",
    modules=MODULES,
)

CAPABILITIES = Capabilities(
    weight_max=255,
    atomic=True,
    fence_note=(
        "an endpoint group has no place for a fence: it is compared with what was read right before its endpoints are"
        " replaced, and read back after. This narrows the window in which a paused writer does harm, without closing it."
    ),
    rate_per_s=1.0,
)

ROUTE_SETTINGS = (
    Setting("endpoints", "map", "target -> endpoint id", required=True),
    Setting("group", "string", "ARN of the endpoint group, where it is not the provider's"),
    Setting("attachments", "map", "target -> ARN of the cross-account attachment that shares its endpoint"),
)

RIGHTS = {
    "accelerator": ("globalaccelerator:DescribeAccelerator",),
    "group": ("globalaccelerator:DescribeEndpointGroup", "globalaccelerator:UpdateEndpointGroup"),
}
"""What writing takes, by what it is granted on: packaging/aws/policies/global-accelerator.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.global_accelerator.client import (  # noqa: PLC0415  the registry is read without its clients
        GlobalAccelerator,
    )

    return GlobalAccelerator(context)
