"""Weights and drain states of servers in a HAProxy backend, through its runtime API. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build"]

KIND = Kind(
    "haproxy",
    "weights of the servers in a HAProxy backend, through its runtime API",
    (
        Setting("socket", "string", "the stats socket: unix:/PATH or HOST:PORT, with `level admin`", required=True),
        Setting("timeout", "duration", "of one exchange with HAProxy", default=2.0),
    ),
)

CAPABILITIES = Capabilities(
    weight_max=256,
    zero=True,
    atomic=False,
    compare_and_set=False,
    volatile=True,
    fence_note=(
        "HAProxy has no place for a fence: steerd checks its lease right before the call, compares the servers with"
        " what it read, reads back after, and every new leader reconciles. This narrows the window without closing it."
    ),
)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.haproxy.client import HAProxy  # noqa: PLC0415  the registry is read without its clients

    return HAProxy(context)
