"""`http`: one request; status, and optionally a pattern or JSON conditions on the body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from probes.clock import StageClock
from probes.errors import MisconfiguredError, SettingError
from probes.guard import guarded, outcome_of, result, scrubbed
from probes.headers import request_headers
from probes.http_client import HttpClient, Request, join, read_bounded
from probes.http_status import shown, status_fault
from probes.json_path import BadJsonError, Condition, conditions_of, parse, values_at
from probes.outcome import Layer, Outcome, Status
from probes.settings import (
    MODEL,
    Resolve,
    StatusSet,
    Text,
    headers_of,
    number,
    pattern,
    substitute,
    text,
    tls_of,
)
from probes.target import Target
from probes.turns import Turns

__all__ = ["HttpProbe", "VersionLabel", "build"]

_MAX_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class VersionLabel:
    """Where an endpoint's version label is: a response header, or a JSON path in the body."""

    header: str | None = None
    path: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> VersionLabel:
        """The label that `version` means. One that names another URL or a metric is not this look's to read."""
        value = settings.get("version") or {}
        if not isinstance(value, Mapping):
            raise SettingError("version: write {header: NAME} or {path: JSON path}")
        if "url" in value or "metric" in value:
            return cls()
        return cls(value.get("header"), value.get("path"))

    def read(self, response: aiohttp.ClientResponse, body: bytes) -> str | None:
        """The label, or None when it is not there."""
        if self.header is not None:
            return response.headers.get(self.header)
        if self.path is not None:
            try:
                return next((str(value) for value in values_at(parse(body), self.path)), None)
            except BadJsonError:
                return None  # the label is a hint; what is wrong with the body is the conditions' business
        return None


@dataclass(frozen=True, slots=True)
class _Settings:
    url: str | None
    method: str
    path: str
    body: str | None
    status: StatusSet
    pattern: re.Pattern[str] | None
    conditions: tuple[Condition, ...]
    slow_s: float | None
    follow: bool
    max_bytes: int
    headers: Mapping[str, Text]
    api_key: Text | None
    version: VersionLabel


class HttpProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        wanted = text(settings, "pattern")
        key = settings.get("api_key")
        self.layer = layer
        self._resolve = resolve
        self._settings = _Settings(
            url=text(settings, "url"),
            method=text(settings, "method", "GET") or "GET",
            path=text(settings, "path", "") or "",
            body=text(settings, "body"),
            status=StatusSet.of("200-299" if settings.get("status") is None else settings["status"]),
            pattern=None if wanted is None else pattern("pattern", wanted),
            conditions=conditions_of(settings.get("json")),
            slow_s=number(settings, "slow"),
            follow=bool(settings.get("follow", False)),
            max_bytes=int(number(settings, "max_bytes", 65536) or 65536),
            headers=headers_of(settings),
            api_key=None if key is None else Text(key),
            version=VersionLabel.of(settings),
        )
        self._turns = Turns(int(number(settings, "fresh_every", 10) or 10))
        self._client = HttpClient(tls_of(settings))

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        """One request. See `probes.probe.Probe`."""
        clock = StageClock()
        _, renew = self._turns.next(target.name)
        # A request that is not idempotent must not meet a connection that the server is just closing.
        renew = fresh or renew or self._settings.method == "POST"
        hidden: list[str] = []
        outcome = await guarded(self.layer, deadline, clock, self._ask_kept(target, clock, hidden, fresh=renew))
        self._turns.ended(target.name, well=outcome.ok)
        return scrubbed(outcome, hidden)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._client.close()

    async def _ask_kept(self, target: Target, clock: StageClock, hidden: list[str], *, fresh: bool) -> Outcome:
        """Ask; once more when a kept-alive connection turns out dead, which servers that close idle ones make it."""
        try:
            return await self._ask(target, clock, hidden, fresh=fresh)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if not clock.kept or clock.answered:
                raise
            return await self._ask(target, clock, hidden, fresh=True)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str], *, fresh: bool) -> Outcome:
        request = self._request(target, hidden)
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._client.send(request, target, clock, fresh=fresh) as response:
                onward = self._redirect(response, request)
                if onward is None:
                    body, whole = await read_bounded(response, self._settings.max_bytes)
                    return self._judge(target, clock, response, body, whole=whole)
                if isinstance(onward, str):
                    return result(Status.FAIL, self.layer, clock, onward, detail=f"to {_location(response)}")
                request = Request(request.method, onward, request.headers, request.body)
        return result(Status.FAIL, self.layer, clock, "too many redirects")

    def _request(self, target: Target, hidden: list[str]) -> Request:
        settings = self._settings
        path = settings.path
        if MODEL in path:
            if target.model is None:
                raise MisconfiguredError(f"`path: {path}` needs the model's id: set `model` of the service")
            path = path.replace(MODEL, quote(target.model, safe=""))
        body = None if settings.body is None else substitute(settings.body, target).encode()
        headers = request_headers(self.layer, settings.headers, settings.api_key, self._resolve, hidden)
        return Request(settings.method, join(settings.url or target.url, path), headers, body)

    def _redirect(self, response: aiohttp.ClientResponse, request: Request) -> URL | str | None:
        """Where to go on, why not to, or None when the answer is none that redirects."""
        status = response.status
        if not 300 <= status < 400 or "Location" not in response.headers or status in self._settings.status:
            return None
        if not self._settings.follow:
            return f"HTTP {status}: redirect"
        try:
            onward = request.url.join(URL(response.headers["Location"]))
        except ValueError:
            return f"HTTP {status}: redirect to something that is no URL"
        if onward.origin() != request.url.origin():
            return f"HTTP {status}: redirect to another host"
        return onward

    def _judge(
        self, target: Target, clock: StageClock, response: aiohttp.ClientResponse, body: bytes, *, whole: bool
    ) -> Outcome:
        settings = self._settings
        version = settings.version.read(response, body)
        if response.status not in settings.status:
            return outcome_of(status_fault(response.status, body), self.layer, clock, version=version)
        unmet = self._unmet(target, response, body, whole=whole)
        if unmet is not None:
            status = Status.SLOW if unmet[2] else Status.FAIL
            return result(status, self.layer, clock, *unmet[:1], detail=unmet[1], version=version)
        if settings.slow_s is not None and clock.elapsed_s > settings.slow_s:
            reason = f"slower than {settings.slow_s:g} s"
            return result(Status.SLOW, self.layer, clock, reason, version=version)
        return result(Status.PASS, self.layer, clock, version=version)

    def _unmet(
        self, target: Target, response: aiohttp.ClientResponse, body: bytes, *, whole: bool
    ) -> tuple[str, str, bool] | None:
        """Reason and detail of the first condition on the body that does not hold, and whether it only makes the look SLOW."""
        settings = self._settings
        if settings.pattern is None and not settings.conditions:
            return None
        coding = response.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":
            return "answer is compressed although it must not be", f"Content-Encoding: {coding}", False
        if settings.pattern is not None and not settings.pattern.search(body.decode("utf-8", "replace")):
            return "answer lacks the pattern", f"no match of {settings.pattern.pattern!r} in: {shown(body)}", False
        if not settings.conditions:
            return None
        if not whole:
            return (
                "answer too long",
                f"over {settings.max_bytes} bytes; raise `max_bytes` of this check if that is right",
                False,
            )
        try:
            document = parse(body)
        except BadJsonError as error:
            return "answer is not JSON", f"{error} in: {shown(body)}", False
        for condition in settings.conditions:
            why = condition.unmet(document, target)
            if why is not None:
                return _reason(condition), why, condition.slow
        return None


def _reason(condition: Condition) -> str:
    if condition.says is not None:
        return condition.says
    return "model not found" if condition.contains == MODEL else f"answer's {condition.path} is not as it should be"


def _location(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Location", "")


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> HttpProbe:
    """See `probes.registry.make`."""
    return HttpProbe(layer, settings, resolve)
