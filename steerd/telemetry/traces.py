"""One trace per incident: a root span from the first bad look to `in_sync`, in it detect, agree, plan, apply, verify.

Spans are made when an incident has ended, with the times it had: nothing on the path of a decision waits for a tracer.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode, Tracer, set_span_in_context

from steerd import __version__
from steerd.telemetry.incidents import Incident

__all__ = ["Traces"]


class Traces:
    """Where incidents become traces. `otlp` is a collector's base URL; `processor` replaces the export (tests)."""

    def __init__(
        self,
        *,
        otlp: str | None = None,
        identity: Mapping[str, str] | None = None,
        export_timeout_s: float = 3.0,
        processor: SpanProcessor | None = None,
    ) -> None:
        # Loaded here: a process without a collector has no use for the exporter (0.2 s to import).
        from steerd.telemetry.meters import resource  # noqa: PLC0415 - see above

        self._provider = TracerProvider(resource=resource(identity), shutdown_on_exit=False)
        self._timeout_s = export_timeout_s
        if processor is None and otlp:
            processor = _otlp_processor(otlp, export_timeout_s)
        if processor is not None:
            self._provider.add_span_processor(processor)
        self._tracer: Tracer = self._provider.get_tracer("steerd", __version__)

    def tell(self, incident: Incident) -> None:
        """Makes the trace of an incident that has ended. Does not block: spans are queued (2048 at most), sent
        elsewhere."""
        last = incident.authoritative or incident.accepted or incident.decided or incident.detected
        root = self._tracer.start_span(
            f"incident {incident.service}",
            start_time=_ns(incident.started),
            attributes={
                "steerd.service": incident.service,
                "steerd.endpoints": list(incident.endpoints),
                "steerd.decisions": incident.decisions,
                "steerd.routes": sorted(incident.writes),
                "steerd.end": incident.ended,
            },
        )
        context = set_span_in_context(root)
        begin = incident.started
        for name, end in (
            ("detect", incident.started),  # a bad look is told when it ends, so there is nothing before it to show
            ("agree", incident.detected),
            ("plan", incident.decided),
            ("apply", incident.accepted),
            ("verify", incident.authoritative),
        ):
            if end is None:
                break
            span = self._tracer.start_span(name, context, start_time=_ns(begin))
            span.end(_ns(max(begin, end)))
            begin = max(begin, end)
        if incident.ended != "in-sync":
            root.set_status(Status(StatusCode.ERROR, f"not resolved: {incident.ended}"))
        root.end(_ns(max(begin, last)))

    def close(self) -> None:
        """Sends what is queued and stops, within the timeout. Blocks: call it in a thread. Safe to call twice."""
        self._provider.force_flush(int(self._timeout_s * 1000))
        self._provider.shutdown()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _otlp_processor(base_url: str, timeout_s: float) -> SpanProcessor:
    # Loads requests and protobuf: only a daemon with a collector should pay for that.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above

    exporter = OTLPSpanExporter(endpoint=f"{base_url.rstrip('/')}/v1/traces", timeout=timeout_s)
    return BatchSpanProcessor(exporter, schedule_delay_millis=1000, export_timeout_millis=timeout_s * 1000)
