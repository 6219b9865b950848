"""The plan as a signed POST to a URL of yours. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build"]

KIND = Kind(
    "webhook",
    "the plan as a signed POST to a URL of yours",
    (
        Setting("url", "url", "where the plan is posted", required=True),
        Setting("secret", "secret", "key of the HMAC signature", required=True),
        Setting("ca", "path", "certificates to trust"),
        Setting("calls_per_s", "float", "that the URL is to be asked at most", default=10.0),
        Setting("timeout", "duration", "of one call", default=5.0),
    ),
)

CAPABILITIES = Capabilities(weight_max=10_000, atomic=True, compare_and_set=True, rate_per_s=10.0)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.webhook.client import Webhook  # noqa: PLC0415  the registry is read without its clients

    return Webhook(context)
