"""`openai-chat`: one small streamed chat completion, as a user would ask for it (probes.md, "User path").

Four limits, each with its own meaning: `connect`, `gap` and the look's deadline FAIL as timeouts; a time to first token over
`ttft` is SLOW, over `ttft_limit` FAIL. Every look uses a new connection: it is what a user's first request meets, and a POST
must not meet a connection that the server is just closing.

Readings: `ttft_s`, `tokens` (completion tokens), `inter_token_s` (mean time between tokens after the first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.answer import prompts_of
from probes.chat_look import ChatLook, ChatSettings
from probes.chat_stream import GrammarError
from probes.clock import StageClock
from probes.errors import SettingError
from probes.faults import Fault, fault_of
from probes.guard import scrubbed
from probes.http_client import HttpClient
from probes.http_probe import VersionLabel
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, headers_of, number, text, tls_of
from probes.target import Target
from probes.turns import Turns

__all__ = ["OpenAiChatProbe", "build"]

_TTFT_FACTOR = 10.0
_TTFT_MOST_S = 30.0


class OpenAiChatProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.layer = layer
        self._settings = _settings(layer, settings, resolve)
        self._turns = Turns(1)
        self._client = HttpClient(tls_of(settings))

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Ask one question. See `probes.probe.Probe`."""
        clock = StageClock()
        turn, _ = self._turns.next(target.name)
        prompts = self._settings.prompts
        look = ChatLook(self._settings, self._client, target, deadline, clock, prompts[turn % len(prompts)])
        return scrubbed(await self._run(look, clock), look.hidden)

    async def _run(self, look: ChatLook, clock: StageClock) -> Outcome:
        try:
            async with look.limit:
                return await look.run()
        except Exception as error:
            if isinstance(error, TimeoutError) and look.limit.expired():
                return look.timed_out()
            if isinstance(error, GrammarError):
                return look.ended(error.status, error.reason, error.detail)
            fault = fault_of(error, clock.phase, answered=clock.answered)
            if fault is None:
                raise
            return look.of(_in_stream(fault, clock))

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()


def _settings(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> ChatSettings:
    key = settings.get("api_key")
    extra = settings.get("body") or {}
    if not isinstance(extra, Mapping):
        raise SettingError("body: write a map that is merged into the request's JSON")
    ttft_s = number(settings, "ttft")
    limit_s = _TTFT_MOST_S if ttft_s is None else min(_TTFT_MOST_S, _TTFT_FACTOR * ttft_s)
    return ChatSettings(
        layer=layer,
        resolve=resolve,
        url=text(settings, "url"),
        path=text(settings, "path", "/v1/chat/completions") or "",
        model=text(settings, "model", "$model") or "$model",
        prompts=prompts_of(settings.get("prompts")),
        max_tokens=int(number(settings, "max_tokens", 16) or 16),
        connect_s=number(settings, "connect", 5.0) or 5.0,
        ttft_s=ttft_s,
        ttft_limit_s=number(settings, "ttft_limit", limit_s) or limit_s,
        gap_s=number(settings, "gap", 10.0) or 10.0,
        max_bytes=int(number(settings, "max_bytes", 262144) or 262144),
        body=dict(extra),
        headers=headers_of(settings),
        api_key=None if key is None else Text(key),
        version=VersionLabel.of(settings),
    )


def _in_stream(fault: Fault, clock: StageClock) -> Fault:
    """What breaks after the head of the answer is the stream's: say so."""
    if clock.answered and fault.status is Status.FAIL:
        return Fault(Status.FAIL, "stream broken off", transport=False, detail=f"{fault.reason}: {fault.detail or ''}")
    return fault


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> OpenAiChatProbe:
    """See `probes.registry.make`."""
    return OpenAiChatProbe(layer, settings, resolve)
