"""`progress`: forward movement, read from the engine's own metrics (probes.md, "Progress"). Costs no tokens.

Unknown is not idle: a scrape that fails, is stale or lacks the metrics is ERROR, which says nothing of the target.

Readings: `running`, `waiting` (requests), `kv_cache`, `gpu_utilization` (0..1), and since the look before: `served`, `failed`
(requests that ended well, or by the engine's fault), `engine_ttft_s`, `engine_inter_token_s` (means over real traffic). Of a name
with several addresses, each with counters of its own: sums of requests, the worst of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from probes.address import host_of
from probes.addresses import at_each
from probes.busy import GAP_S
from probes.clock import StageClock
from probes.engine_metrics import EngineMetrics, Scrape, scrape_of
from probes.guard import guarded, result, scrubbed
from probes.headers import request_headers
from probes.host_clock import HOST_CLOCK
from probes.http_client import HttpClient, Request, join
from probes.metrics_text import PIECE
from probes.movement import Judgement, Movement, State, moved
from probes.outcome import Layer, Outcome, Status
from probes.settings import MODEL, Resolve, Text, headers_of, number, port_of, substitute, text, tls_of
from probes.target import Target

__all__ = ["ProgressProbe", "build"]

_SUMS = frozenset({"running", "waiting", "served", "failed"})
_ACCEPT = "text/plain;version=0.0.4"


class _UnreadableError(Exception):
    """The metrics say nothing; the text says why."""


@dataclass(slots=True)
class _Seen:
    """What is remembered of one address of a target."""

    movement: Movement
    totals: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Known:
    """What is remembered of one target, by address (None: its URL's host is one)."""

    seen: dict[str | None, _Seen] = field(default_factory=dict)
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
        self._known: dict[str, _Known] = {}

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Scrape every address once and compare with the looks before. See `probes.probe.Probe`."""
        found: dict[str | None, Outcome] = {}

        async def ask(address: str | None) -> Outcome:
            found[address] = outcome = await self._look(target, address, deadline)
            return outcome

        folded = await at_each(self.layer, self._name_of(target), deadline, ask)
        if not found:
            return folded  # nobody knows its addresses just now
        seen = self._of(target).seen
        for gone in seen.keys() - found.keys():
            del seen[gone]
        if len(found) < 2:
            return folded
        return replace(folded, readings=_together([one.readings for one in found.values()]))

    async def _look(self, target: Target, address: str | None, deadline: float) -> Outcome:
        clock = StageClock()
        hidden: list[str] = []
        scraped: list[Scrape] = []
        at = target if address is None else replace(target, address=address)
        outcome = await guarded(self.layer, deadline, clock, self._read(at, clock, hidden, scraped))
        outcome = self._judge(target, address, clock, scraped[0]) if scraped else self._unknown(outcome)
        return scrubbed(outcome, hidden)

    async def moves(self, target: Target, deadline: float, *, gap_s: float = GAP_S) -> bool | None:
        """Whether any counter moves between two scrapes `gap_s` apart, at any address; None when that cannot be told.

        Looks that ask about one target at the same time share one answer: a storm of timeouts must not become one of scrapes.
        """
        known = self._of(target)
        if known.moving is None or known.moving.done():
            known.moving = asyncio.ensure_future(self._moves(target, deadline, gap_s))
        return await asyncio.shield(known.moving)

    def forget(self, target: str) -> None:
        """The target is gone: nothing is remembered of it."""
        known = self._known.pop(target, None)
        if known is not None and known.moving is not None:
            known.moving.cancel()

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        for known in self._known.values():
            if known.moving is not None and not known.moving.done():
                known.moving.cancel()
                await asyncio.wait((known.moving,), timeout=1.0)
        await self._client.close()

    def _name_of(self, target: Target) -> str:
        return host_of(self._url or target.url) if target.address is None else ""

    async def _moves(self, target: Target, deadline: float, gap_s: float) -> bool | None:
        said: list[bool | None] = []

        async def ask(address: str | None) -> Outcome:
            said.append(await self._moves_at(target, address, deadline, gap_s))
            return Outcome(Status.PASS, self.layer)

        await at_each(self.layer, self._name_of(target), deadline, ask)
        return True if True in said else False if False in said else None

    async def _moves_at(self, target: Target, address: str | None, deadline: float, gap_s: float) -> bool | None:
        at = target if address is None else replace(target, address=address)
        try:
            async with asyncio.timeout_at(deadline):
                first = await self._scrape(at, StageClock(), [])
                await asyncio.sleep(gap_s)
                second = await self._scrape(at, StageClock(), [])
        except (TimeoutError, OSError, aiohttp.ClientError, _UnreadableError):
            return None
        if first.problem is not None or second.problem is not None or not second.reading.steps:
            return None
        known = self._of(target).seen.get(address)
        if known is not None and known.movement.saw(second.reading):
            return False  # of two engines behind one address: the other one, no further than it was
        return moved(first.reading.steps, second.reading.steps)

    def _of(self, target: Target) -> _Known:
        return self._known.setdefault(target.name, _Known())

    def _seen_at(self, target: Target, address: str | None) -> _Seen:
        known = self._of(target).seen
        if address not in known:
            known[address] = _Seen(Movement(self._stall_s, self._gap_s, self._queue))
        return known[address]

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

    def _judge(self, target: Target, address: str | None, clock: StageClock, scrape: Scrape) -> Outcome:
        if scrape.problem is not None:
            return self._error(clock, scrape.problem, version=scrape.version)
        if scrape.stale_s > self._stale_s:
            return self._error(clock, f"the metrics are stale: {scrape.stale_s:.0f} s old", version=scrape.version)
        seen = self._seen_at(target, address)
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
            async for piece in response.content.iter_chunked(PIECE):
                size += len(piece)
                if size > self._max_bytes:
                    response.close()
                    raise _UnreadableError(f"the metrics are over {self._max_bytes} bytes: raise `max_bytes`")
                found.feed(piece)
                await asyncio.sleep(0)  # what is here already would be read in one go, and megabytes of it take long
        found.end()
        if found.broken is not None and not found.lines:
            raise _UnreadableError(f"the metrics are no metrics text: {found.broken}")
        now = asyncio.get_running_loop().time()
        return scrape_of(self._metrics, found, at=now, wall=HOST_CLOCK.now(), model=target.model)


def _readings(scrape: Scrape, before: Mapping[str, float]) -> dict[str, float]:
    reading, totals = scrape.reading, scrape.totals or {}
    now = {
        "running": reading.running,
        "waiting": reading.waiting,
        "kv_cache": scrape.cache,
        "gpu_utilization": scrape.utilization,
    }
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


def _together(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The readings of a name from those of its addresses."""
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            old = found.get(name)
            found[name] = value if old is None else old + value if name in _SUMS else max(old, value)
    return found


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> ProgressProbe:
    """See `probes.registry.make`."""
    return ProgressProbe(layer, settings, resolve)
