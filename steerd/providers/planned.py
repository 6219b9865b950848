"""Providers whose names, settings and capabilities are settled and whose code is not written yet.

A config that names one is valid; the coordinator that needs it says so and does not start. Their capabilities are what
the planner and the simulator need to know of them; the numbers are the vendors' documented limits (providers.md). When
one is written, its entry moves into its own package.
"""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities

__all__ = ["PLANNED", "ROUTE_SETTINGS"]

_TIMEOUT = Setting("timeout", "duration", "of one call", default=5.0)
_AWS = (
    Setting("aws_region", "string", "region of the API endpoint; the SDK's own chain by default"),
    Setting("role", "string", "role to assume, by ARN"),
    Setting("endpoint_url", "url", "another API endpoint (private link, tests)"),
    _TIMEOUT,
)
_GCP = (
    Setting("project", "string", "project that holds the resource", required=True),
    Setting("endpoint_url", "url", "another API endpoint (private connect, tests)"),
    _TIMEOUT,
)

_READ_BACK = "no compare-and-set: steerd checks its lease right before the call, reads back after, and reconciles"

PLANNED: Mapping[str, tuple[Kind, Capabilities]] = {
    kind.name: (kind, capabilities)
    for kind, capabilities in (
        (
            Kind(
                "route53",
                "Amazon Route 53 weighted records",
                (
                    Setting("hosted_zone", "string", "id of the hosted zone", required=True),
                    Setting("calls_per_s", "float", "of the 5 per second an account has", default=2.5),
                    Setting("verify", "strings", "name servers to ask after a write, HOST:PORT"),
                    *_AWS,
                ),
                built=False,
                extra="aws",
                modules=("boto3",),
            ),
            Capabilities(weight_max=255, atomic=True, compare_and_set=True, ttl=True, dns=True, rate_per_s=5.0),
        ),
        (
            Kind(
                "route53-arc",
                "Amazon Application Recovery Controller routing controls",
                (
                    Setting("cluster", "string", "ARN of the cluster", required=True),
                    Setting(
                        "endpoints",
                        "strings",
                        "the 5 cluster endpoints, URL=REGION (cached, so that no control plane is needed)",
                    ),
                    *_AWS,
                ),
                built=False,
                extra="aws",
                modules=("boto3",),
            ),
            Capabilities(
                membership=True, atomic=True, fence_note=f"{_READ_BACK}; safety rules of the control panel bind"
            ),
        ),
        (
            Kind(
                "aws-zonal-shift",
                "Amazon zonal shift away from one availability zone",
                (
                    Setting("expires", "duration", "of a shift; renewed while it is wanted", default=14_400.0),
                    Setting(
                        "zone_ids",
                        "map",
                        "zone -> availability zone id, for example {eu-west-1a: euw1-az1}",
                        required=True,
                    ),
                    *_AWS,
                ),
                built=False,
                extra="aws",
                modules=("boto3",),
            ),
            Capabilities(membership=True, atomic=True, fence_note="one shift at a time per resource"),
        ),
        (
            Kind(
                "elbv2",
                "Amazon Application Load Balancer target group weights",
                _AWS,
                built=False,
                extra="aws",
                modules=("boto3",),
            ),
            Capabilities(
                weight_max=999, fence_note="the whole action list is compared before it is replaced", rate_per_s=3.0
            ),
        ),
        (
            Kind(
                "global-accelerator",
                "Amazon Global Accelerator endpoint weights",
                (Setting("endpoint_group", "string", "ARN of the endpoint group", required=True), *_AWS),
                built=False,
                extra="aws",
                modules=("boto3",),
            ),
            Capabilities(weight_max=255, fence_note=_READ_BACK, rate_per_s=1.0),
        ),
        (
            Kind(
                "clouddns",
                "Google Cloud DNS weighted round robin",
                (
                    Setting("managed_zone", "string", "name of the managed zone", required=True),
                    Setting("verify", "strings", "name servers to ask after a write, HOST:PORT"),
                    *_GCP,
                ),
                built=False,
                extra="gcp",
                modules=("google.cloud.dns",),
            ),
            Capabilities(weight_max=1000, atomic=True, compare_and_set=True, ttl=True, dns=True, rate_per_s=4.0),
        ),
        (
            Kind(
                "gcp-backend",
                "Google backend service capacity scalers",
                _GCP,
                built=False,
                extra="gcp",
                modules=("google.auth",),
            ),
            Capabilities(weight_max=100, minimum=0.1, compare_and_set=True, rate_per_s=5.0),
        ),
        (
            Kind(
                "azure-trafficmanager",
                "Azure Traffic Manager endpoint weights",
                (
                    Setting("subscription", "string", "subscription id", required=True),
                    Setting("resource_group", "string", "of the profile", required=True),
                    _TIMEOUT,
                ),
                built=False,
                extra="azure",
                modules=("azure.mgmt.trafficmanager", "azure.identity"),
            ),
            Capabilities(weight_max=1000, zero=False, compare_and_set=True, ttl=True, dns=True, rate_per_s=0.5),
        ),
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
        (
            Kind(
                "gateway-api",
                "Kubernetes Gateway API: weights of an HTTPRoute's backendRefs",
                (
                    Setting("kubeconfig", "path", "outside of a cluster"),
                    Setting("context", "string", "of the kubeconfig"),
                    _TIMEOUT,
                ),
                built=False,
                extra="kubernetes",
                modules=("kubernetes_asyncio",),
            ),
            Capabilities(weight_max=1_000_000, atomic=True, compare_and_set=True),
        ),
        (
            Kind(
                "webhook",
                "the plan as a signed POST to a URL of yours",
                (
                    Setting("url", "url", "where the plan is posted", required=True),
                    Setting("secret", "secret", "key of the HMAC signature", required=True),
                    Setting("ca", "path", "certificates to trust"),
                    _TIMEOUT,
                ),
                built=False,
            ),
            Capabilities(weight_max=10_000, atomic=True, compare_and_set=True),
        ),
    )
}

ROUTE_SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "route53": (Setting("alias_zone", "string", "hosted zone id of ALIAS targets"),),
    "route53-arc": (Setting("controls", "map", "target -> ARN of its routing control", required=True),),
    "aws-zonal-shift": (Setting("resource", "string", "ARN of the load balancer", required=True),),
    "elbv2": (
        Setting("rule", "string", "ARN of the listener rule", required=True),
        Setting("target_groups", "map", "target -> ARN of its target group", required=True),
    ),
    "global-accelerator": (Setting("endpoints", "map", "target -> endpoint id", required=True),),
    "gcp-backend": (Setting("groups", "map", "target -> URL of its instance group or NEG", required=True),),
    "azure-trafficmanager": (Setting("endpoints", "map", "target -> name of the profile's endpoint"),),
    "cloudflare": (Setting("pools", "map", "target -> pool id", required=True),),
    "gateway-api": (
        Setting("namespace", "string", "of the HTTPRoute", default="default"),
        Setting("rule", "int", "index of the rule", default=0),
    ),
}
"""Keys a route takes beyond those of configuration.md, by provider kind."""
