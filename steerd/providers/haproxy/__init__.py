"""Weights of servers in a HAProxy backend: written through its runtime API, or pulled by its agent checks. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build", "capabilities_for"]

KIND = Kind(
    "haproxy",
    "weights of the servers in a HAProxy backend, through its runtime API or its agent checks",
    (
        Setting("socket", "string", "the stats socket: unix:/PATH or HOST:PORT, with `level admin`"),
        Setting("agent", "string", "HOST:PORT that HAProxy's agent checks ask, instead of `socket`"),
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


def capabilities_for(settings: Mapping[str, Any]) -> Capabilities:
    """An agent check takes per cent of the weight in haproxy.cfg."""
    return CAPABILITIES if settings.get("agent") is None else AGENT_CAPABILITIES


AGENT_CAPABILITIES = replace(
    CAPABILITIES,
    weight_max=100,
    fence_note=(
        "HAProxy asks and has no place for a fence: each HAProxy must ask one coordinator, and that one never goes back behind"
        " what it answered."
    ),
)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    if context.spec.settings.get("agent") is not None:
        from steerd.providers.haproxy.pull import HAProxyAgent  # noqa: PLC0415  the registry is read without its clients

        return HAProxyAgent(context)
    from steerd.providers.haproxy.client import HAProxy  # noqa: PLC0415  the registry is read without its clients

    return HAProxy(context)
