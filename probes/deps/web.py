"""Dependencies that are asked over HTTP: one bounded request at a time, and JSON out of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from probes.clock import StageClock
from probes.errors import MisconfiguredError
from probes.http_client import HttpClient, Request, read_bounded
from probes.json_path import BadJsonError, parse
from probes.target import Target
from probes.tls_context import TlsSettings

__all__ = ["Answer", "Web", "based", "origin"]

MAX_BYTES = 1 << 20
"""Bytes of an answer that are read: a list of a thousand objects or a page of metrics fits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, head and body. `whole` is False when the body went on beyond the bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The document. Raises `BadJsonError`, also for one that was cut."""
        if not self.whole:
            raise BadJsonError(f"over {len(self.body)} bytes")
        return parse(self.body)


class Web:
    """Asks; every request on a connection of its own."""

    def __init__(self, tls: TlsSettings, max_bytes: int = MAX_BYTES) -> None:
        self._client = HttpClient(tls)
        self._max_bytes = max_bytes

    async def ask(self, request: Request, target: Target, clock: StageClock) -> Answer:
        """The answer. Raises what `HttpClient.send` does."""
        async with self._client.send(request, target, clock, fresh=True) as response:
            body, whole = await read_bounded(response, self._max_bytes)
            return Answer(response.status, response.headers, body, whole)

    async def close(self) -> None:
        """Safe to call twice."""
        await self._client.close()


def based(url: str) -> URL:
    """`url`, without the slash at its end. Raises `MisconfiguredError` when it is not an http or https URL."""
    try:
        found = URL(url.rstrip("/"))
    except ValueError as error:
        raise MisconfiguredError(f"{url!r} is not a URL: {error}") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise MisconfiguredError(f"{url!r} is not an http:// or https:// URL")
    return found


def origin(host: str, port: int, *, secure: bool) -> str:
    """The base URL of a server."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"
