"""Google Cloud DNS record sets with weighted round robin. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider
from steerd.providers.gcp import GCP_SETTINGS

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "build"]

KIND = Kind(
    "clouddns",
    "Google Cloud DNS weighted round robin",
    (
        Setting("managed_zone", "string", "name of the managed zone", required=True),
        Setting("verify", "strings", "name servers to ask after a write, HOST:PORT; [] asks none"),
        Setting("calls_per_s", "float", "of the project's calls to Cloud DNS", default=4.0),
        *GCP_SETTINGS,
    ),
    extra="gcp",
    modules=("google.cloud.dns", "requests"),
)

CAPABILITIES = Capabilities(weight_max=1000, atomic=True, compare_and_set=True, ttl=True, dns=True, rate_per_s=4.0)

RIGHTS = {
    "managedZone": (
        "dns.changes.create",
        "dns.changes.get",
        "dns.managedZones.get",
        "dns.resourceRecordSets.create",
        "dns.resourceRecordSets.delete",
        "dns.resourceRecordSets.list",
    ),
}
"""What writing takes, by what it is granted on: packaging/gcp/steerd-clouddns.yaml grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.clouddns.client import CloudDNS  # noqa: PLC0415  the registry is read without its clients

    return CloudDNS(context)
