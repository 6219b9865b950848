"""`qdrant`, `milvus`, `weaviate`: the readiness URL of a vector store. The same look as `http`, with their paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.http_probe import HttpProbe
from probes.outcome import Layer
from probes.settings import Resolve

__all__ = ["build"]


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> HttpProbe:
    """See `probes.registry.make`. Each kind's path is the default of its `path` setting."""
    return HttpProbe(layer, settings, resolve)
