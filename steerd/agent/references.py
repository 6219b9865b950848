"""Looks at places outside the agent's zone, to tell "the target is dead" from "I am cut off" (decisions.md, section 2).

Any answer counts, whatever it says: only a connection that cannot be made, or no answer in time, is a failure.
These looks are about this host's own network and its clock: the `Date` of their answers is told to `probes.host_clock`, so that
no target is blamed for a certificate that a wrong clock calls expired. Certificates are not verified here, for the same reason;
nothing is sent, and the worst that a liar can do is to have dates of certificates not judged at all. A cache keeps the `Date` of
the answer that it keeps: one with an `Age` tells nothing of the time.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable, Mapping

import aiohttp

from probes.host_clock import HOST_CLOCK
from steerd.model.fleet import Fleet

__all__ = ["References", "reference_urls"]

EVERY_S = 5.0
TIMEOUT_S = 2.0
KICK_GAP_S = 1.0
"""Seconds between two rounds at the closest: a suspect endpoint asks for one at once."""

_HEADERS = {"Cache-Control": "no-cache"}


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
            times = dict[str, float]()
            faults = await asyncio.gather(*(self._fault(url, times) for url in urls))
            HOST_CLOCK.told([at + time.monotonic() for at in times.values()])
            if urls == self._urls:
                self.failing = {url: fault for url, fault in zip(urls, faults, strict=True) if fault is not None}
                self._told(len(self.failing), len(urls))
            await asyncio.sleep(KICK_GAP_S)
            try:
                async with asyncio.timeout(EVERY_S - KICK_GAP_S):
                    await self._soon.wait()
            except TimeoutError:
                continue

    async def _fault(self, url: str, times: dict[str, float]) -> str | None:
        """Why `url` is out of reach, or None when anything at all answered. What time it says it is goes to `times`, less the
        steady clock's.
        """
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._session.get(url, headers=_HEADERS, allow_redirects=False, ssl=False) as answer,
            ):
                said = _epoch_s(answer.headers)
                if said is not None:
                    times[url] = said - time.monotonic()
                return None
        except (aiohttp.ClientSSLError, aiohttp.ClientResponseError, aiohttp.ServerDisconnectedError):
            return None  # somebody answered, if not as hoped: the network between us works
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return str(error) or type(error).__name__


def _epoch_s(headers: Mapping[str, str]) -> float | None:
    """The time that an answer's `Date` says, epoch seconds; None without one that can be read, or out of a cache (RFC 9111)."""
    date = headers.get("Date")
    if date is None or headers.get("Age", "0").strip() != "0":
        return None
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
