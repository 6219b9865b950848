"""The shape of the `look` fixture of the probes' tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from probes.outcome import Outcome

__all__ = ["Look"]


class Look(Protocol):
    """Looks once; a probe of the same kind and settings is used again within a test."""

    async def __call__(
        self,
        kind: str,
        url: str,
        settings: Mapping[str, Any] | None = None,
        *,
        layer: str = "liveness",
        within_s: float = 2.0,
        fresh: bool = False,
        address: str | None = None,
        model: str | None = None,
        resolve: Callable[[Any], str] | None = None,
    ) -> Outcome: ...
