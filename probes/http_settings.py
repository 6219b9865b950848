"""What an `http` check was told, read once, and what an answer means under it: the same for every way an answer comes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from yarl import URL

from probes.errors import MisconfiguredError, SettingError
from probes.faults import Fault
from probes.headers import request_headers
from probes.http_client import Request, join
from probes.http_status import shown, status_fault
from probes.json_path import BadJsonError, Condition, conditions_of, parse, values_at
from probes.outcome import Layer, Status
from probes.settings import MODEL, Resolve, StatusSet, Text, headers_of, json_bytes, number, pattern, substitute, text
from probes.target import Target

__all__ = ["HttpSettings", "VersionLabel"]


class Headed(Protocol):
    """An answer, as far as its label is concerned."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""


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

    def read(self, response: Headed, body: bytes) -> str | None:
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
class HttpSettings:
    """The settings of an `http` check."""

    layer: Layer
    url: str | None
    method: str
    path: str
    body: str | None
    status: StatusSet
    unready: StatusSet | None
    """Statuses that blame the endpoint where they would else blame the check."""
    pattern: re.Pattern[str] | None
    conditions: tuple[Condition, ...]
    slow_s: float | None
    follow: bool
    max_bytes: int
    fresh_every: int
    headers: Mapping[str, Text]
    api_key: Text | None
    version: VersionLabel
    plain: frozenset[int]
    """The statuses that pass without another look at the answer; none where its head or body matter."""

    @classmethod
    def of(cls, layer: Layer, settings: Mapping[str, Any]) -> HttpSettings:
        """Reads the settings. Raises `SettingError`."""
        wanted = text(settings, "pattern")
        status = StatusSet.of("200-299" if settings.get("status") is None else settings["status"])
        conditions, version = conditions_of(settings.get("json")), VersionLabel.of(settings)
        rich = wanted is not None or conditions or version != VersionLabel()
        codes = (code for low, high in status.ranges for code in range(low, high + 1))
        key, as_json = settings.get("api_key"), bool(conditions) or version.path is not None
        return cls(
            layer=layer,
            url=text(settings, "url"),
            method=text(settings, "method", "GET") or "GET",
            path=text(settings, "path", "") or "",
            body=text(settings, "body"),
            status=status,
            unready=None if settings.get("unready") is None else StatusSet.of(settings["unready"], "unready"),
            pattern=None if wanted is None else pattern("pattern", wanted),
            conditions=conditions,
            slow_s=number(settings, "slow"),
            follow=bool(settings.get("follow", False)),
            max_bytes=json_bytes(settings, 65536) if as_json else int(number(settings, "max_bytes", 65536) or 65536),
            fresh_every=int(number(settings, "fresh_every", 10) or 10),
            headers=headers_of(settings),
            api_key=None if key is None else Text(key),
            version=version,
            plain=frozenset() if rich else frozenset(codes),
        )

    def url_of(self, target: Target) -> URL:
        """Where to look. Raises `MisconfiguredError`."""
        path = self.path
        if MODEL in path:
            if target.model is None:
                raise MisconfiguredError(f"`path: {path}` needs the model's id: set `model` of the service")
            path = path.replace(MODEL, quote(target.model, safe=""))
        return join(self.url or target.url, path)

    def request(self, target: Target, resolve: Resolve, hidden: list[str]) -> Request:
        """What to send. Adds the values of secrets to `hidden`. Raises `MisconfiguredError`."""
        url = self.url_of(target)
        body = None if self.body is None else substitute(self.body, target).encode()
        headers = request_headers(self.layer, self.headers, self.api_key, resolve, hidden)
        return Request(self.method, url, headers, body)

    def redirect(self, status: int, headers: Mapping[str, str], asked: URL) -> URL | str | None:
        """Where to go on, why not to, or None when the answer is none that redirects."""
        if not 300 <= status < 400 or "Location" not in headers or status in self.status:
            return None
        if not self.follow:
            return f"HTTP {status}: redirect"
        try:
            onward = asked.join(URL(headers["Location"]))
            origin = onward.origin()  # `mailto:a@b` and `https:x` are URLs that have none
        except ValueError:
            return f"HTTP {status}: redirect to something that is no URL"
        if origin != asked.origin():
            return f"HTTP {status}: redirect to another host"
        return onward

    def judge(
        self, target: Target, status: int, headers: Mapping[str, str], body: bytes, *, whole: bool, elapsed_s: float
    ) -> Fault | None:
        """What is wrong with an answer that redirects nowhere, or None."""
        if status not in self.status:
            if self.unready is not None and status in self.unready:
                return Fault(Status.FAIL, f"HTTP {status}: not ready", detail=shown(body) or None)
            return status_fault(status, body)
        unmet = self._unmet(target, headers, body, whole=whole)
        if unmet is not None:
            return Fault(Status.SLOW if unmet[2] else Status.FAIL, unmet[0], detail=unmet[1])
        if self.slow_s is not None and elapsed_s > self.slow_s:
            return Fault(Status.SLOW, f"slower than {self.slow_s:g} s")
        return None

    def _unmet(
        self, target: Target, headers: Mapping[str, str], body: bytes, *, whole: bool
    ) -> tuple[str, str, bool] | None:
        """Reason and detail of the first condition on the body that does not hold, and whether it only makes the look SLOW."""
        if self.pattern is None and not self.conditions:
            return None
        coding = headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":
            return "answer is compressed although it must not be", f"Content-Encoding: {coding}", False
        if self.pattern is not None and not self.pattern.search(body.decode("utf-8", "replace")):
            return "answer lacks the pattern", f"no match of {self.pattern.pattern!r} in: {shown(body)}", False
        if not self.conditions:
            return None
        if not whole:
            return (
                "answer too long",
                f"over {self.max_bytes} bytes; raise `max_bytes` of this check if that is right",
                False,
            )
        try:
            document = parse(body)
        except BadJsonError as error:
            return "answer is not JSON", f"{error} in: {shown(body)}", False
        for condition in self.conditions:
            why = condition.unmet(document, target)
            if why is not None:
                return _reason(condition), why, condition.slow
        return None


def _reason(condition: Condition) -> str:
    if condition.says is not None:
        return condition.says
    return "model not found" if condition.contains == MODEL else f"answer's {condition.path} is not as it should be"
