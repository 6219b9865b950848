"""Gauges of a coordinator, read from its status (the dict of `steerd status --json`, interfaces.md). Pure.

Numbers that a status leaves out or gives as null are left out here too: an absent series says "not known", 0 would say
"none".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Sample", "samples"]

Sample = tuple[str, Mapping[str, str], float]
"""(metric's name, labels, value)."""

_BY_OPERATOR = "operator"
_BY_AUTOMATIC = "automatic"


def samples(status: Mapping[str, Any]) -> Iterator[Sample]:
    """Every gauge value in `status`, one per series."""
    for service, facts in status.get("services", {}).items():
        yield from _service(service, facts)
    yield from _drains(status.get("drains", ()))
    for agent, facts in status.get("agents", {}).items():
        yield from _number("steerd.ballot.age", {"agent": agent}, facts.get("age_s"))
    for provider, facts in status.get("providers", {}).items():
        yield from _provider(provider, facts)


def _service(service: str, facts: Mapping[str, Any]) -> Iterator[Sample]:
    label = {"service": service}
    for name in ("demand", "capacity", "utilization"):
        yield from _number(f"steerd.{name}", label, facts.get(name))
    for kind, table in (("region", "regions"), ("zone", "zones"), ("endpoint", "endpoints")):
        for of, entry in facts.get(table, {}).items():
            yield from _number("steerd.share", {**label, "kind": kind, "of": of}, entry.get("share"))
    for endpoint, entry in facts.get("endpoints", {}).items():
        if health := entry.get("health"):
            yield "steerd.endpoint.health", {**label, "endpoint": endpoint, "state": health}, 1.0
    for route in facts.get("routes", ()):
        if "drift" in route:
            labels = {"provider": route["provider"], "route": route["name"]}
            yield "steerd.route.drift", labels, 1.0 if route["drift"] else 0.0


def _provider(provider: str, facts: Mapping[str, Any]) -> Iterator[Sample]:
    if circuit := facts.get("circuit"):
        yield "steerd.provider.circuit", {"provider": provider, "state": circuit}, 1.0
    account = facts.get("account") or {}
    for use, key in (("write", "free"), ("routine", "free_routine")):
        yield from _number("steerd.provider.calls_free", {"provider": provider, "use": use}, account.get(key))


def _drains(drains: Any) -> Iterator[Sample]:
    automatic = sum(1 for drain in drains if drain.get("by") == _BY_AUTOMATIC)
    yield "steerd.drains", {"by": _BY_AUTOMATIC}, float(automatic)
    yield "steerd.drains", {"by": _BY_OPERATOR}, float(len(drains) - automatic)


def _number(name: str, labels: Mapping[str, str], value: Any) -> Iterator[Sample]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield name, labels, float(value)
