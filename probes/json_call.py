"""One POST of JSON that is answered with JSON: for user paths that are not streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from probes.clock import StageClock
from probes.faults import fault_of, timeout_fault
from probes.guard import outcome_of, result
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join, read_bounded
from probes.http_probe import VersionLabel
from probes.http_status import no_model, shown, status_fault
from probes.json_path import BadJsonError, parse, values_at
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, headers_of, json_bytes, number, text, tls_of
from probes.target import Target

__all__ = ["Answer", "CallError", "JsonCaller", "limited", "tokens_in", "tokens_of"]


_BYTES = 4
"""Bytes of a token, about: of English in the vocabularies of the day."""


class CallError(Exception):
    """The call did not bring what it should; `outcome` says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its document, the version label, and the tokens that its `usage` counts."""

    document: Any
    version: str | None
    tokens: int


class JsonCaller:
    """The settings and connections that such checks have in common."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve, *, max_bytes: int) -> None:
        key = settings.get("api_key")
        self.layer = layer
        self.url = text(settings, "url")
        self.connect_s = number(settings, "connect", 5.0) or 5.0
        self.max_bytes = json_bytes(settings, max_bytes)
        self._resolve = resolve
        self._headers = headers_of(settings)
        self._api_key = None if key is None else Text(key)
        self._version = VersionLabel.of(settings)
        self._client = HttpClient(tls_of(settings))

    async def post(
        self, target: Target, clock: StageClock, path: str, body: Mapping[str, Any], hidden: list[str]
    ) -> Answer:
        """Ask. Raises `CallError`, aiohttp's errors, and `MisconfiguredError`; deadlines are the caller's."""
        sent = {name: value for name, value in body.items() if value is not None}
        headers = request_headers(self.layer, self._headers, self._api_key, self._resolve, hidden)
        headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        request = Request("POST", join(self.url or target.url, path), headers, json.dumps(sent).encode())
        async with self._client.send(request, target, clock, fresh=True) as response:
            raw, whole = await read_bounded(response, self.max_bytes)
            version = self._version.read(response, raw)
            if response.status != 200:
                raise CallError(self._refused(clock, response.status, raw, version))
            coding = response.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":
            raise self.failed(clock, "answer is compressed although it must not be", f"Content-Encoding: {coding}")
        if not whole:
            raise self.failed(clock, "answer too long", f"over {self.max_bytes} bytes")
        try:
            document = parse(raw)
        except BadJsonError as error:
            raise self.failed(clock, "answer is not JSON", f"{error} in: {shown(raw)}") from error
        return Answer(document, version, tokens_of(document))

    def failed(self, clock: StageClock, reason: str, detail: str | None, *, layer: Layer | None = None) -> CallError:
        """The error of an answer that is not what it should be."""
        return CallError(result(Status.FAIL, layer or self.layer, clock, reason, detail=detail))

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()

    def _refused(self, clock: StageClock, status: int, body: bytes, version: str | None) -> Outcome:
        words = shown(body)
        missing = no_model(status, words)
        if missing is not None:
            return result(Status.FAIL, Layer.READINESS, clock, missing, detail=words, version=version)
        fault = status_fault(status, body, reads_queue=True)
        return outcome_of(fault, self.layer, clock, version=version)


async def limited(
    layer: Layer, deadline: float, connect_s: float, clock: StageClock, work: Awaitable[Outcome]
) -> Outcome:
    """`work`'s outcome, or that of its failure, with a limit of its own for the connection. Bugs are raised on."""
    now = asyncio.get_running_loop().time
    limit = asyncio.timeout_at(min(deadline, now() + connect_s))
    clock.on_connected = lambda: limit.reschedule(deadline)
    try:
        async with limit:
            return await work
    except CallError as error:
        return error.outcome
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            return outcome_of(timeout_fault(clock.phase, clock.elapsed_s), layer, clock)
        fault = fault_of(error, clock.phase, answered=clock.answered)
        if fault is None:
            raise
        return outcome_of(fault, layer, clock)


def tokens_in(text: bytes) -> int:
    """How many tokens a text is thought to be, where nobody counts them."""
    return -(-len(text) // _BYTES)


def tokens_of(document: Any) -> int:
    """What an answer's `usage` says was spent; 0 without one."""
    for path in ("usage.total_tokens", "usage.prompt_tokens"):
        for value in values_at(document, path):
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
                return value
    return 0
