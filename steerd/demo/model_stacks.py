"""The URLs and metric names of each serving stack, for the demo's model server: one engine, many faces.

Only what `probes/stacks/` asks for is here. vLLM's face is the server's own and always there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steerd.demo.model_engine import Engine

__all__ = ["FACES", "Face", "Rows", "exposition"]

Rows = tuple[tuple[str, str, float], ...]
"""(type, name, value) of each metric."""

Json = Callable[[str, bool], Any]
"""(model, fell back to the CPU) -> the document."""


@dataclass(frozen=True, slots=True)
class Face:
    """`live`: paths that answer while the process does. `ready`: paths that do not while the weights load. `documents`: path ->
    JSON. `metrics`: path -> what the engine's counters are called there. `plain`: text of `live`. `label`: the label that names
    the model. `unready`: the status instead of 503 while the weights load.
    """

    live: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    documents: Mapping[str, Json] | None = None
    metrics: Mapping[str, Callable[[Engine], Rows]] | None = None
    plain: str = ""
    label: str = "model_name"
    unready: int = 503


def exposition(rows: Rows, model: str, label: str, stamp_ms: int | None = None) -> str:
    """Prometheus' text format; with `stamp_ms` each sample says when it was taken."""
    labels = f'{{{label}="' + model.replace("\\", "\\\\").replace('"', '\\"') + '"}'
    stamp = "" if stamp_ms is None else f" {stamp_ms}"
    return "".join(f"# TYPE {name} {kind}\n{name}{labels} {value}{stamp}\n" for kind, name, value in rows)


def vllm(engine: Engine) -> Rows:
    return (
        ("gauge", "vllm:num_requests_running", float(engine.running)),
        ("gauge", "vllm:num_requests_waiting", float(engine.waiting)),
        ("gauge", "vllm:kv_cache_usage_perc", engine.usage),
        ("counter", "vllm:prompt_tokens_total", float(engine.prompt_tokens)),
        ("counter", "vllm:generation_tokens_total", float(engine.generation_tokens)),
        ("counter", "vllm:iteration_tokens_total_count", float(engine.steps)),
        ("counter", "vllm:request_success_total", float(engine.finished)),
    )


def _sglang(engine: Engine) -> Rows:
    return (
        ("gauge", "sglang:num_running_reqs", float(engine.running)),
        ("gauge", "sglang:num_queue_reqs", float(engine.waiting)),
        ("gauge", "sglang:token_usage", engine.usage),
        ("counter", "sglang:generation_tokens_total", float(engine.generation_tokens)),
        ("counter", "sglang:num_requests_total", float(engine.finished)),
    )


def _trtllm(engine: Engine) -> Rows:
    return (
        ("gauge", "trtllm_num_requests_running", float(engine.running)),
        ("gauge", "trtllm_num_requests_waiting", float(engine.waiting)),
        ("gauge", "trtllm_kv_cache_utilization", engine.usage),
        ("counter", "trtllm_generation_tokens_total", float(engine.generation_tokens)),
        ("counter", "trtllm_request_success_total", float(engine.finished)),
    )


def _triton(engine: Engine) -> Rows:
    return (
        ("gauge", "nv_inference_pending_request_count", float(engine.running + engine.waiting)),
        ("counter", "nv_inference_exec_count", float(engine.steps)),
        ("counter", "nv_inference_count", float(engine.finished)),
        ("counter", "nv_inference_queue_duration_us", float(engine.steps)),
        ("counter", "nv_inference_request_success", float(engine.finished)),
        ("counter", "nv_inference_request_failure", 0.0),
        ("gauge", "nv_gpu_utilization", engine.usage),
    )


def _tgi(engine: Engine) -> Rows:
    return (
        ("gauge", "tgi_batch_current_size", float(engine.running)),
        ("gauge", "tgi_queue_size", float(engine.waiting)),
        ("counter", "tgi_batch_inference_count", float(engine.steps)),
        ("counter", "tgi_request_success", float(engine.finished)),
        ("counter", "tgi_request_failure", 0.0),
    )


def _nim(engine: Engine) -> Rows:
    return (
        ("gauge", "num_requests_running", float(engine.running)),
        ("gauge", "num_requests_waiting", float(engine.waiting)),
        ("gauge", "gpu_cache_usage_perc", engine.usage),
        ("counter", "generation_tokens_total", float(engine.generation_tokens)),
        ("counter", "request_success_total", float(engine.finished)),
    )


def _dynamo(engine: Engine) -> Rows:
    return (
        ("gauge", "dynamo_frontend_inflight_requests", float(engine.running)),
        ("gauge", "dynamo_frontend_queued_requests", float(engine.waiting)),
        ("counter", "dynamo_frontend_output_tokens_total", float(engine.generation_tokens)),
        ("counter", "dynamo_frontend_requests_total", float(engine.finished)),
    )


def _ray(engine: Engine) -> Rows:
    return (
        ("gauge", "ray_serve_deployment_queued_queries", float(engine.running + engine.waiting)),
        ("counter", "ray_serve_deployment_request_counter_total", float(engine.finished)),
        ("counter", "ray_serve_num_http_requests_total", float(engine.steps)),
    )


def _llamacpp(engine: Engine) -> Rows:
    return (
        ("gauge", "llamacpp:requests_processing", float(engine.running)),
        ("gauge", "llamacpp:requests_deferred", float(engine.waiting)),
        ("gauge", "llamacpp:kv_cache_usage_ratio", engine.usage),
        ("counter", "llamacpp:n_decode_total", float(engine.steps)),
        ("counter", "llamacpp:tokens_predicted_total", float(engine.generation_tokens)),
    )


def _tags(model: str, _: bool) -> Any:  # noqa: FBT001 - the second of `Json`
    return {"models": [{"name": model, "model": model}]}


def _loaded(model: str, on_cpu: bool) -> Any:  # noqa: FBT001 - the second of `Json`
    size = 4_000_000_000
    return {"models": [{"name": model, "model": model, "size": size, "size_vram": size // 4 if on_cpu else size}]}


_OIP = ("/v2/health/live",)
FACES: dict[str, Face] = {
    "vllm": Face(ready=("/health",), metrics={"/metrics": vllm}),
    "sglang": Face(ready=("/health", "/health_generate"), metrics={"/metrics": _sglang}),
    "trtllm": Face(ready=("/health", "/health_generate"), metrics={"/prometheus/metrics": _trtllm}),
    "triton": Face(live=_OIP, ready=("/v2/health/ready",), metrics={"/metrics": _triton}, label="model", unready=400),
    "kserve": Face(live=_OIP, ready=("/v2/health/ready",), unready=400),
    "tgi": Face(
        ready=("/health",), documents={"/info": lambda model, _: {"model_id": model}}, metrics={"/metrics": _tgi}
    ),
    "nim": Face(live=("/v1/health/live",), ready=("/v1/health/ready",), metrics={"/v1/metrics": _nim}),
    "dynamo": Face(
        live=("/live",),
        documents={"/health": lambda _model, _cpu: {"status": "healthy"}},
        metrics={"/metrics": _dynamo},
        label="model",
    ),
    "ray-serve": Face(
        live=("/-/healthz",),
        plain="success",
        documents={"/-/routes": lambda model, _: {"/": model}},
        metrics={"/metrics": _ray},
        label="deployment",
    ),
    "ollama": Face(live=("/",), plain="Ollama is running", documents={"/api/tags": _tags, "/api/ps": _loaded}),
    "llamacpp": Face(ready=("/health",), metrics={"/metrics": _llamacpp}),
    "litellm": Face(
        live=("/health/liveliness",), documents={"/health/readiness": lambda _model, _cpu: {"status": "connected"}}
    ),
    "openai": Face(),
    "http": Face(live=("/",)),
}
"""Stack -> its face."""
