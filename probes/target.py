"""What a probe looks at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint. `url` is its base URL. `address` (an IP) is where to connect instead of what the URL's host
    resolves to; the TLS server name and the Host header stay those of the URL. `model` is the model id it should serve.
    """

    name: str
    url: str
    address: str | None = None
    model: str | None = None
