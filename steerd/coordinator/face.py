"""What a coordinator shows: plain dicts made from facts. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerd.coordinator.journal import Note
from steerd.core.effects import Alert, Record
from steerd.model.fleet import Fleet
from steerd.model.plan import Alert as AlertFact
from steerd.model.plan import HardState

__all__ = ["alert_row", "first_of", "in_service", "leader_hint", "note_of", "restart_needed"]


def note_of(effect: Record | Alert, now: float) -> Note:
    """A line of history and of the event stream."""
    if isinstance(effect, Record):
        return Note(effect.kind, effect.of, effect.text, effect.at, dict(effect.data))
    alert = effect.alert
    data = {"alert": alert.kind, "active": effect.active, "since": alert.since, "action": alert.action}
    return Note("alert", alert.of, alert.text, now, data)


def alert_row(alert: AlertFact) -> dict[str, Any]:
    """As in `steerd status --json`."""
    return {"kind": alert.kind, "of": alert.of, "since": alert.since, "text": alert.text, "action": alert.action}


def in_service(fleet: Fleet, state: HardState | None, name: str) -> bool | None:
    """Whether `name` (endpoint, zone, region or service) should carry traffic; None for a name that cannot.

    What is not known is in service: a steerd that knows nothing must not drain. Services in observe mode always are.
    """
    kind = fleet.kind_of(name)
    found: list[float | None] = []
    for service in fleet.services:
        shares: Mapping[str, float] = {} if state is None else state.shares.get(service.name, {})
        observing = "observe" in (fleet.mode, service.mode)
        for endpoint in service.endpoints:
            places = (endpoint.name, endpoint.zone, fleet.zone_region.get(endpoint.zone), service.name)
            if name in places:
                found.append(None if observing else shares.get(endpoint.name))
    if kind not in ("endpoint", "zone", "region", "service") or not found:
        return None
    return any(share is None or share > 0 for share in found)


def restart_needed(old: Fleet, new: Fleet, *, providers_given: bool) -> str | None:
    """What of `new` cannot be put in force by a running coordinator, in words; None when all of it can."""
    if (new.name, new.store) != (old.name, old.store):
        return "the fleet's name and its store cannot change while running: restart the coordinator"
    if new.providers != old.providers and not providers_given:
        return "the providers changed: restart the coordinator"
    return None


def first_of(failed: BaseException) -> BaseException:
    """What really happened, out of the groups that task groups wrap it in."""
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return failed


def leader_hint(fleet: Fleet, name: str, holder: str | None, told: str) -> tuple[str, dict[str, Any]]:
    """What a coordinator that does not lead answers an operator: who does, and where."""
    leader = next((c for c in fleet.coordinators if c.name == holder), None)
    if leader is None:
        return f"{name} does not lead: {told}{': ask there' * (holder is not None)}", {"leader": holder, "url": None}
    return f"{name} does not lead: {told}, at {leader.url}: ask there", {"leader": leader.name, "url": leader.url}
