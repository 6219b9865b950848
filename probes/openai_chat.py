"""`openai-chat`: one small streamed chat completion, as a user would ask for it. See `probes.generation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.generation import GenerationProbe
from probes.outcome import Layer
from probes.settings import Resolve

__all__ = ["build"]


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> GenerationProbe:
    """See `probes.registry.make`."""
    return GenerationProbe(layer, settings, resolve, plain=False, default_path="/v1/chat/completions")
