"""A collector: takes OTLP over HTTP, decodes the protobuf and keeps what it got."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "attributes"]


@dataclass(slots=True)
class Collector:
    """Use as an async context manager; `url` is its base URL. `status` other than 200 refuses what comes."""

    status: int = 200
    metrics: dict[str, Metric] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Collector:
        app = web.Application()
        app.add_routes([web.post("/v1/metrics", self._metrics), web.post("/v1/traces", self._traces)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        self.requests += 1
        for part in ExportMetricsServiceRequest.FromString(await request.read()).resource_metrics:
            self.resource = attributes(part.resource.attributes)
            for scope in part.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}
        return web.Response(status=self.status)

    async def _traces(self, request: web.Request) -> web.Response:
        self.requests += 1
        for part in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            for scope in part.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response(status=self.status)


def attributes(pairs: object) -> dict[str, str]:
    """Text attributes by key; others by their text."""
    found: dict[str, str] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # protobuf's repeated fields have no useful static type
        assert isinstance(pair, KeyValue)
        found[pair.key] = pair.value.string_value or str(pair.value).strip()
    return found
