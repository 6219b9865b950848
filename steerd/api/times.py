"""Times leave the API as ISO 8601 in UTC; inside they are seconds since the Unix epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["explained", "iso", "stamped", "status"]

Json = dict[str, Any]


def iso(seconds: float | None) -> str | None:
    """`2030-01-31T09:00:00.000Z`; None for None and for 0, which means "since the start"."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamped(row: Mapping[str, Any], *keys: str) -> Json:
    """`row` with the times at `keys`, where there are any, as ISO 8601."""
    return dict(row) | {key: iso(row[key]) for key in keys if isinstance(row.get(key), int | float)}


def status(told: Mapping[str, Any]) -> Json:
    """The status with its times as ISO 8601."""
    found = stamped(told, "time")
    if told.get("frozen"):
        found["frozen"] = stamped(told["frozen"], "since", "until")
    found["services"] = {name: _service(service) for name, service in told.get("services", {}).items()}
    for key in ("drains", "pins", "alerts"):
        found[key] = _rows(told.get(key, ()), "since", "until")
    return found


def _service(service: Mapping[str, Any]) -> Json:
    found = dict(service)
    if service.get("diagnosis"):
        found["diagnosis"] = stamped(service["diagnosis"], "since")
    found["endpoints"] = {name: stamped(row, "since") for name, row in service.get("endpoints", {}).items()}
    found["routes"] = _rows(service.get("routes", ()), "accepted_at", "authoritative_at")
    return found


def explained(found: Mapping[str, Any]) -> Json:
    """An explanation with its times as ISO 8601."""
    answer = stamped(found, "since")
    answer["drains"] = _rows(found.get("drains", ()), "since", "until")
    answer["moves"] = _rows(found.get("moves", ()), "at")
    return answer


def _rows(rows: Iterable[Mapping[str, Any]], *keys: str) -> list[Json]:
    return [stamped(row, *keys) for row in rows]
