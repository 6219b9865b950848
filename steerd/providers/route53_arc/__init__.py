"""Routing controls of an Amazon Application Recovery Controller cluster: each target on or off. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.aws import AWS_SETTINGS, MODULES
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "route53-arc",
    "Amazon Application Recovery Controller routing controls",
    (
        Setting("cluster", "string", "ARN of the cluster", required=True),
        Setting(
            "endpoints", "strings", "the 5 cluster endpoints, URL=REGION (cached, so that no control plane is needed)"
        ),
        Setting("calls_per_s", "float", "of the account's calls to the cluster", default=5.0),
        *(s for s in AWS_SETTINGS if s.name != "aws_region"),  # each cluster endpoint has its own
    ),
    extra="aws",
    modules=MODULES,
)

CAPABILITIES = Capabilities(
    membership=True,
    atomic=True,
    fence_note=(
        "a routing control has no place for a fence: the states are compared with what was read right before they are"
        " changed, and read back from every cluster endpoint after; safety rules of the control panel bind every writer"
    ),
)

ROUTE_SETTINGS = (Setting("controls", "map", "target -> ARN of its routing control", required=True),)

RIGHTS = {
    "*": ("route53-recovery-cluster:ListRoutingControls",),
    "controls": ("route53-recovery-cluster:UpdateRoutingControlStates",),
    "cluster": ("route53-recovery-control-config:DescribeCluster",),
}
"""What writing takes, by what it is granted on: packaging/aws/policies/route53-arc.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.route53_arc.client import RoutingControls  # noqa: PLC0415  the registry is read without its clients

    return RoutingControls(context)
