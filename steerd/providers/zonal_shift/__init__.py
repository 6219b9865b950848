"""Zonal shifts of one load balancer (or other resource) away from one availability zone. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.aws import AWS_SETTINGS, MODULES
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "aws-zonal-shift",
    "Amazon zonal shift away from one availability zone",
    (
        Setting("expires", "duration", "of a shift; renewed while it is wanted", default=14_400.0),
        Setting("zone_ids", "map", "zone -> availability zone id, for example {eu-west-1a: euw1-az1}", required=True),
        Setting("calls_per_s", "float", "of the account's calls to zonal shift in this region", default=2.0),
        *AWS_SETTINGS,
    ),
    extra="aws",
    modules=MODULES,
)

CAPABILITIES = Capabilities(
    membership=True,
    atomic=False,
    # A shift ends by itself: what is missing then is renewed, not taken for somebody's edit.
    volatile=True,
    fence_note=(
        "one shift at a time per resource, so a second one is refused; the fence stands in the shift's comment and is compared"
        " before a write. A cancel and the shift after it are two calls."
    ),
)

ROUTE_SETTINGS = (Setting("resource", "string", "ARN of the load balancer", required=True),)

RIGHTS = {
    "resource": (
        "arc-zonal-shift:CancelZonalShift",
        "arc-zonal-shift:GetManagedResource",
        "arc-zonal-shift:StartZonalShift",
        "arc-zonal-shift:UpdateZonalShift",
    ),
}
"""What writing takes, by what it is granted on: packaging/aws/policies/aws-zonal-shift.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.zonal_shift.client import ZonalShift  # noqa: PLC0415  the registry is read without its clients

    return ZonalShift(context)
