"""Routes: the places where a service's split is written, and what a provider says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Capabilities",
    "Desired",
    "Fence",
    "Member",
    "Observed",
    "Per",
    "Route",
    "Target",
]

Per = Literal["endpoint", "zone", "region"]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing a route can weigh: an endpoint, a zone or a region.

    `key` is its name. `values` are what DNS serves for it per endpoint name: {endpoint: (address or CNAME target, ...)};
    with the route's `targets:` the values are fixed and stand under the target's own key. `server` is the name a load
    balancer knows it by.
    """

    key: str
    endpoints: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    server: str | None = None

    def values_for(self, endpoints: frozenset[str]) -> tuple[str, ...]:
        """Values to publish while only `endpoints` carry traffic; fixed values always count. Sorted, unique."""
        found = {v for name, vs in self.values.items() if name == self.key or name in endpoints for v in vs}
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One record set or backend that carries a service's split, or its part within `scope`.

    `key` is unique in the fleet: "provider/name". `ttl_s` is seconds. `scope` is a region or zone name or None.
    `prefer` (region -> fraction) overrides the service's; `only` lists the regions it may ever be served from.
    `settings` holds provider-specific keys of the route.
    """

    key: str
    service: str
    provider: str
    name: str
    per: Per
    targets: tuple[Target, ...]
    types: tuple[str, ...] = ("A",)
    ttl_s: float = 30.0
    scope: str | None = None
    prefer: Mapping[str, float] | None = None
    only: tuple[str, ...] = ()
    on_drift: Literal["report", "enforce"] = "report"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def target(self, key: str) -> Target:
        """The target called `key`. Raises KeyError."""
        for target in self.targets:
            if target.key == key:
                return target
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a traffic system can express.

    `weight_max` is the largest integer weight it takes (1 with `membership`). `zero` tells whether weight 0 is possible,
    else a target at 0 is removed. `minimum` is the smallest share it can express (below it is 0).
    `compare_and_set`: a stale write is refused by the system itself. `rate_per_s`: calls allowed per second, 0 = no limit.
    `volatile`: the system forgets what was written when it reloads (HAProxy's runtime state), so a difference is reconciled,
    not taken for somebody's edit.
    """

    membership: bool = False
    weight_max: int = 1
    zero: bool = True
    minimum: float = 0.0
    atomic: bool = True
    compare_and_set: bool = False
    ttl: bool = False
    dns: bool = False
    volatile: bool = False
    rate_per_s: float = 0.0
    fence_note: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """One target in a desired state: `weight` 0 is out. `values` are the addresses or names to serve (DNS)."""

    target: str
    weight: int
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """What a route should serve: members sorted by target; at least one has weight > 0 (checked by the core)."""

    members: tuple[Member, ...]

    @property
    def weights(self) -> dict[str, int]:
        """Target key -> integer weight."""
        return {m.target: m.weight for m in self.members}

    @property
    def empty(self) -> bool:
        """True when nothing would be served: such a state is never written."""
        return not any(m.weight > 0 for m in self.members)


@dataclass(frozen=True, slots=True)
class Fence:
    """Who wrote last: carried beside the weights so that a stale writer is refused (ha.md, fencing)."""

    fleet: str
    epoch: int
    seq: int
    plan: str

    @property
    def text(self) -> str:
        """The TXT form: `v=1 fleet=... epoch=... seq=... plan=...`."""
        return f"v=1 fleet={self.fleet} epoch={self.epoch} seq={self.seq} plan={self.plan}"

    @classmethod
    def parse(cls, text: str) -> Fence | None:
        """The fence written as `text`, or None when it is not one of ours."""
        parts = dict(p.split("=", 1) for p in text.split() if "=" in p)
        if parts.get("v") != "1":
            return None
        try:
            return cls(parts["fleet"], int(parts["epoch"]), int(parts["seq"]), parts.get("plan", ""))
        except (KeyError, ValueError):
            return None

    def newer_than(self, other: Fence | None) -> bool:
        """True when this fence may replace `other`."""
        return other is None or (self.epoch, self.seq) > (other.epoch, other.seq)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a provider serves for a route right now.

    `weights`: target key -> integer weight, 0 or absent when out. `values`: target key -> what is served for it.
    `foreign`: values on the record that belong to no target of the route. `exists` is False when there is no such
    record or backend at all. `token` is the provider's own handle for compare-and-set (opaque to everyone else).
    """

    weights: Mapping[str, int]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fence: Fence | None = None
    exists: bool = True
    ttl_s: float | None = None
    foreign: tuple[str, ...] = ()
    token: Any = None
