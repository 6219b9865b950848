"""Resignation for blindness (ha.md): a leader that hears no quorum of fresh votes lets another try.

hears no quorum for 2 x vote_ttl -> resigns, stands again after 30 s or when it hears one
resigned once for this blindness -> stays if it wins again: everybody is blind, and operators must still be able to act
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from steerd.coordinator.clock import Clock
from steerd.coordinator.leadership import Leadership
from steerd.model.fleet import Fleet
from steerd.stores.base import StoreError

__all__ = ["Blindness"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
STAND_AGAIN_S = 30.0


class Blindness:
    """`hears()` tells whether there is a quorum of fresh votes; `fleet()` is the config in force: where there is one coordinator,
    nobody else could lead. `settled` waits for provider calls under way: the key is freed only when none of ours can overlap
    with the next leader's."""

    def __init__(
        self,
        leadership: Leadership,
        clock: Clock,
        hears: Callable[[], bool],
        fleet: Callable[[], Fleet],
        settled: Callable[[], Awaitable[object]],
    ) -> None:
        self._leadership = leadership
        self._clock = clock
        self._hears = hears
        self._fleet = fleet
        self._settled = settled
        self._since: float | None = None
        self._led_since: float | None = None
        self.resigned = False
        """It gave the lead up for the blindness that still lasts."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """One look, and what follows from it."""
        now = self._clock.now()
        if self._hears():
            if self.resigned:
                self._leadership.stand_at(now)
            self._since, self.resigned = None, False
        elif self._since is None:
            self._since = now
        leading = self._leadership.token is not None
        self._led_since = (self._led_since if self._led_since is not None else now) if leading else None
        if self._since is None or self._led_since is None or self.resigned or len(self._fleet().coordinators) < 2:
            return
        patience_s = 2 * self._fleet().quorum.vote_ttl_s
        if now - max(self._since, self._led_since) >= patience_s:
            self.resigned = True
            log.warning("no quorum of fresh votes for %g s: another coordinator may lead", patience_s)
            try:
                await self._leadership.resign(STAND_AGAIN_S, self._settled)
            except StoreError as error:
                log.warning("the lead could not be handed over and ends with its lease: %s", error)
