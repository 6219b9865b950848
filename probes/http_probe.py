"""`http`: one request; status, and optionally a pattern or JSON conditions on the body.

Through the wire engine (`probes.wire`) where it can be had; redirects that are to be followed, and hosts without the engine, go
through aiohttp. Both end in the same judgement (`HttpSettings.judge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from probes.address import host_of
from probes.addresses import at_each
from probes.clock import StageClock
from probes.guard import guarded, outcome_of, result, scrubbed
from probes.http_client import HttpClient, Request, read_bounded
from probes.http_settings import HttpSettings, VersionLabel
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, tls_of
from probes.target import Target
from probes.turns import Turns
from probes.wire import AVAILABLE

if TYPE_CHECKING:
    from probes.http_lane import HttpLane, Told

__all__ = ["HttpProbe", "VersionLabel", "build"]

_MAX_REDIRECTS = 3


class HttpProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve, *, wire: bool = AVAILABLE) -> None:
        self.layer = layer
        self._resolve = resolve
        self._settings = HttpSettings.of(layer, settings)
        self._tls = tls_of(settings)
        self._turns = Turns(self._settings.fresh_every)
        self._client = HttpClient(self._tls)
        self._wire = wire and not self._settings.follow
        self._lanes: dict[Target, HttpLane] = {}

    def lane(self, target: Target, told: Told) -> HttpLane | None:
        """A way to look at `target` again and again without a task each time; None where only `look` can.

        Close it when done. Needs a running loop.
        """
        return self._lane(target, told) if self._wire else None

    def _lane(self, target: Target, told: Told) -> HttpLane:
        from probes.http_lane import HttpLane  # noqa: PLC0415 - it needs what `AVAILABLE` says is there

        return HttpLane(self._settings, target, told, self._turns, self._resolve, self._tls)

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        """One request. See `probes.probe.Probe`."""
        if self._wire:
            return await self._look_by_wire(target, deadline, fresh=fresh)
        _, renew = self._turns.next(target.name)
        # A request that is not idempotent must not meet a connection that the server is just closing.
        renew = fresh or renew or self._settings.method == "POST"
        hidden: list[str] = []

        async def ask(at: str | None) -> Outcome:
            clock, where = StageClock(), target if at is None else replace(target, address=at)
            return await guarded(self.layer, deadline, clock, self._ask_kept(where, clock, hidden, fresh=renew))

        name = host_of(self._settings.url or target.url) if target.address is None else ""
        outcome = await at_each(self.layer, name, deadline, ask)
        self._turns.ended(target.name, well=outcome.ok)
        return scrubbed(outcome, hidden)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._turns.forget(target)
        for at in [at for at in self._lanes if at.name == target]:
            lane = self._lanes[at]
            if not lane.busy:  # a look under way takes it away itself
                lane.close()
                del self._lanes[at]

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.close()
        await self._client.close()

    # -- by the wire engine -------------------------------------------------------------------------------------------

    async def _look_by_wire(self, target: Target, deadline: float, *, fresh: bool) -> Outcome:
        """A look of its own: on the target's kept connection, or on a lane that ends with it."""
        found: asyncio.Future[tuple[HttpLane, Outcome | None]] = asyncio.get_running_loop().create_future()

        def told(lane: HttpLane, outcome: Outcome | None) -> None:
            if not found.done():
                found.set_result((lane, outcome))

        lane = self._lanes.get(target)
        if fresh or (lane is not None and lane.busy):
            lane = self._lane(target, told)
            own = True
        else:
            if lane is None:
                lane = self._lane(target, told)
                self._lanes[target] = lane
            lane.told = told
            own = False
        try:
            lane.start(deadline, fresh=fresh)
            ended, outcome = await found
            return outcome if outcome is not None else ended.passed()
        finally:
            if own or lane.busy:
                lane.close()
                if self._lanes.get(target) is lane:
                    del self._lanes[target]

    # -- by aiohttp ---------------------------------------------------------------------------------------------------

    async def _ask_kept(self, target: Target, clock: StageClock, hidden: list[str], *, fresh: bool) -> Outcome:
        """Ask; once more when a kept-alive connection turns out dead, which servers that close idle ones make it."""
        try:
            return await self._ask(target, clock, hidden, fresh=fresh)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if not clock.kept or clock.answered:
                raise
            return await self._ask(target, clock, hidden, fresh=True)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str], *, fresh: bool) -> Outcome:
        settings = self._settings
        request = settings.request(target, self._resolve, hidden)
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._client.send(request, target, clock, fresh=fresh) as response:
                onward = settings.redirect(response.status, response.headers, request.url)
                if onward is None:
                    body, whole = await read_bounded(response, settings.max_bytes)
                    return self._judge(target, clock, response, body, whole=whole)
                if isinstance(onward, str):
                    detail = f"to {response.headers['Location']}"
                    return result(Status.FAIL, self.layer, clock, onward, detail=detail)
                request = Request(request.method, onward, request.headers, request.body)
        return result(Status.FAIL, self.layer, clock, "too many redirects")

    def _judge(
        self, target: Target, clock: StageClock, response: aiohttp.ClientResponse, body: bytes, *, whole: bool
    ) -> Outcome:
        settings = self._settings
        version = settings.version.read(response, body)
        fault = settings.judge(target, response.status, response.headers, body, whole=whole, elapsed_s=clock.elapsed_s)
        if fault is not None:
            return outcome_of(fault, self.layer, clock, version=version)
        return result(Status.PASS, self.layer, clock, version=version)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> HttpProbe:
    """See `probes.registry.make`."""
    return HttpProbe(layer, settings, resolve)
