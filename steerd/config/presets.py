"""Presets of service classes, and how often and how long each layer looks (configuration.md, table of classes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steerd.model.sample import Layer

__all__ = [
    "CLASSES",
    "DEFAULT_CLASS",
    "DEPENDENCY_EVERY_S",
    "Preset",
    "default_interval_s",
    "default_layer",
    "default_timeout_s",
]

DEPENDENCY_EVERY_S = 10.0
PROGRESS_EVERY_S = 10.0
"""probes.md: progress is sampled every 10 s."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What a class sets. `user_path_s` None means no user path unless a check gives its own interval."""

    liveness_s: float
    user_path_s: float | None
    rto_s: float
    restore_after_s: float
    shortfall: Literal["spread", "shed"]


DEFAULT_CLASS = "interactive"
CLASSES: dict[str, Preset] = {
    "interactive": Preset(5.0, 30.0, 60.0, 600.0, "spread"),
    "batch": Preset(15.0, 300.0, 900.0, 1200.0, "shed"),
    "training": Preset(30.0, None, 3600.0, 1800.0, "shed"),
    "internal": Preset(10.0, 120.0, 600.0, 600.0, "spread"),
}

_LAYER_OF_KIND = {
    "openai-chat": Layer.USER_PATH,
    "openai-completions": Layer.USER_PATH,
    "openai-embeddings": Layer.USER_PATH,
    "kserve-infer": Layer.USER_PATH,
    "script": Layer.USER_PATH,
    "progress": Layer.PROGRESS,
    "version": Layer.PROGRESS,
    "redis": Layer.DEPENDENCY,
    "postgres": Layer.DEPENDENCY,
    "rabbitmq": Layer.DEPENDENCY,
    "nats-jetstream": Layer.DEPENDENCY,
    "kafka": Layer.DEPENDENCY,
    "sqs": Layer.DEPENDENCY,
    "qdrant": Layer.DEPENDENCY,
    "milvus": Layer.DEPENDENCY,
    "weaviate": Layer.DEPENDENCY,
    "s3": Layer.DEPENDENCY,
    "dcgm": Layer.DEPENDENCY,
    "prometheus": Layer.DEPENDENCY,
}


def default_layer(check: str, kind: str) -> Layer:
    """The layer of a check that names none: its own name if that is a layer, else what its kind usually tells."""
    if check in {str(layer) for layer in Layer}:
        return Layer(check)
    return _LAYER_OF_KIND.get(kind, Layer.READINESS)


def default_interval_s(layer: Layer, preset: Preset) -> float | None:
    """Seconds between looks; None where the class has none for this layer."""
    match layer:
        case Layer.LIVENESS | Layer.READINESS:
            return preset.liveness_s
        case Layer.PROGRESS:
            return PROGRESS_EVERY_S
        case Layer.DEPENDENCY:
            return DEPENDENCY_EVERY_S
        case Layer.USER_PATH | Layer.CORRECTNESS:
            return preset.user_path_s


def default_timeout_s(layer: Layer, interval_s: float) -> float:
    """Seconds one look may take: 2 for cheap looks, 30 where a model answers, never longer than the interval."""
    match layer:
        case Layer.USER_PATH | Layer.CORRECTNESS:
            return min(interval_s, 30.0)
        case Layer.PROGRESS:
            return min(interval_s, 5.0)
        case _:
            return min(interval_s, 2.0)
