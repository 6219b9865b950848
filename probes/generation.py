"""Looks that generate text: `openai-chat` and `openai-completions` (probes.md, "User path").

Four limits, each with its own meaning: `connect`, `gap` and the look's deadline FAIL as timeouts; a time to first token over
`ttft` is SLOW, over `ttft_limit` FAIL. Every look uses a new connection: it is what a user's first request meets, and a POST
must not meet a connection that the server is just closing.

A wrong answer is not the last word: two further questions are asked at once, and two of the three decide.

Readings: `ttft_s`, `tokens` (completion tokens), `inter_token_s` (mean time between tokens after the first).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from probes.addresses import AddressTurns
from probes.answer import WRONG, prompts_of
from probes.baseline import Baseline
from probes.catalog_paths import LONG_EVERY, LONG_WORDS
from probes.chat_look import ChatLook, ChatSettings
from probes.chat_stream import GrammarError
from probes.clock import StageClock
from probes.errors import SettingError
from probes.faults import Fault, fault_of
from probes.guard import scrubbed
from probes.http_client import HttpClient
from probes.http_probe import VersionLabel
from probes.outcome import Layer, Outcome, Status
from probes.questions import Prefix, Question, Rota
from probes.settings import Resolve, Text, headers_of, number, text, tls_of
from probes.target import Target

__all__ = ["GenerationProbe"]


_TOO_LONG = frozenset({"HTTP 400: request refused", "HTTP 413", "HTTP 422: request refused"})
"""How servers refuse a question that is longer than their context."""

_TOO_SLOW = frozenset({"HTTP 408", "HTTP 504", "HTTP 524"})
"""How proxies tell that the server behind them took too long."""


class GenerationProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(
        self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve, *, plain: bool, default_path: str
    ) -> None:
        self.layer = layer
        self._settings = _settings(layer, settings, resolve, plain=plain, default_path=default_path)
        self._rota = _rota(settings)
        self._baselines: dict[str, Baseline] = {}
        self._addresses = AddressTurns()
        self._client = HttpClient(tls_of(settings))

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        """Ask what is due; a confirm (`fresh`) asks the long-context question too. See `probes.probe.Probe`."""
        return await self._addresses.look(target, deadline, lambda: self._look(target, deadline, fresh=fresh))

    async def _look(self, target: Target, deadline: float, *, fresh: bool) -> Outcome:
        spent = 0
        outcome: Outcome | None = None
        for question in self._rota.next(target.name, confirm=fresh):
            before, outcome = outcome, await self._ask(target, deadline, question)
            spent += outcome.tokens
            if before is not None and self._too_long(target, question, outcome):
                outcome = before  # nobody asked for long ones here: no reason to bother anybody
                break
            if outcome.status is Status.FAIL and outcome.reason == WRONG:
                outcome, more = await self._majority(target, deadline, question, outcome)
                spent += more
            self._rota.ended(target.name, question, well=outcome.status in (Status.PASS, Status.SLOW))
            if outcome.status is not Status.PASS:
                break
        assert outcome is not None
        return replace(outcome, tokens=spent)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._baselines.pop(target, None)
        self._rota.forget(target)
        self._addresses.forget(target)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()

    def _too_long(self, target: Target, question: Question, outcome: Outcome) -> bool:
        """True for a long question that nobody set, and that this target never had the room or the time for."""
        slow = outcome.status is Status.FAIL and (outcome.unanswered or outcome.reason in _TOO_SLOW)
        refused = question.long and (slow or outcome.reason in _TOO_LONG)
        return refused and self._rota.give_up_long(target.name)

    async def _majority(
        self, target: Target, deadline: float, question: Question, first: Outcome
    ) -> tuple[Outcome, int]:
        """The outcome once two of three questions agree, and the tokens that took. Without a further answer the first one holds."""
        spent = 0
        for other in self._rota.others(question):
            outcome = await self._ask(target, deadline, other)
            spent += outcome.tokens
            if outcome.status not in (Status.PASS, Status.SLOW):
                return first if outcome.reason != WRONG else outcome, spent
        return replace(outcome, detail=f"one wrong answer of three: {first.detail}"), spent

    async def _ask(self, target: Target, deadline: float, question: Question) -> Outcome:
        clock = StageClock()
        baseline = self._baselines.setdefault(target.name, Baseline())
        look = ChatLook(self._settings, self._client, target, deadline, clock, question, baseline)
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


def _settings(
    layer: Layer, settings: Mapping[str, Any], resolve: Resolve, *, plain: bool, default_path: str
) -> ChatSettings:
    key = settings.get("api_key")
    extra = settings.get("body") or {}
    if not isinstance(extra, Mapping):
        raise SettingError("body: write a map that is merged into the request's JSON")
    return ChatSettings(
        layer=layer,
        plain=plain,
        resolve=resolve,
        url=text(settings, "url"),
        path=text(settings, "path", default_path) or "",
        model=text(settings, "model", "$model") or "$model",
        max_tokens=int(number(settings, "max_tokens", 16) or 16),
        connect_s=number(settings, "connect", 5.0) or 5.0,
        ttft_s=number(settings, "ttft"),
        ttft_limit_s=number(settings, "ttft_limit"),
        gap_s=number(settings, "gap", 10.0) or 10.0,
        token_rate=number(settings, "token_rate"),
        max_bytes=int(number(settings, "max_bytes", 262144) or 262144),
        body=dict(extra),
        headers=headers_of(settings),
        api_key=None if key is None else Text(key),
        version=VersionLabel.of(settings),
    )


def _rota(settings: Mapping[str, Any]) -> Rota:
    prefix = text(settings, "prefix", "both") or "both"
    if prefix not in get_args(Prefix):
        raise SettingError(f"prefix: {prefix!r} is none of {', '.join(get_args(Prefix))}")
    never = settings.get("long_every") == 0
    every = None if never else int(number(settings, "long_every", LONG_EVERY) or LONG_EVERY)
    return Rota(
        prompts_of(settings.get("prompts")),
        cast("Prefix", prefix),
        long_every=every,
        long_words=int(number(settings, "long_words", LONG_WORDS) or LONG_WORDS),
        unasked=settings.get("long_every") is None,
    )


def _in_stream(fault: Fault, clock: StageClock) -> Fault:
    """What breaks after the head of the answer is the stream's: say so."""
    if clock.answered and fault.status is Status.FAIL:
        return Fault(Status.FAIL, "stream broken off", transport=False, detail=f"{fault.reason}: {fault.detail or ''}")
    return fault
