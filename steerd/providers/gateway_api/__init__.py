"""Weights of an HTTPRoute's backendRefs, by the Kubernetes API. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "RIGHTS", "ROUTE_SETTINGS", "build"]

KIND = Kind(
    "gateway-api",
    "Kubernetes Gateway API: weights of an HTTPRoute's backendRefs",
    (
        Setting("kubeconfig", "path", "outside of a cluster"),
        Setting("context", "string", "of the kubeconfig"),
        Setting("calls_per_s", "float", "to the API server", default=10.0),
        Setting("timeout", "duration", "of one call", default=5.0),
    ),
    extra="kubernetes",
    modules=("kubernetes_asyncio",),
)

CAPABILITIES = Capabilities(weight_max=1_000_000, atomic=True, compare_and_set=True, rate_per_s=10.0)

ROUTE_SETTINGS = (
    Setting("namespace", "string", "of the HTTPRoute", default="default"),
    Setting("rule", "int", "index of the rule", default=0),
)

RIGHTS = {"httproutes": ("get", "patch")}
"""What writing takes, by what it is granted on: packaging/kubernetes/rbac.yaml grants just this."""


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.gateway_api.client import GatewayApi  # noqa: PLC0415  the registry is read without its clients

    return GatewayApi(context)
