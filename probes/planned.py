"""Probe kinds that are valid config and not written yet.

Their settings are here so that a config that uses them can be checked today; `probes.registry.make` refuses
them by name.
"""

from __future__ import annotations

from probes.catalog import COMMON_HTTP
from probes.kinds import Kind, Setting

__all__ = ["PLANNED"]

_SLOW = Setting("slow", "duration", "an answer that takes longer is SLOW")
_GENERATION = (
    Setting("path", "string", "path under the endpoint's URL"),
    Setting("model", "string", "model id to ask for; $model stands for the service's", "$model"),
    Setting("max_tokens", "int", "tokens to ask for at most", 16),
    Setting("connect", "duration", "limit for the connection, TLS included", 5.0),
    Setting("ttft", "duration", "objective for the time to first token; over it is SLOW"),
    Setting("ttft_limit", "duration", "over this the look fails"),
    Setting("gap", "duration", "limit between two chunks of the stream", 10.0),
    Setting("body", "map", "merged into the request's JSON; null removes a key"),
    Setting("budget", "map", "tokens that looks may spend: {tokens_per_day: 200000}"),
    Setting("prompts", "any", "questions asked in turn: {ask: TEXT, expect: PATTERN or list of PATTERNs}"),
    Setting("max_bytes", "int", "bytes of the answer to read at most"),
    _SLOW,
    *COMMON_HTTP,
)


def _later(name: str, text: str, *settings: Setting) -> Kind:
    return Kind(name, text, settings, built=False)


PLANNED: tuple[Kind, ...] = (
    _later("openai-completions", "One small streamed completion", *_GENERATION),
    _later(
        "openai-embeddings",
        "One small embedding",
        Setting("input", "string", "text to embed"),
        Setting("dimensions", "int", "length that the vector must have"),
        *_GENERATION,
    ),
    _later(
        "kserve-infer",
        "One inference of the open inference protocol",
        Setting("inputs", "any", "tensors to send"),
        Setting("protocol", "string", "http or grpc", "http", choices=("http", "grpc")),
        *_GENERATION,
    ),
    _later(
        "script",
        "Several HTTP steps with captured values and assertions",
        Setting("steps", "any", "the steps in order", required=True),
        Setting("budget", "map", "tokens that looks may spend: {tokens_per_day: 200000}"),
        *COMMON_HTTP,
    ),
    _later(
        "progress",
        "Forward movement read from the engine's own metrics; costs no tokens",
        Setting("path", "string", "path of the metrics", "/metrics"),
        Setting("stall", "duration", "busy without a step for this long is hung", 60.0),
        Setting("sample", "duration", "time between two readings", 10.0),
        Setting("running", "strings", "metrics of requests being served"),
        Setting("waiting", "strings", "metrics of requests waiting"),
        Setting("steps", "strings", "metrics that count steps or tokens"),
        Setting("cache", "strings", "metrics of the cache's use"),
        Setting("queue", "int", "requests waiting that mean saturated"),
        *COMMON_HTTP,
    ),
    _later(
        "exec",
        "A command that prints its outcome as JSON",
        Setting("command", "strings", "program and arguments", required=True),
        Setting("env", "map", "environment of the command"),
    ),
)
"""Later kinds."""
