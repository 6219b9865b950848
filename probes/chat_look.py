"""One question of a look that generates: request, stream, limits, and what it adds up to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from probes.answer import wrong
from probes.baseline import Baseline
from probes.chat_stream import ChatStream, GrammarError
from probes.clock import Phase, StageClock
from probes.faults import Fault, timeout_fault
from probes.guard import outcome_of, result
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join, read_bounded
from probes.http_probe import VersionLabel
from probes.http_status import no_model, shown, status_fault
from probes.json_call import tokens_in
from probes.outcome import Layer, Outcome, Status
from probes.questions import Question
from probes.settings import Resolve, Text, substitute
from probes.sse import EventStream, TooLongError
from probes.target import Target

__all__ = ["ChatLook", "ChatSettings"]

_ERROR_BODY = 16384
_RATE_TOKENS = 3
"""Tokens below which their rate says nothing."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The check's settings, read. Limits in seconds; `body` is merged into the request, None removing a key. `plain` asks for a
    completion of text rather than of a chat. `token_rate` is in tokens per second.
    """

    layer: Layer
    plain: bool
    resolve: Resolve
    url: str | None
    path: str
    model: str
    max_tokens: int
    connect_s: float
    ttft_s: float | None
    ttft_limit_s: float | None
    gap_s: float
    token_rate: float | None
    max_bytes: int
    body: Mapping[str, Any]
    headers: Mapping[str, Text]
    api_key: Text | None
    version: VersionLabel


class ChatLook:
    """One look: the stage it is in decides which limit runs."""

    def __init__(
        self,
        settings: ChatSettings,
        client: HttpClient,
        target: Target,
        deadline: float,
        clock: StageClock,
        question: Question,
        baseline: Baseline,
    ) -> None:
        self._settings = settings
        self._client = client
        self._target = target
        self._deadline = deadline
        self._clock = clock
        self._question = question
        self._baseline = baseline
        self._ttft_limit_s = settings.ttft_limit_s or baseline.ttft_limit_s(None if question.long else settings.ttft_s)
        self._said = ChatStream(plain=settings.plain)
        self._version: str | None = None
        self._prompt_tokens = 0
        self._max_tokens = settings.max_tokens
        self._refusal = False
        self.hidden: list[str] = []
        self._last_at = 0.0
        self._first_at = 0.0
        self._stage = "connect"
        # Limits are in the loop's time, measurements in the clock's.
        self._now = asyncio.get_running_loop().time
        # The first limit covers the connection alone and is moved when the connection stands.
        self.limit = asyncio.timeout_at(min(deadline, self._now() + settings.connect_s))
        clock.on_connected = self._connected

    async def run(self) -> Outcome:
        request = self._request()
        async with self._client.send(request, self._target, self._clock, fresh=True) as response:
            self._version = self._settings.version.read(response, b"")
            if response.status != 200:
                return await self._refused(response)
            if "event-stream" not in response.headers.get("Content-Type", ""):
                return await self._not_a_stream(response)
            await self._read(response)
        return self._judge()

    def of(self, fault: Fault) -> Outcome:
        """The outcome of a fault, with what was measured and spent before it."""
        readings, tokens = self._readings()
        outcome = outcome_of(fault, self._settings.layer, self._clock, version=self._version)
        return replace(outcome, readings=readings, tokens=tokens)

    def ended(self, status: Status, reason: str | None, detail: str | None, *, layer: Layer | None = None) -> Outcome:
        """An outcome with what was measured so far."""
        readings, tokens = self._readings()
        layer = layer or self._settings.layer
        version = self._version
        clock = self._clock
        return result(status, layer, clock, reason, detail=detail, version=version, readings=readings, tokens=tokens)

    def timed_out(self) -> Outcome:
        """Which limit ran out, and what that means."""
        clock = self._clock
        if clock.phase in (Phase.START, Phase.DNS, Phase.CONNECT, Phase.TLS):
            return self.of(timeout_fault(clock.phase, clock.elapsed_s))
        if self._stage == "ttft":
            reason, limit_s = "no first token in time", self._ttft_limit_s
        else:
            reason, limit_s = "stream stopped before its end", self._settings.gap_s
        if self._now() >= self._deadline:
            limit_s = clock.elapsed_s
        detail = f"waited {limit_s:.3g} s after {self._said.chunks} chunks"
        return self.of(Fault(Status.FAIL, reason, transport=True, detail=detail, unanswered=True))

    def _request(self) -> Request:
        settings = self._settings
        asked = self._question.text
        body: dict[str, Any] = {
            "model": substitute(settings.model, self._target),
            **({"prompt": asked} if settings.plain else {"messages": [{"role": "user", "content": asked}]}),
            "max_tokens": settings.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **settings.body,
        }
        sent = {name: value for name, value in body.items() if value is not None}
        self._prompt_tokens = tokens_in(asked.encode())
        most = sent.get("max_tokens", sent.get("max_completion_tokens"))
        self._max_tokens = most if isinstance(most, int) else settings.max_tokens
        headers = request_headers(settings.layer, settings.headers, settings.api_key, settings.resolve, self.hidden)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **headers}
        return Request(
            "POST", join(settings.url or self._target.url, settings.path), headers, json.dumps(sent).encode()
        )

    def _connected(self) -> None:
        self._stage = "ttft"
        self._move(self._ttft_limit_s)

    def _move(self, seconds: float) -> None:
        self.limit.reschedule(min(self._deadline, self._now() + seconds))

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        """Read the stream to its end. Raises `GrammarError`, aiohttp's errors, and whatever limit runs out."""
        events = EventStream(max_bytes=self._settings.max_bytes)
        try:
            async for piece in response.content.iter_any():
                if self._stage == "gap":
                    self._move(self._settings.gap_s)
                for event in events.feed(piece):
                    self._take(self._said.take(event))
                if self._said.done:
                    return
            for event in events.end():
                self._take(self._said.take(event))
        except TooLongError as error:
            raise GrammarError("stream too long", str(error)) from error
        self._said.end()

    def _take(self, said: bool) -> None:  # noqa: FBT001 - the answer of the line above it
        if not said:
            return
        self._last_at = self._clock.now()
        if self._said.chunks == 1:
            self._first_at = self._last_at
            self._clock.first_token()
            self._stage = "gap"
            self._move(self._settings.gap_s)

    def _judge(self) -> Outcome:
        fault = wrong(self._question.prompt, self._said)
        if fault is not None:
            return self.ended(Status.FAIL, fault[0], fault[1], layer=Layer.CORRECTNESS)
        found, _ = self._readings()
        slow = self._slow(found)
        if slow is not None:
            return self.ended(Status.SLOW, *slow)
        # Only what is well counts for what is usual here: an endpoint must not get used to being slow.
        self._baseline.well(None if self._question.long else found.get("ttft_s"), found.get("inter_token_s"))
        return self.ended(Status.PASS, None, None)

    def _slow(self, found: Mapping[str, float]) -> tuple[str, str] | None:
        """Reason and detail of what took longer than it should."""
        ttft_s, objective_s = found.get("ttft_s"), self._settings.ttft_s
        if objective_s is not None and ttft_s is not None and ttft_s > objective_s and not self._question.long:
            return "time to first token over its objective", f"{ttft_s:.3f} s, the objective is {objective_s:g} s"
        usual_s = self._baseline.ttft_slow_s if objective_s is None and not self._question.long else None
        if usual_s is not None and ttft_s is not None and ttft_s > usual_s:
            return "time to first token far over what is usual here", f"{ttft_s:.3f} s, over {usual_s:.3f} s"
        between_s, wanted = found.get("inter_token_s"), self._settings.token_rate
        if between_s is None or found.get("tokens", 0.0) < _RATE_TOKENS:
            return None
        if wanted is not None and between_s * wanted > 1.0:
            return (
                "tokens come slower than their objective",
                f"{1 / between_s:.1f} tokens/s, the objective is {wanted:g}",
            )
        usual_s = self._baseline.inter_token_limit_s
        if usual_s is not None and between_s > usual_s:
            return "tokens come far slower than usual here", f"{between_s:.3f} s each, {usual_s:.3f} s is the limit"
        return None

    def _readings(self) -> tuple[dict[str, float], int]:
        said, found = self._said, {}
        ttft_s = self._clock.ttft_s
        if ttft_s is not None:
            found["ttft_s"] = ttft_s
        completion = said.completion_tokens if said.completion_tokens is not None else said.chunks
        if completion:
            found["tokens"] = float(completion)
        if completion > 1 and self._last_at > self._first_at:
            found["inter_token_s"] = (self._last_at - self._first_at) / (completion - 1)
        return found, self._spent()

    def _spent(self) -> int:
        """Tokens that the question cost. Where the server does not count them, four bytes are one, of what was sent and what came;
        behind a stream that broke off it may have gone on to the last that it was asked for.
        """
        said = self._said
        if self._refusal or not self._clock.asked:
            return 0
        whole = said.finish_reason is not None
        if whole and said.total_tokens is not None:
            return said.total_tokens
        came = max(said.chunks, tokens_in((said.text + said.reasoning).encode()), said.completion_tokens or 0)
        guessed = self._prompt_tokens + (came if whole else max(came, self._max_tokens))
        return max(guessed, said.total_tokens or 0)

    async def _refused(self, response: aiohttp.ClientResponse) -> Outcome:
        self._refusal = True
        body, _ = await read_bounded(response, _ERROR_BODY)
        words = shown(body)
        missing = no_model(response.status, words)
        if missing is not None:
            return self.ended(Status.FAIL, missing, words, layer=Layer.READINESS)
        return self.of(status_fault(response.status, body, reads_queue=True))

    async def _not_a_stream(self, response: aiohttp.ClientResponse) -> Outcome:
        body, _ = await read_bounded(response, _ERROR_BODY)
        kind = response.headers.get("Content-Type", "nothing")
        return self.ended(Status.FAIL, "answer is no event stream", f"Content-Type {kind}: {shown(body)}")
