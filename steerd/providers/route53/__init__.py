"""Amazon Route 53 weighted records, fenced by exact deletions and a TXT in one atomic batch. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.aws import AWS_SETTINGS, MODULES
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "route53",
    "Amazon Route 53 weighted records",
    (
        Setting("hosted_zone", "string", "id of the hosted zone", required=True),
        Setting("calls_per_s", "float", "of the 5 per second an account has", default=2.5),
        Setting(
            "verify",
            "strings",
            "name servers to ask after a write, HOST:PORT; by default those of the hosted zone; [] asks none",
        ),
        *AWS_SETTINGS,
    ),
    extra="aws",
    modules=MODULES,
)

CAPABILITIES = Capabilities(weight_max=255, atomic=True, compare_and_set=True, ttl=True, dns=True, rate_per_s=5.0)

ROUTE_SETTINGS = (
    Setting("alias_zone", "string", "hosted zone id of ALIAS targets"),
    Setting("alias_zones", "map", "target -> hosted zone id of its ALIAS target, where they differ"),
)

RIGHTS = {
    "zone": ("route53:GetHostedZone", "route53:ListResourceRecordSets"),
    "change": ("route53:GetChange",),
    "records": ("route53:ChangeResourceRecordSets",),
}
"""What writing takes, by what it is granted on: packaging/aws/policies/route53.json grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.route53.client import Route53  # noqa: PLC0415  the registry is read without its clients

    return Route53(context)
