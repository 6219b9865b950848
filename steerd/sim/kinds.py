"""Which fault kinds exist, on what, and which keys each takes: the table of the scenario format."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KINDS", "LASTING", "NEEDS", "ONCE", "PLACES"]

PLACES = ("endpoint", "zone", "region", "service")
"""What may be hit by an endpoint's fault: it hits all endpoints in it."""

_ENDPOINT = ("crash", "hang", "errors", "slow", "garbage", "stalled", "saturated", "flap", "version")

KINDS: Mapping[str, tuple[str, ...]] = {
    "endpoint": _ENDPOINT,
    "zone": (*_ENDPOINT, "power-loss"),
    "region": (*_ENDPOINT, "power-loss"),
    "service": _ENDPOINT,
    "link": ("loss", "partition", "latency"),
    "agent": ("isolate", "pause", "lie", "crash", "lag"),
    "coordinator": ("crash", "pause", "isolate"),
    "store": ("quorum-loss", "leader-loss", "slow", "stale-reads"),
    "provider": ("errors", "throttle", "timeout-applied", "external-edit"),
    "dependency": ("crash", "slow", "lag"),
    "operator": ("drain", "restore", "pin", "unpin", "freeze", "unfreeze"),
    "demand": ("set",),
    "clock": ("jump", "suspend"),
    "config": ("reload",),
}
"""On -> its kinds."""

NEEDS: Mapping[tuple[str, str], Mapping[str, bool]] = {
    **{(on, "errors"): {"rate": True} for on in (*PLACES, "provider")},
    **{(on, "slow"): {"factor": True} for on in PLACES},
    **{(on, "flap"): {"up": True, "down": True} for on in PLACES},
    **{(on, "version"): {"label": True} for on in PLACES},
    ("link", "loss"): {"rate": True},
    ("link", "latency"): {"add": True},
    ("agent", "lie"): {"verdict": True},
    ("agent", "lag"): {"seconds": True},
    ("coordinator", "crash"): {"when": False},
    ("coordinator", "pause"): {"when": False},
    ("coordinator", "isolate"): {"when": False},
    ("store", "slow"): {"seconds": True},
    ("provider", "external-edit"): {"record": True, "set": True},
    ("dependency", "lag"): {"seconds": True},
    ("operator", "drain"): {"name": True, "reason": False, "now": False, "force": False, "accept_data_loss": False},
    ("operator", "restore"): {"name": True, "reason": False, "now": False, "force": False, "accept_data_loss": False},
    ("operator", "pin"): {"name": True, "share": True, "reason": False},
    ("operator", "unpin"): {"name": True},
    ("operator", "freeze"): {"reason": False},
    ("operator", "unfreeze"): {},
    ("demand", "set"): {"service": True, "value": True},
    ("clock", "jump"): {"by": True},
    ("clock", "suspend"): {},
    ("config", "reload"): {"file": True},
}
"""(on, kind) -> the keys it takes beside the times, and whether each must stand."""

ONCE = frozenset(
    {
        ("operator", "restore"),
        ("operator", "unpin"),
        ("operator", "unfreeze"),
        ("config", "reload"),
        ("clock", "jump"),
        ("provider", "external-edit"),
        ("store", "leader-loss"),
    }
)
"""(on, kind) of what happens once: it has no end."""

LASTING = frozenset({("operator", "drain"), ("operator", "pin"), ("operator", "freeze")})
"""(on, kind) of what is asked for some time, and ended by steerd itself."""
