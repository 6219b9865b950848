"""The instruments, and who reads them: Prometheus by text, a collector by OTLP.

Everything is measured on the event loop's thread. Before anybody collects, `refresh` copies what the sources tell
(status, tallies), so that a thread may then render or send it while the loop goes on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter, ObservableGauge
from opentelemetry.sdk.metrics.export import (
    CardinalityLimits,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from steerd import __version__
from steerd.telemetry.gauges import Sample
from steerd.telemetry.names import BY_NAME, METRICS, Spec
from steerd.telemetry.tally import Tally

__all__ = ["GAUGE_SERIES_LIMIT", "Meters", "Source", "resource"]

GAUGE_SERIES_LIMIT: Final = 100_000
"""Series of one gauge: 20 000 endpoints in each of their five states."""

Source = Callable[[], Iterable[Sample]]
"""Called on the event loop before a collection: the gauges and totals of now."""


def resource(identity: Mapping[str, str] | None = None) -> Resource:
    """Who tells: service.name, service.version, and what the caller adds (`service.instance.id`, `steerd.fleet`).

    `OTEL_RESOURCE_ATTRIBUTES` counts too.
    """
    return Resource.create({"service.name": "steerd", "service.version": __version__, **(identity or {})})


class Meters:
    """All instruments of one process.

    `otlp` is a collector's base URL (`http://host:4318`); `run` sends to it every `export_every_s`. Without it, and
    without `prometheus`, measurements cost next to nothing and go nowhere. Telemetry that cannot be delivered is logged
    by the exporter and never stops the daemon.
    """

    def __init__(
        self,
        *,
        prometheus: bool = True,
        otlp: str | None = None,
        identity: Mapping[str, str] | None = None,
        export_every_s: float = 15.0,
        export_timeout_s: float = 3.0,
    ) -> None:
        started_ns = time.time_ns()
        self._export_every_s = export_every_s
        self._timeout_s = export_timeout_s
        self._sources: list[Source] = [lambda: [("steerd.info", {"version": __version__}, 1.0)]]
        self._observations: dict[str, list[Observation]] = {}
        self._tallied: tuple[Metric, ...] = ()
        self._tallies = {spec.name: Tally(spec, started_ns) for spec in METRICS if spec.kind == "tally"}
        self._registry: CollectorRegistry | None = CollectorRegistry(auto_describe=False) if prometheus else None
        self._push: PeriodicExportingMetricReader | None = None
        readers: list[MetricReader] = []
        limits: CardinalityLimits = {ObservableGauge: GAUGE_SERIES_LIMIT, ObservableCounter: GAUGE_SERIES_LIMIT}
        if self._registry is not None:
            readers.append(_PrometheusReader(self._complete, self._registry, limits))
        if otlp:
            exporter = _CompleteExporter(self._complete, _otlp_exporter(otlp, export_timeout_s))
            self._push = PeriodicExportingMetricReader(
                exporter, export_interval_millis=math.inf, cardinality_limits=limits
            )
            readers.append(self._push)
        self._provider = MeterProvider(readers, resource(identity), shutdown_on_exit=False)
        self._meter = self._provider.get_meter("steerd", __version__)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in METRICS:
            self._create(spec)
        self._closed = False

    def _create(self, spec: Spec) -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            return self._observations.get(spec.name, ())

        match spec.kind:
            case "counter":
                self._counters[spec.name] = self._meter.create_counter(spec.name, spec.unit, spec.help)
            case "histogram":
                self._histograms[spec.name] = self._meter.create_histogram(
                    spec.name, spec.unit, spec.help, explicit_bucket_boundaries_advisory=spec.bounds
                )
            case "total":
                self._meter.create_observable_counter(spec.name, [observed], spec.unit, spec.help)
            case "gauge":
                self._meter.create_observable_gauge(spec.name, [observed], spec.unit, spec.help)
            case "tally":
                pass  # made by ourselves, see `_complete`

    def tally(self, name: str) -> Tally:
        """The hot-path histogram called `name`. Raises KeyError."""
        return self._tallies[name]

    def count(self, name: str, labels: Mapping[str, str], amount: int = 1) -> None:
        """Adds to the counter called `name`. Raises KeyError."""
        self._counters[name].add(amount, labels)

    def record(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Puts `value` into the histogram called `name`. Raises KeyError."""
        self._histograms[name].record(value, labels)

    def add_source(self, source: Source) -> None:
        """From now on `source` is asked before each collection. Samples of unknown metrics raise KeyError there."""
        self._sources.append(source)

    def refresh(self) -> None:
        """Asks every source and copies the tallies. Belongs to the event loop's thread."""
        observations: dict[str, list[Observation]] = defaultdict(list)
        for source in self._sources:
            for name, labels, value in source():
                observations[BY_NAME[name].name].append(Observation(value, labels))
        now_ns = time.time_ns()
        self._observations = observations
        self._tallied = tuple(m for tally in self._tallies.values() if (m := tally.metric(now_ns)) is not None)

    def _complete(self, data: MetricsData) -> MetricsData:
        """The SDK's data with the tallied histograms in it."""
        resource_metrics = []
        for per_resource in data.resource_metrics:
            scopes = [
                ScopeMetrics(scope.scope, [*scope.metrics, *self._tallied], scope.schema_url)
                if scope.scope.name == "steerd"
                else scope
                for scope in per_resource.scope_metrics
            ]
            resource_metrics.append(ResourceMetrics(per_resource.resource, scopes, per_resource.schema_url))
        return MetricsData(resource_metrics)

    def prometheus(self) -> tuple[bytes, str]:
        """The exposition text and its content type. Renders on the caller's thread, the event loop's (see `scrape`)."""
        self.refresh()
        return self._render()

    async def scrape(self) -> tuple[bytes, str]:
        """`prometheus`, rendered in a thread: some 20 us a series, too long for the loop on large fleets."""
        self.refresh()
        return await asyncio.to_thread(self._render)

    def _render(self) -> tuple[bytes, str]:
        if self._registry is None:
            return b"", CONTENT_TYPE_LATEST
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    async def run(self) -> None:
        """Sends to the collector every `export_every_s`, until cancelled; returns at once when there is none."""
        while self._push is not None:
            await asyncio.sleep(self._export_every_s)
            await self.push()

    async def push(self) -> None:
        """Sends everything to the collector now (OTLP), within the timeout. A failure is logged by the exporter."""
        if self._push is not None:
            self.refresh()
            await asyncio.to_thread(self._push.collect, self._timeout_s * 1000)

    async def close(self) -> None:
        """Sends what is there and stops; within twice the timeout. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await self.push()
        await asyncio.to_thread(self._provider.shutdown, self._timeout_s * 1000)


def _otlp_exporter(base_url: str, timeout_s: float) -> MetricExporter:
    # Loads requests and protobuf: 0.2 s that only a daemon with a collector should pay.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - see above

    return OTLPMetricExporter(endpoint=f"{base_url.rstrip('/')}/v1/metrics", timeout=timeout_s)


class _PrometheusReader(PrometheusMetricReader):
    """Prometheus' reader, with the tallied histograms."""

    def __init__(
        self,
        complete: Callable[[MetricsData], MetricsData],
        registry: CollectorRegistry,
        limits: CardinalityLimits,
    ) -> None:
        super().__init__(registry=registry, scope_info_enabled=False, cardinality_limits=limits)
        self._with_tallies = complete

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        super()._receive_metrics(self._with_tallies(metrics_data), timeout_millis, **kwargs)


class _CompleteExporter(MetricExporter):
    """An exporter that is given the tallied histograms too."""

    def __init__(self, complete: Callable[[MetricsData], MetricsData], inner: MetricExporter) -> None:
        super().__init__()
        self._with_tallies = complete
        self._inner = inner

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        return self._inner.export(self._with_tallies(metrics_data), timeout_millis or 10_000, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)
