"""Every metric steerd has, in one table: name, unit, kind and what it tells.

Names and units follow OpenTelemetry (UCUM units); Prometheus sees `steerd_check_duration_seconds`. Labels are names
from the config and fixed words, never free text, so that the number of series is bounded by the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["BY_NAME", "LATENCY_BOUNDS_S", "METRICS", "OUTAGE_BOUNDS_S", "Spec"]

LATENCY_BOUNDS_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds. From a kept-alive look on one host to the longest timeout of a stack."""

OUTAGE_BOUNDS_S: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Seconds. Around the goal of 5 s and the objectives (RTO) of the service classes."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric. `counter` and `histogram` are recorded when something happens; `total` (a counter) and `gauge` are
    read when somebody collects; `tally` marks histograms on the hot path, counted by `tally.Tally` instead of the SDK.
    `bounds` are the upper bounds of a histogram's buckets.
    """

    name: str
    unit: str
    kind: Literal["counter", "total", "gauge", "histogram", "tally"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: Final = (
    Spec("steerd.info", "1", "gauge", "1; says which version runs", ("version",)),
    # agent
    Spec(
        "steerd.check.duration",
        "s",
        "tally",
        "How long a look took",
        ("service", "zone", "check", "outcome"),
        LATENCY_BOUNDS_S,
    ),
    Spec(
        "steerd.check.delay",
        "s",
        "tally",
        "From the intended to the actual start of a look",
        ("check",),
        LATENCY_BOUNDS_S,
    ),
    Spec("steerd.check.outcomes", "1", "total", "Looks by outcome", ("service", "zone", "check", "outcome")),
    Spec("steerd.check.missed", "1", "total", "Intended looks that were not made"),
    Spec("steerd.agent.loop_lag", "s", "tally", "How late the event loop woke a timer", (), LATENCY_BOUNDS_S),
    Spec("steerd.agent.start_delay", "s", "gauge", "The latest start of a look in the last 2 s"),
    Spec("steerd.agent.cpu_per_look", "s", "gauge", "CPU time of the process for each look, over the last 2 s"),
    Spec("steerd.agent.in_flight", "1", "gauge", "Looks under way"),
    Spec("steerd.agent.waiting", "1", "gauge", "Looks that are due and wait for a place"),
    Spec("steerd.agent.descriptors", "1", "gauge", "Descriptors open"),
    Spec("steerd.agent.descriptors.limit", "1", "gauge", "Descriptors that may be open"),
    Spec("steerd.agent.resolver.failures", "1", "total", "Names that this host's resolver did not answer for"),
    Spec("steerd.agent.references.failing", "1", "gauge", "References outside the agent's zone that do not answer"),
    Spec(
        "steerd.agent.clock_off",
        "s",
        "gauge",
        "How far the agent's clock is ahead of what its references say; 0 up to 60 s",
    ),
    Spec("steerd.agent.abstaining", "1", "gauge", "1 while this agent doubts itself and casts no votes"),
    Spec("steerd.agent.stream", "1", "gauge", "1 while the stream to a coordinator is up", ("coordinator",)),
    Spec(
        "steerd.model.ttft",
        "s",
        "tally",
        "Time to the first token: of a look, or the mean of what the engine answered since the look before",
        ("service", "zone", "source"),
        LATENCY_BOUNDS_S,
    ),
    Spec(
        "steerd.model.inter_token",
        "s",
        "tally",
        "Time between two tokens: of a look, or the mean of what the engine answered since the look before",
        ("service", "zone", "source"),
        LATENCY_BOUNDS_S,
    ),
    Spec("steerd.model.queue", "1", "gauge", "Requests that wait in the engine", ("service", "endpoint")),
    Spec("steerd.model.kv_cache", "1", "gauge", "Use of the engine's cache, 0..1", ("service", "endpoint")),
    Spec("steerd.dependency.lag", "s", "gauge", "How far a replica is behind", ("dependency",)),
    Spec("steerd.probe.looks", "1", "total", "Looks by the kind of their probe", ("kind",)),
    Spec("steerd.probe.busy", "s", "total", "Time that looks of a kind took together", ("kind",)),
    Spec("steerd.probe.tokens", "1", "total", "Tokens spent by looks", ("service",)),
    # coordinator
    Spec("steerd.ballot.age", "s", "gauge", "Time since an agent was last heard", ("agent",)),
    Spec(
        "steerd.endpoint.health",
        "1",
        "gauge",
        "1 on the current state of an endpoint",
        ("service", "endpoint", "state"),
    ),
    Spec("steerd.share", "1", "gauge", "Share of the service's traffic, 0..1", ("service", "kind", "of")),
    Spec("steerd.demand", "1", "gauge", "Demand, in the unit of capacity", ("service",)),
    Spec("steerd.capacity", "1", "gauge", "Capacity of the endpoints in rotation", ("service",)),
    Spec("steerd.utilization", "1", "gauge", "Demand over the capacity in rotation", ("service",)),
    Spec("steerd.drains", "1", "gauge", "Drains in force", ("by",)),
    Spec("steerd.route.drift", "1", "gauge", "1 while a route serves what somebody else wrote", ("provider", "route")),
    Spec("steerd.leader", "1", "gauge", "1 while this coordinator leads"),
    Spec("steerd.decisions", "1", "counter", "Decisions made", ("service",)),
    Spec("steerd.vetoes", "1", "counter", "Moves a guard stopped", ("service", "guard")),
    Spec(
        "steerd.failover.duration",
        "s",
        "histogram",
        "From the first bad look until a stage was reached",
        ("service", "stage"),
        OUTAGE_BOUNDS_S,
    ),
    Spec(
        "steerd.provider.write.duration",
        "s",
        "histogram",
        "How long a provider's write took",
        ("provider",),
        LATENCY_BOUNDS_S,
    ),
    Spec(
        "steerd.provider.circuit",
        "1",
        "gauge",
        "1 on the state a provider's circuit is in: closed, open (not asked, as it does not answer), half-open",
        ("provider", "state"),
    ),
    Spec(
        "steerd.provider.calls_free",
        "1",
        "gauge",
        "Calls that may be made at once within the account's limit, by use: write or routine",
        ("provider", "use"),
    ),
    Spec("steerd.provider.write.failures", "1", "counter", "Writes a provider did not do", ("provider", "result")),
    Spec("steerd.store.duration", "s", "histogram", "How long the store took", ("op", "ok"), LATENCY_BOUNDS_S),
)

BY_NAME: Final = {spec.name: spec for spec in METRICS}
