"""Looks at places outside the agent's zone, to tell "the target is dead" from "I am cut off" (decisions.md, section 2).

Any answer counts, whatever it says: only a connection that cannot be made, or no answer in time, is a failure.
These looks are about this host's own network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from steerd.model.fleet import Fleet

__all__ = ["References", "reference_urls"]

EVERY_S = 5.0
TIMEOUT_S = 2.0
KICK_GAP_S = 1.0
"""Seconds between two rounds at the closest: a suspect endpoint asks for one at once."""


def reference_urls(fleet: Fleet, agent: str) -> tuple[str, ...]:
    """Where agent `agent` looks for its own connection: `references` of the config, else the coordinators' `/livez`.

    A coordinator of the agent's own region may share its process or zone, and would then always answer; it is left out
    where at least 2 others remain.
    """
    if fleet.references:
        return fleet.references
    region = fleet.vantage_region(fleet.agent_by_name[agent].zone)
    outside = [c for c in fleet.coordinators if c.region != region]
    chosen = outside if len(outside) >= 2 else fleet.coordinators
    return tuple(c.url.rstrip("/") + "/livez" for c in chosen)


class References:
    """Looks at every reference each 5 s, and calls `told(failing, total)` after each round."""

    def __init__(self, session: aiohttp.ClientSession, told: Callable[[int, int], None]) -> None:
        self._session = session
        self._told = told
        self._urls: tuple[str, ...] = ()
        self._soon = asyncio.Event()
        self.failing: dict[str, str] = {}

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._urls)

    def set_urls(self, urls: tuple[str, ...]) -> None:
        """Takes the references of a config, and looks at once."""
        self._urls = urls
        self._soon.set()

    def kick(self) -> None:
        """An endpoint looks suspect: look at the references soon, in case it is us."""
        self._soon.set()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            self._soon.clear()
            urls = self._urls
            faults = await asyncio.gather(*(self._fault(url) for url in urls))
            if urls == self._urls:
                self.failing = {url: fault for url, fault in zip(urls, faults, strict=True) if fault is not None}
                self._told(len(self.failing), len(urls))
            await asyncio.sleep(KICK_GAP_S)
            try:
                async with asyncio.timeout(EVERY_S - KICK_GAP_S):
                    await self._soon.wait()
            except TimeoutError:
                continue

    async def _fault(self, url: str) -> str | None:
        """Why `url` is out of reach, or None when anything at all answered."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._session.get(url, allow_redirects=False):
                return None
        except (aiohttp.ClientSSLError, aiohttp.ClientResponseError, aiohttp.ServerDisconnectedError):
            return None  # somebody answered, if not as hoped: the network between us works
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return str(error) or type(error).__name__
