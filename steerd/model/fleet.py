"""The fleet as configured: topology, services and every rule's constants. Frozen; `steerd.config` makes it from YAML.

Times are seconds, fractions 0..1, capacity and demand in the user's own unit (the same for both).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from steerd.model.route import Route
from steerd.model.rules import Damping, Gray, Guards, Quorum, Ramp, VerdictRules
from steerd.model.sample import Layer

__all__ = [
    "Agent",
    "Check",
    "Contact",
    "Coordinator",
    "Demand",
    "Dependency",
    "Endpoint",
    "Fleet",
    "Listen",
    "Objectives",
    "ProviderSpec",
    "Region",
    "Routing",
    "Secret",
    "Service",
    "StoreSpec",
    "Telemetry",
    "Tls",
]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by reference: `{file: PATH}` or `{env: NAME}`. Resolved only when used (`steerd.config.secrets`)."""

    kind: Literal["file", "env"]
    ref: str

    def __repr__(self) -> str:
        return f"Secret({self.kind}: {self.ref})"


@dataclass(frozen=True, slots=True)
class Tls:
    cert: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a daemon listens. Loopback unless configured; `insecure` allows plain HTTP elsewhere."""

    host: str = "127.0.0.1"
    port: int = 7443
    socket: str | None = None
    tls: Tls | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    name: str
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agent:
    """A probe agent: who may vote, and from where. `sees` narrows what it looks at (services or endpoints)."""

    name: str
    zone: str
    token: Secret | None = None
    sees: tuple[str, ...] = ()
    listen: Listen | None = None


@dataclass(frozen=True, slots=True)
class Coordinator:
    name: str
    region: str
    url: str
    listen: Listen | None = None


@dataclass(frozen=True, slots=True)
class StoreSpec:
    kind: str = "sqlite"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A traffic system by name. `region` makes that region's coordinator carry out its writes."""

    name: str
    kind: str
    region: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something services depend on. `instances` is region -> settings; without them one instance serves everybody."""

    name: str
    kind: str
    stateful: bool = False
    max_lag_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    instances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objectives:
    rto_s: float = 60.0
    rpo_s: float | None = None
    ttft_s: float | None = None
    availability: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a service's endpoints, stack defaults and overrides already merged.

    `kind` is the probe's name in `probes`; `settings` what that probe takes. `name` is unique in the service.
    """

    name: str
    layer: Layer
    kind: str
    interval_s: float
    timeout_s: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model endpoint. `url` is what agents look at (`public_url` for agents outside `regions`); `address` what DNS serves."""

    name: str
    service: str
    zone: str
    url: str
    capacity: float
    address: str | None = None
    address6: str | None = None
    public_url: str | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """`prefer`: region -> fraction, or None for proportional to capacity. `order` only with active-passive."""

    mode: Literal["active-active", "active-passive"] = "active-active"
    prefer: Mapping[str, float] | None = None
    order: tuple[str, ...] = ()
    trickle: float = 0.0
    failback: Literal["automatic", "manual"] = "automatic"


@dataclass(frozen=True, slots=True)
class Demand:
    """Where demand comes from: a number, a Prometheus query, or the engines' own progress metrics."""

    value: float | None = None
    prometheus: str | None = None
    query: str | None = None
    progress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: str
    cls: str = "interactive"
    stack: str = "http"
    model: str | None = None
    mode: Literal["steer", "observe"] = "steer"
    objectives: Objectives = Objectives()
    checks: tuple[Check, ...] = ()
    depends_on: tuple[str, ...] = ()
    demand: Demand | None = None
    routing: Routing = Routing()
    fallback: str | None = None
    shortfall: Literal["spread", "shed"] = "spread"
    activate: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    version: Mapping[str, Any] | None = None
    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[Route, ...] = ()
    ramp: Ramp = Ramp()


@dataclass(frozen=True, slots=True)
class Contact:
    name: str
    phone: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    otlp: str | None = None
    prometheus: bool = True


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A whole checked config. Immutable; a reload makes a new one.

    `stacks` are the config's own serving stacks, as written. `tokens_per_day` is what all looks of all agents may spend.
    """

    name: str
    mode: Literal["steer", "observe"] = "steer"
    regions: tuple[Region, ...] = ()
    agents: tuple[Agent, ...] = ()
    coordinators: tuple[Coordinator, ...] = ()
    store: StoreSpec = StoreSpec()
    services: tuple[Service, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    providers: tuple[ProviderSpec, ...] = ()
    references: tuple[str, ...] = ()
    quorum: Quorum = Quorum()
    guards: Guards = Guards()
    verdict: VerdictRules = VerdictRules()
    gray: Gray = Gray()
    damping: Damping = Damping()
    ramp: Ramp = Ramp()
    stacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokens_per_day: int | None = None
    contacts: tuple[Contact, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()
    telemetry: Telemetry = Telemetry()
    listen: Listen = Listen()
    config_hash: str = ""

    @cached_property
    def zone_region(self) -> dict[str, str]:
        """Zone -> its region, for zones inside `regions` only."""
        return {zone: region.name for region in self.regions for zone in region.zones}

    def vantage_region(self, zone: str) -> str:
        """The region a vote from `zone` counts for: a zone outside `regions` is a vantage region of its own."""
        return self.zone_region.get(zone, zone)

    @cached_property
    def agent_by_name(self) -> dict[str, Agent]:
        return {a.name: a for a in self.agents}

    @cached_property
    def service_by_name(self) -> dict[str, Service]:
        return {s.name: s for s in self.services}

    @cached_property
    def endpoint_by_name(self) -> dict[str, Endpoint]:
        return {e.name: e for s in self.services for e in s.endpoints}

    @cached_property
    def route_by_key(self) -> dict[str, Route]:
        return {r.key: r for s in self.services for r in s.routes}

    @cached_property
    def provider_by_name(self) -> dict[str, ProviderSpec]:
        return {p.name: p for p in self.providers}

    @cached_property
    def vantage_regions(self) -> frozenset[str]:
        """All vantage regions that have an agent."""
        return frozenset(self.vantage_region(a.zone) for a in self.agents)

    def kind_of(self, name: str) -> str | None:
        """What `name` is: region, zone, service, endpoint, agent, coordinator, dependency; None when unknown."""
        return self._kinds.get(name)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        kinds: dict[str, str] = {}
        for kind, names in (
            ("dependency", (d.name for d in self.dependencies)),
            ("agent", (a.name for a in self.agents)),
            ("coordinator", (c.name for c in self.coordinators)),
            ("zone", (a.zone for a in self.agents)),
            ("zone", (z for r in self.regions for z in r.zones)),
            ("region", (r.name for r in self.regions)),
            ("service", (s.name for s in self.services)),
            ("endpoint", self.endpoint_by_name),
        ):
            kinds.update(dict.fromkeys(names, kind))
        return kinds
