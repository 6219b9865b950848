"""Nothing is written: health checks that were made beforehand ask steerd at /beacon/NAME. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build"]

KIND = Kind(
    "beacon",
    "nothing is written: /beacon/NAME answers for health checks that pull",
    (Setting("state", "path", "file that keeps the last answers, for a restart while the store is away"),),
)

# Volatile: after a restart the provider has nothing until the standing decision is applied to it again.
CAPABILITIES = Capabilities(
    membership=True,
    atomic=True,
    volatile=True,
    fence_note="none needed: every coordinator answers from the same stored decision",
)


def build(context: Context) -> Provider:
    """The provider of one entry."""
    from steerd.providers.beacon.client import Beacon  # noqa: PLC0415  the registry is read without its clients

    return Beacon(context)
