"""`progress`: forward movement, read from the engine's own metrics (probes.md, "Progress"). Costs no tokens.

Unknown is not idle: a scrape that fails, is stale or lacks the metrics is ERROR, which says nothing of the target.

Readings: `running`, `waiting` (requests), `kv_cache` (0..1), and since the look before: `served`, `failed` (requests that ended
well, or by the engine's fault), `engine_ttft_s`, `engine_inter_token_s` (means over real traffic).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from probes.busy import GAP_S
from probes.clock import StageClock
from probes.engine_metrics import EngineMetrics, Scrape, scrape_of
from probes.guard import guarded, result, scrubbed
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join
from probes.movement import Judgement, Movement, State, moved
from probes.outcome import Layer, Outcome, Status
from probes.settings import MODEL, Resolve, Text, headers_of, number, port_of, substitute, text, tls_of
from probes.target import Target

__all__ = ["ProgressProbe", "build"]

_PIECE = 65536
_ACCEPT = "text/plain;version=0.0.4"


class _UnreadableError(Exception):
    """The metrics say nothing; the text says why."""


@dataclass(slots=True)
class _Seen:
    """What is remembered of one target."""

    movement: Movement
    totals: Mapping[str, float] = field(default_factory=dict)
    moving: asyncio.Future[bool | None] | None = None


class ProgressProbe:
    """See the module's text. One instance serves one check on any number of targets, and remembers each."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        key = settings.get("api_key")
        self.layer = layer
        self._resolve = resolve
        self._metrics = EngineMetrics.of(settings)
        self._url = text(settings, "url")
        self._path = text(settings, "path", "/metrics") or ""
        self._port = port_of(settings)
        self._stall_s = number(settings, "stall", 60.0) or 60.0
        sample_s = number(settings, "sample", 10.0) or 10.0
        # Three readings missed in a row leave a hole in which anything may have happened.
        self._gap_s = max(self._stall_s, 3.0 * sample_s)
        self._stale_s = max(3.0 * sample_s, self._stall_s / 2)
        self._queue = number(settings, "queue")
        self._max_bytes = int(number(settings, "max_bytes", 4_194_304) or 4_194_304)
        self._headers = headers_of(settings)
        self._api_key = None if key is None else Text(key)
        self._client = HttpClient(tls_of(settings))
        self._seen: dict[str, _Seen] = {}

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Scrape once and compare with the looks before. See `probes.probe.Probe`."""
        clock = StageClock()
        hidden: list[str] = []
        scraped: list[Scrape] = []
        outcome = await guarded(self.layer, deadline, clock, self._read(target, clock, hidden, scraped))
        outcome = self._judge(target, clock, scraped[0]) if scraped else self._unknown(outcome)
        return scrubbed(outcome, hidden)

    async def moves(self, target: Target, deadline: float, *, gap_s: float = GAP_S) -> bool | None:
        """Whether any counter moves between two scrapes `gap_s` apart; None when that cannot be told.

        Looks that ask about one target at the same time share one answer: a storm of timeouts must not become one of scrapes.
        """
        seen = self._of(target)
        if seen.moving is None or seen.moving.done():
            seen.moving = asyncio.ensure_future(self._moves(target, deadline, gap_s))
        return await asyncio.shield(seen.moving)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        for seen in self._seen.values():
            if seen.moving is not None and not seen.moving.done():
                seen.moving.cancel()
                await asyncio.wait((seen.moving,), timeout=1.0)
        await self._client.close()

    async def _moves(self, target: Target, deadline: float, gap_s: float) -> bool | None:
        try:
            async with asyncio.timeout_at(deadline):
                first = await self._scrape(target, StageClock(), [])
                await asyncio.sleep(gap_s)
                second = await self._scrape(target, StageClock(), [])
        except (TimeoutError, OSError, aiohttp.ClientError, _UnreadableError):
            return None
        if first.problem is not None or second.problem is not None or not second.reading.steps:
            return None
        return moved(first.reading.steps, second.reading.steps)

    def _of(self, target: Target) -> _Seen:
        seen = self._seen.get(target.name)
        if seen is None:
            seen = self._seen[target.name] = _Seen(Movement(self._stall_s, self._gap_s, self._queue))
        return seen

    async def _read(self, target: Target, clock: StageClock, hidden: list[str], scraped: list[Scrape]) -> Outcome:
        """Scrape; what it says goes to `scraped`, the outcome only counts when nothing does."""
        try:
            scraped.append(await self._scrape(target, clock, hidden))
        except _UnreadableError as error:
            return self._error(clock, str(error))
        return result(Status.PASS, self.layer, clock)

    def _unknown(self, outcome: Outcome) -> Outcome:
        """A scrape that failed says nothing of progress. `transport` stays where no connection to the endpoint's own server could
        be made: other checks say so then, and there is nothing to fix about this one. Metrics elsewhere only this check knows."""
        if outcome.status is Status.ERROR:
            return outcome
        unreachable = outcome.transport and not outcome.unanswered and outcome.stages.connect_s is None
        own = self._port is None and self._url is None
        reason = f"the metrics cannot be read: {outcome.reason}"
        return replace(outcome, status=Status.ERROR, reason=reason, transport=unreachable and own, unanswered=False)

    def _judge(self, target: Target, clock: StageClock, scrape: Scrape) -> Outcome:
        if scrape.problem is not None:
            return self._error(clock, scrape.problem, version=scrape.version)
        if scrape.stale_s > self._stale_s:
            return self._error(clock, f"the metrics are stale: {scrape.stale_s:.0f} s old", version=scrape.version)
        seen = self._of(target)
        judged = seen.movement.take(scrape.reading)
        readings = _readings(scrape, seen.totals if judged.state is not State.RESTARTED else {})
        seen.totals = scrape.totals or {}
        return self._outcome(clock, scrape, judged, readings)

    def _outcome(self, clock: StageClock, scrape: Scrape, judged: Judgement, readings: dict[str, float]) -> Outcome:
        reading, version = scrape.reading, scrape.version
        at_work = f"{reading.running or 0:g} running, {reading.waiting or 0:g} waiting"
        detail = f"{judged.state}: {at_work}"
        if judged.still_s > 0:
            which = " ".join(f"{key}={value}" for key, value in judged.part)
            detail += f", no step for {judged.still_s:.1f} s{f' of {which}' if which else ''}"
        if judged.state is State.STALLED:
            stalled = result(
                Status.FAIL, self.layer, clock, "no progress: busy and not one step", detail=detail, version=version
            )
            # A look at an engine that stands still is as good as an answer that never comes.
            return replace(stalled, transport=True, readings=readings)
        if judged.state is State.SATURATED:
            reason = "queue over its limit"
            return result(
                Status.SATURATED, self.layer, clock, reason, detail=detail, version=version, readings=readings
            )
        return result(Status.PASS, self.layer, clock, detail=detail, version=version, readings=readings)

    def _error(self, clock: StageClock, reason: str, *, version: str | None = None) -> Outcome:
        return result(Status.ERROR, self.layer, clock, reason, version=version)

    def _where(self, target: Target) -> URL:
        """Where the metrics of `target` are. Raises `MisconfiguredError`."""
        path = self._path
        if MODEL in path:
            path = path.replace(MODEL, quote(substitute(MODEL, target), safe=""))
        url = join(self._url or target.url, path)
        if self._port is None:
            return url
        # A port of its own is a server of its own: a prefix of the endpoint's URL means nothing there.
        return join(str(url.origin().with_port(self._port)), path)

    async def _scrape(self, target: Target, clock: StageClock, hidden: list[str]) -> Scrape:
        headers = request_headers(self.layer, self._headers, self._api_key, self._resolve, hidden)
        request = Request("GET", self._where(target), {"Accept": _ACCEPT, **headers})
        found = self._metrics.reader()
        async with self._client.send(request, target, clock, fresh=True) as response:
            if response.status != 200:
                raise _UnreadableError(f"the metrics cannot be read: HTTP {response.status}")
            coding = response.headers.get("Content-Encoding", "identity").lower()
            if coding != "identity":
                raise _UnreadableError(f"the metrics are compressed although they must not be: {coding}")
            size = 0
            async for piece in response.content.iter_chunked(_PIECE):
                size += len(piece)
                if size > self._max_bytes:
                    response.close()
                    raise _UnreadableError(f"the metrics are over {self._max_bytes} bytes: raise `max_bytes`")
                found.feed(piece)
        found.end()
        if found.broken is not None and not found.lines:
            raise _UnreadableError(f"the metrics are no metrics text: {found.broken}")
        now = asyncio.get_running_loop().time()
        return scrape_of(self._metrics, found, at=now, wall=time.time(), model=target.model)


def _readings(scrape: Scrape, before: Mapping[str, float]) -> dict[str, float]:
    reading, totals = scrape.reading, scrape.totals or {}
    now = {"running": reading.running, "waiting": reading.waiting, "kv_cache": scrape.cache}
    found = {name: value for name, value in now.items() if value is not None}
    if not before:
        return found
    grown = {key: value - before[key] for key, value in totals.items() if key in before and value >= before[key]}
    for key in ("served", "failed"):
        if key in totals:
            found[key] = grown.get(key, totals[key])
    for key in ("ttft", "inter_token"):
        if grown.get(f"{key}_count", 0.0) > 0:
            found[f"engine_{key}_s"] = grown.get(f"{key}_sum", 0.0) / grown[f"{key}_count"]
    return found


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> ProgressProbe:
    """See `probes.registry.make`."""
    return ProgressProbe(layer, settings, resolve)
