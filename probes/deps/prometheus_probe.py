"""`prometheus`: any query with a threshold.

Prometheus is the instrument here and not the thing looked at: when it cannot be asked, or has no data, the look is an ERROR
and nobody is blamed. (To look at Prometheus itself use `http` with `/-/ready`.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from probes.clock import StageClock
from probes.deps.base import DependencyProbe
from probes.deps.web import Answer, Web, based
from probes.errors import SettingError
from probes.guard import outcome_of
from probes.headers import request_headers
from probes.http_client import Request
from probes.http_status import shown, status_fault
from probes.json_path import BadJsonError
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, headers_of, text, tls_of
from probes.target import Target

__all__ = ["PrometheusProbe", "build"]

_SHOWN = 3


class PrometheusProbe(DependencyProbe):
    """See the module's text. Readings: `value`, the one furthest beyond its threshold, and `series`, how many there are."""

    instrument: ClassVar[str | None] = "Prometheus"

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._url = text(settings, "url")
        self._query = text(settings, "query") or ""
        self._above, self._below = _limit(settings, "above"), _limit(settings, "below")
        if not self._query.strip():
            raise SettingError("query: it is empty: write a PromQL query")
        if self._above is not None and self._below is not None and self._above < self._below:
            raise SettingError("above: it is less than `below`, so that every value would fail")
        self._empty = text(settings, "empty", "error")
        self._headers = headers_of(settings)
        key = settings.get("api_key")
        self._key = None if key is None else Text(key)
        self._web = Web(tls_of(settings))

    async def close(self) -> None:
        """Safe to call twice."""
        await self._web.close()

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        headers = request_headers(self.layer, self._headers, self._key, self._resolve, hidden)
        url = (based(self._url or target.url) / "api/v1/query").with_query({"query": self._query})
        answer = await self._web.ask(Request("GET", url, headers), target, clock)
        try:
            document = answer.json()
        except BadJsonError as error:
            document, why = {}, str(error)
        else:
            why = shown(answer.body)
        if not answer.ok or not isinstance(document, Mapping) or document.get("status") != "success":
            return self._refused(clock, answer, why)
        values = _values(document.get("data"))
        return self._judge(clock, values)

    def _refused(self, clock: StageClock, answer: Answer, why: str) -> Outcome:
        if answer.status in (400, 422):
            return self._misconfigured(clock, "Prometheus cannot carry out the query", f"fix `query`: {why}")
        fault = status_fault(answer.status, answer.body)
        if fault.status is Status.ERROR:
            return outcome_of(fault, self.layer, clock)
        return self._misconfigured(clock, f"Prometheus cannot be asked: HTTP {answer.status}", why)

    def _judge(self, clock: StageClock, values: list[tuple[float, str]]) -> Outcome:
        values = [pair for pair in values if not math.isnan(pair[0])]
        if not values:
            if self._empty == "pass":
                return self._passed(clock, {"series": 0.0})
            if self._empty == "fail":
                return self._failed(clock, "the query gives no data", readings={"series": 0.0})
            advice = "write `empty: pass` or `empty: fail` if that means something"
            return self._misconfigured(clock, "the query gives no data", advice)
        bad = [pair for pair in values if self._beyond(pair[0]) > 0]
        worst = max(values, key=lambda pair: self._beyond(pair[0]))
        readings = {"value": worst[0], "series": float(len(values))} if math.isfinite(worst[0]) else {}
        if not bad:
            return self._passed(clock, readings)
        bad.sort(key=lambda pair: -self._beyond(pair[0]))
        shown_values = "; ".join(f"{value:g} of {labels}" for value, labels in bad[:_SHOWN])
        over = self._above is not None and worst[0] > self._above
        limit = f"above {self._above:g}" if over else f"below {self._below:g}"
        detail = f"{shown_values}; {len(bad)} of {len(values)} series"
        return self._failed(clock, f"a value is {limit}", detail=detail, readings=readings)

    def _beyond(self, value: float) -> float:
        """How far a value is beyond its threshold; 0 or less when it is not."""
        over = -math.inf if self._above is None else value - self._above
        under = -math.inf if self._below is None else self._below - value
        return max(over, under)


def _values(data: Any) -> list[tuple[float, str]]:
    """(value, labels) of an instant vector or a scalar; others have none that could be compared."""
    if not isinstance(data, Mapping):
        return []
    result = data.get("result")
    if data.get("resultType") == "scalar" and isinstance(result, list) and len(result) == 2:
        return [(float(result[1]), "the scalar")]
    if data.get("resultType") != "vector" or not isinstance(result, list):
        return []
    return [(float(one["value"][1]), _labels(one.get("metric", {}))) for one in result]


def _labels(metric: Mapping[str, str]) -> str:
    inner = ", ".join(f'{key}="{value}"' for key, value in sorted(metric.items()) if key != "__name__")
    return f"{metric.get('__name__', '')}{{{inner}}}"


def _limit(settings: Mapping[str, Any], name: str) -> float | None:
    value = settings.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(f"{name}: {value!r} is not a number")
    return float(value)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> PrometheusProbe:
    """See `probes.registry.make`."""
    return PrometheusProbe(layer, settings, resolve)
