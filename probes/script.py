"""`script`: several HTTP steps in order, with values captured on the way and assertions on each (`probes.script_steps`).

The first step that does not hold ends the look. All steps share its deadline, and their kept-alive connections end with it.
Readings: `step_N_s`, the seconds of each step.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from probes.addresses import AddressTurns
from probes.clock import StageClock
from probes.errors import MisconfiguredError
from probes.faults import Fault
from probes.guard import outcome_of, result, scrubbed
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join, read_bounded
from probes.http_probe import VersionLabel
from probes.http_status import shown, status_fault
from probes.json_call import CallError, limited, tokens_in, tokens_of
from probes.json_path import BadJsonError, parse, values_at
from probes.outcome import Layer, Outcome, Status
from probes.script_steps import Capture, Step, filled, steps_of
from probes.settings import Resolve, Text, headers_of, json_bytes, number, text, tls_of
from probes.target import Target

__all__ = ["ScriptProbe", "build"]


class _Run:
    """What one look gathers on its way."""

    def __init__(self) -> None:
        self.captured: dict[str, str] = {}
        self.readings: dict[str, float] = {}
        self.slow: str | None = None
        self.tokens = 0
        self.asked = 0
        """Tokens that the request under way may have cost by now."""
        self.version: str | None = None
        self.hidden: list[str] = []


class ScriptProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        key = settings.get("api_key")
        self.layer = layer
        self._resolve = resolve
        self._steps = steps_of(settings.get("steps"))
        self._url = text(settings, "url")
        self._connect_s = number(settings, "connect", 5.0) or 5.0
        self._max_bytes = json_bytes(settings, 262144)
        self._headers = headers_of(settings)
        self._api_key = None if key is None else Text(key)
        self._version = VersionLabel.of(settings)
        self._client = HttpClient(tls_of(settings))
        self._addresses = AddressTurns()
        self._budgeted = settings.get("budget") is not None

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Go through the steps, all at one address. See `probes.probe.Probe`."""
        return await self._addresses.look(target, deadline, lambda: self._look(target, deadline))

    async def _look(self, target: Target, deadline: float) -> Outcome:
        clock = StageClock()
        run = _Run()
        outcome = await limited(self.layer, deadline, self._connect_s, clock, self._go(target, deadline, clock, run))
        spent = run.tokens + run.asked
        outcome = replace(outcome, readings=run.readings, tokens=spent, version=run.version or outcome.version)
        return scrubbed(outcome, run.hidden)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._addresses.forget(target)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()

    async def _go(self, target: Target, deadline: float, clock: StageClock, run: _Run) -> Outcome:
        for number_, step in enumerate(self._steps, 1):
            began = clock.now()
            try:
                within = asyncio.timeout_at(
                    min(deadline, asyncio.get_running_loop().time() + (step.expect.within_s or 1e9))
                )
                async with within:
                    await self._take(step, target, clock, run)
            except TimeoutError:
                if asyncio.get_running_loop().time() >= deadline or not within.expired():
                    raise
                raise self._failed(clock, step, f"slower than {step.expect.within_s:g} s", None) from None
            took_s = clock.now() - began
            run.readings[f"step_{number_}_s"] = took_s
            if step.expect.slow_s is not None and took_s > step.expect.slow_s and run.slow is None:
                run.slow = f"{step.name}: slower than {step.expect.slow_s:g} s"
        return result(Status.PASS if run.slow is None else Status.SLOW, self.layer, clock, run.slow)

    async def _take(self, step: Step, target: Target, clock: StageClock, run: _Run) -> None:
        request = self._request(step, target, run)
        if self._budgeted:
            run.asked = _tokens_at_most(step, request)
        async with self._client.send(request, target, clock, fresh=True) as response:
            body, whole = await read_bounded(response, self._max_bytes)
            run.version = self._version.read(response, body) or run.version
            run.asked = 0 if response.status >= 400 else run.asked
            if response.status not in step.expect.status:
                fault = status_fault(response.status, body, reads_queue=True)
                raise CallError(outcome_of(_named(step, fault), self.layer, clock))
            document = _document(body) if whole else None
            counted, run.asked = tokens_of(document), 0
            if self._budgeted and not counted and request.body is not None:
                counted = tokens_in(request.body) + tokens_in(body)
            run.tokens += counted
            unmet = _unmet(step, target, body, document)
            if unmet is not None:
                raise self._failed(clock, step, *unmet)
            for name, capture in step.capture.items():
                value = _captured(capture, response, body, document)
                if value is None:
                    raise self._failed(clock, step, f"answer has no {name} to capture", shown(body))
                run.captured[name] = value
                run.hidden.append(value)  # sessions and tokens are captured as often as not

    def _request(self, step: Step, target: Target, run: _Run) -> Request:
        own = {**self._headers, **step.headers}
        key = self._api_key if step.url is None else None  # the endpoint's key is nobody else's business
        mine = request_headers(self.layer, own, key, self._resolve, run.hidden)
        headers = {
            name: filled(value, run.captured, target) if "${" in value else value for name, value in mine.items()
        }
        body = None if step.body is None else filled(step.body, run.captured, target).encode()
        if step.send is not None:
            body = json.dumps(filled(step.send, run.captured, target)).encode()
            headers = {"Content-Type": "application/json", **headers}
        base = step.url or self._url or target.url
        try:
            url = join(filled(base, run.captured, target), filled(step.path, run.captured, target))
        except ValueError as error:
            raise MisconfiguredError(f"{step.name}: {error}") from error
        return Request(step.method, url, headers, body)

    def _failed(self, clock: StageClock, step: Step, reason: str, detail: str | None) -> CallError:
        return CallError(result(Status.FAIL, self.layer, clock, f"{step.name}: {reason}", detail=detail))


def _tokens_at_most(step: Step, request: Request) -> int:
    """What a request that sends something may cost: its own length, and what it asks for."""
    if request.body is None:
        return 0
    sent = step.send if isinstance(step.send, Mapping) else {}
    asked = sent.get("max_tokens", sent.get("max_completion_tokens"))
    return tokens_in(request.body) + (asked if isinstance(asked, int) else 0)


def _named(step: Step, fault: Fault) -> Fault:
    return replace(fault, reason=f"{step.name}: {fault.reason}")


def _document(body: bytes) -> Any:
    try:
        return parse(body)
    except BadJsonError:
        return None


def _unmet(step: Step, target: Target, body: bytes, document: Any) -> tuple[str, str] | None:
    expect = step.expect
    if expect.pattern is not None and not expect.pattern.search(body.decode("utf-8", "replace")):
        return "answer lacks the pattern", f"no match of {expect.pattern.pattern!r} in: {shown(body)}"
    if expect.conditions and document is None:
        return "answer is not JSON", shown(body)
    for condition in expect.conditions:
        why = condition.unmet(document, target)
        if why is not None:
            return f"answer's {condition.path} is not as it should be", why
    return None


def _captured(capture: Capture, response: aiohttp.ClientResponse, body: bytes, document: Any) -> str | None:
    if capture.header is not None:
        return response.headers.get(capture.header)
    if capture.pattern is not None:
        found = capture.pattern.search(body.decode("utf-8", "replace"))
        return found[1] if found else None
    value = next(values_at(document, capture.json or ""), None)
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> ScriptProbe:
    """See `probes.registry.make`."""
    return ScriptProbe(layer, settings, resolve)
