"""What `/beacon/NAME` answers: the last decision that is stored, as far as this process knows it.

Health checks ask while everything else may be broken, so this needs neither the lead nor the store: a decision once seen stays
until a newer one is seen, and a `beacon` provider with a `state` file carries it over a restart. What is not known is in service.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from steerd.coordinator.clock import Clock
from steerd.coordinator.face import in_service
from steerd.coordinator.journal import Journal
from steerd.model.fleet import Fleet
from steerd.model.plan import HardState
from steerd.providers.whole_file import replace_file

__all__ = ["Beacons"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""How often it is looked whether the file is behind; a crash in between is made good by the store."""

KIND = "beacon"


class Kept(msgspec.Struct, frozen=True):
    """The file: every name of the fleet -> in service."""

    fleet: str
    names: dict[str, bool]


class Beacons:
    """`fleet()` is the config in force."""

    def __init__(self, journal: Journal, clock: Clock, fleet: Callable[[], Fleet]) -> None:
        self._journal, self._clock, self._fleet = journal, clock, fleet
        self._kept: dict[str, bool] | None = None
        self._saved: tuple[HardState | None, Fleet | None] = (None, None)

    def wanted(self, name: str) -> bool | None:
        """Whether `name` should carry traffic; None for a name that cannot."""
        state = self._journal.decided
        if state is not None or in_service(self._fleet(), None, name) is None:
            return _wanted(self._fleet(), state, name)
        return (self._kept or {}).get(name, True)

    def load(self) -> None:
        """Read the file of the last run; one that cannot be read is told and left out."""
        path = self._path()
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Kept) if path is not None else None
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s is left out: beacons answer from the store only: %s", path, error)
            return
        if kept is not None and kept.fleet == self._fleet().name:
            self._kept = kept.names

    async def run(self) -> None:
        """Keep the file in step with what is decided, until cancelled."""
        failing = False
        while True:
            path, state, fleet = self._path(), self._journal.decided, self._fleet()
            if path is not None and state is not None and (state is not self._saved[0] or fleet is not self._saved[1]):
                try:
                    await asyncio.to_thread(replace_file, path, msgspec.json.encode(self._answers(state, fleet)))
                    self._saved, failing = (state, fleet), False
                except OSError as error:
                    if not failing:
                        log.warning(
                            "%s cannot be written: a restart without the store will not know what is drained: %s",
                            path,
                            error,
                        )
                    failing = True
            await self._clock.sleep(EVERY_S)

    def _answers(self, state: HardState, fleet: Fleet) -> Kept:
        names = {e.name for s in fleet.services for e in s.endpoints} | {s.name for s in fleet.services}
        names |= {r.name for r in fleet.regions} | set(fleet.zone_region)
        answers = {n: _wanted(fleet, state, n) for n in sorted(names)}
        return Kept(fleet.name, {n: w for n, w in answers.items() if w is not None})

    def _path(self) -> Path | None:
        found = [p.settings.get("state") for p in self._fleet().providers if p.kind == KIND]
        return next((Path(str(p)) for p in found if p), None)


def _wanted(fleet: Fleet, state: HardState | None, name: str) -> bool | None:
    """By the routes of kind `beacon` that have the name as a target, which know it in or out; else by its share."""
    found = []
    for service in fleet.services:
        observing = "observe" in (fleet.mode, service.mode)
        for route in service.routes:
            if fleet.provider_by_name[route.provider].kind != KIND or all(t.key != name for t in route.targets):
                continue
            desired = None if state is None or observing else state.desired.get(route.key)
            weight = None if desired is None else desired.weights.get(name)
            found.append(weight is None or weight > 0)
    return any(found) if found else in_service(fleet, state, name)
