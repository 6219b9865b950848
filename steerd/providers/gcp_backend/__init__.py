"""Capacity scalers of a Google backend service. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider
from steerd.providers.gcp import GCP_SETTINGS

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "gcp-backend",
    "Google backend service capacity scalers",
    (Setting("calls_per_s", "float", "of the project's calls to Compute Engine", default=5.0), *GCP_SETTINGS),
    extra="gcp",
    modules=("google.auth", "requests"),
)

CAPABILITIES = Capabilities(weight_max=100, minimum=0.1, atomic=True, compare_and_set=True, rate_per_s=5.0)

ROUTE_SETTINGS = (
    Setting("groups", "map", "target -> URL of its instance group or NEG", required=True),
    Setting("region", "string", "of a regional backend service"),
)

RIGHTS = {
    "backendServices": ("compute.backendServices.get", "compute.backendServices.update"),
    "regionBackendServices": ("compute.regionBackendServices.get", "compute.regionBackendServices.update"),
    "instanceGroups": ("compute.instanceGroups.use",),
    "networkEndpointGroups": ("compute.networkEndpointGroups.use",),
    "project": ("compute.globalOperations.get", "compute.regionOperations.get"),
}
"""What writing takes, by what it is granted on: packaging/gcp/steerd-gcp-backend.yaml grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.gcp_backend.client import GcpBackend  # noqa: PLC0415  the registry is read without its clients

    return GcpBackend(context)
