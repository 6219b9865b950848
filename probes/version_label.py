"""`version`: reads the version label of an endpoint from a JSON answer or from a metric's label, and says nothing else of it.

A look that finds no label is ERROR: the label is a hint for people and for telling a bad deploy from a bad zone, never a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from probes.clock import StageClock
from probes.errors import SettingError
from probes.guard import guarded, result, scrubbed
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join, read_bounded
from probes.json_path import BadJsonError, parse, values_at
from probes.metrics_text import MetricsReader, read_text
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, headers_of, number, text, tls_of
from probes.target import Target

__all__ = ["VersionProbe", "build"]


class VersionProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        key = settings.get("api_key")
        self.layer = layer
        self._resolve = resolve
        self._url = text(settings, "url")
        self._path = text(settings, "path", "/version") or ""
        self._json = text(settings, "json")
        self._metric = text(settings, "metric")
        if (self._json is None) == (self._metric is None):
            raise SettingError("json: say where the label is: `json` (a JSON path) or `metric`, one of them")
        self._label = text(settings, "label", "version") or "version"
        self._max_bytes = int(number(settings, "max_bytes", 4_194_304) or 4_194_304)
        self._headers = headers_of(settings)
        self._api_key = None if key is None else Text(key)
        self._client = HttpClient(tls_of(settings))

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Read the label. See `probes.probe.Probe`."""
        clock = StageClock()
        hidden: list[str] = []
        outcome = await guarded(self.layer, deadline, clock, self._read(target, clock, hidden))
        if outcome.status is not Status.PASS and outcome.status is not Status.ERROR:
            unreachable = outcome.transport and not outcome.unanswered and outcome.stages.connect_s is None
            reason = f"the version label cannot be read: {outcome.reason}"
            outcome = replace(outcome, status=Status.ERROR, reason=reason, transport=unreachable, unanswered=False)
        return scrubbed(outcome, hidden)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()

    async def _read(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        headers = request_headers(self.layer, self._headers, self._api_key, self._resolve, hidden)
        request = Request("GET", join(self._url or target.url, self._path), headers)
        async with self._client.send(request, target, clock, fresh=True) as response:
            body, _ = await read_bounded(response, self._max_bytes)
            if response.status != 200:
                return result(Status.FAIL, self.layer, clock, f"HTTP {response.status}")
        label = await self._in_metrics(body) if self._metric is not None else self._in_json(body)
        if label is None:
            return result(Status.FAIL, self.layer, clock, "the answer has no such label")
        return result(Status.PASS, self.layer, clock, version=label)

    def _in_json(self, body: bytes) -> str | None:
        try:
            found = next(values_at(parse(body), self._json or ""), None)
        except BadJsonError:
            return None
        return None if found is None or isinstance(found, (dict, list)) else str(found)

    async def _in_metrics(self, body: bytes) -> str | None:
        assert self._metric is not None
        reader = MetricsReader.of([self._metric])
        await read_text(reader, body)
        return next((value for one in reader.get([self._metric]) if (value := one.label(self._label))), None)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> VersionProbe:
    """See `probes.registry.make`."""
    return VersionProbe(layer, settings, resolve)
