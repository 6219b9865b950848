"""The kinds that go deeper than a connection: user paths, progress, and programs of others. Data only."""

from __future__ import annotations

from probes.catalog import COMMON_HTTP
from probes.kinds import Kind, Setting

__all__ = ["LONG_EVERY", "LONG_WORDS", "PATHS"]

LONG_EVERY = 120
"""Looks of one agent at one endpoint to a long question, where none is set: half as many tokens again as without."""

LONG_WORDS = 2000

_BUDGET = Setting(
    "budget", "map", "tokens that looks may spend at one endpoint: {tokens_per_day: 200000, stand_in: 20}"
)
_CONNECT = Setting("connect", "duration", "limit for the connection, TLS included", 5.0)
_MODEL = Setting("model", "string", "model id to ask for; $model stands for the service's", "$model")
_BODY = Setting("body", "map", "merged into the request's JSON; null removes a key")
_SLOW = Setting("slow", "duration", "an answer that takes longer is SLOW")


def _path(default: str) -> Setting:
    return Setting("path", "string", "path under the endpoint's URL", default)


def _generation(name: str, text: str, path: str) -> Kind:
    return Kind(
        name,
        text,
        (
            _path(path),
            _MODEL,
            Setting("prompts", "any", "questions asked in turn: {ask: TEXT, expect: PATTERN or list of PATTERNs}"),
            Setting("prefix", "string", "how prompts begin", "both", choices=("both", "fixed", "nonce")),
            # No default here: a probe is to know whether it was told to.
            Setting(
                "long_every",
                "int",
                f"every n-th look, and a confirm, asks with a long context too; {LONG_EVERY} without it, 0 for never",
            ),
            Setting("long_words", "int", "words of that context", LONG_WORDS),
            Setting("max_tokens", "int", "tokens to ask for at most; 1 breaks reasoning models", 16),
            _CONNECT,
            Setting("ttft", "duration", "objective for the time to first token; over it is SLOW"),
            Setting(
                "ttft_limit",
                "duration",
                "over this the look fails; by default 10 x the objective or 20 x what is usual here, at most 30s",
            ),
            Setting("gap", "duration", "limit between two chunks of the stream", 10.0),
            Setting("token_rate", "float", "objective for the tokens per second; under it is SLOW"),
            _BODY,
            _BUDGET,
            Setting("max_bytes", "int", "bytes of the stream to read at most", 262144),
            *COMMON_HTTP,
        ),
    )


PATHS: tuple[Kind, ...] = (
    _generation(
        "openai-chat",
        "Small streamed chat completions: stream grammar, time to first token, and the answer itself",
        "/v1/chat/completions",
    ),
    _generation("openai-completions", "The same for completions of plain text", "/v1/completions"),
    Kind(
        "openai-embeddings",
        "Two small embeddings: vectors that are numbers, of the right length, and not the same",
        (
            _path("/v1/embeddings"),
            _MODEL,
            Setting("input", "string", "text to embed, once as it is and once behind a nonce"),
            Setting("dimensions", "int", "length that the vectors must have"),
            _CONNECT,
            _SLOW,
            _BODY,
            _BUDGET,
            Setting("max_bytes", "int", "bytes of the answer to read at most", 1_048_576),
            *COMMON_HTTP,
        ),
    ),
    Kind(
        "kserve-infer",
        "One inference of the open inference protocol, over HTTP",
        (
            _path("/v2/models/$model/infer"),
            _MODEL,
            Setting("inputs", "any", "tensors to send: a list of {name, shape, datatype, data}", required=True),
            Setting("json", "any", "conditions on the answer: {path: outputs.0.data.0, equals: 4}, or a list of those"),
            _CONNECT,
            _SLOW,
            _BODY,
            Setting("max_bytes", "int", "bytes of the answer to read at most", 1_048_576),
            *COMMON_HTTP,
        ),
    ),
    Kind(
        "script",
        "Several HTTP steps with captured values and assertions",
        (
            Setting("steps", "any", "the steps in order: a list of {path, send, expect, capture, ...}", required=True),
            _CONNECT,
            _BUDGET,
            Setting("max_bytes", "int", "bytes of each answer to read at most", 262144),
            *COMMON_HTTP,
        ),
    ),
    Kind(
        "progress",
        "Forward movement read from the engine's own metrics; costs no tokens",
        (
            Setting("path", "string", "path of the metrics; $model stands for the model's id", "/metrics"),
            Setting("port", "int", "port of the metrics on the endpoint's host, where they have one of their own"),
            Setting("stall", "duration", "busy without a step for this long is hung", 60.0),
            Setting("sample", "duration", "time between two readings, as the check's interval says", 10.0),
            Setting("running", "strings", "metrics of requests being served; of several names the first that is there"),
            Setting("waiting", "strings", "metrics of requests waiting"),
            Setting("steps", "strings", "metrics that count steps or tokens; any of them moving is movement"),
            Setting("cache", "strings", "metrics of the cache's use"),
            Setting("utilization", "strings", "metrics of the GPUs' use, 0..1; their mean is told"),
            Setting("finished", "strings", "metrics that count finished requests"),
            Setting("failed", "strings", "metrics that count requests that failed"),
            Setting("ttft_metric", "strings", "histograms of the time to first token"),
            Setting("inter_token_metric", "strings", "histograms of the time between tokens"),
            Setting("queue", "int", "requests waiting that mean saturated"),
            Setting("max_bytes", "int", "bytes of the metrics to read at most", 4_194_304),
            *COMMON_HTTP,
        ),
    ),
    Kind(
        "version",
        "Reads the version label of an endpoint; never blames it",
        (
            Setting("path", "string", "path under the endpoint's URL", "/version"),
            Setting("json", "string", "JSON path of the label in the answer"),
            Setting("metric", "string", "the metric that carries the label, where the answer is metrics text"),
            Setting("label", "string", "the metric's label", "version"),
            Setting("max_bytes", "int", "bytes of the answer to read at most", 4_194_304),
            *(setting for setting in COMMON_HTTP if setting.name != "version"),
        ),
    ),
    Kind(
        "exec",
        "A command that prints its outcome as JSON; see probes/README.md",
        (
            Setting("command", "strings", "program and arguments; $model stands for the model's id", required=True),
            Setting("env", "map", "environment of the command; a value may be {env: NAME} or {file: PATH}"),
            _BUDGET,
        ),
    ),
)
"""Kinds that `probes.registry.make` can make."""
