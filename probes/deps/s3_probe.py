"""`s3`: GET of a canary object, and the age of the newest object under a prefix (checkpoints, backups)."""

from __future__ import annotations

import datetime as dt
import email.utils
import html
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from probes.clock import StageClock
from probes.deps.aws import DENIED, Aws, error_of
from probes.deps.base import DependencyProbe
from probes.deps.web import Answer
from probes.errors import SettingError
from probes.guard import outcome_of
from probes.host_clock import HOST_CLOCK
from probes.http_client import Request
from probes.http_status import status_fault
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, text
from probes.target import Target

__all__ = ["S3Probe", "build"]

_MAX_PAGES: Final = 10
"""Pages of 1000 objects that are listed: S3 lists by name, so the newest may be anywhere."""

_MODIFIED: Final = re.compile(r"<LastModified>([^<]+)</LastModified>")
_NEXT: Final = re.compile(r"<NextContinuationToken>([^<]+)</NextContinuationToken>")


class S3Probe(DependencyProbe):
    """See the module's text. Readings: `newest_age_s`, `objects` (under the prefix)."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._bucket = text(settings, "bucket") or ""
        self._object, self._prefix = text(settings, "object"), text(settings, "prefix")
        self._max_age_s = number(settings, "max_age")
        if self._object is None and self._prefix is None:
            raise SettingError("object: write the key of an object to read, or `prefix` and `max_age`, or both")
        self._aws = Aws(settings, resolve)

    async def close(self) -> None:
        """Safe to call twice."""
        await self._aws.close()

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        if self._object is not None:
            url = self._url(quote(self._object, safe="/~-._"))
            answer = await self._aws.send("s3", Request("GET", url), target, clock, hidden)
            if not answer.ok:
                return self._refused(target, clock, answer, f"object {self._object!r}")
            self._saw(target, f"object {self._object!r}")
            self._saw(target, f"bucket {self._bucket!r}")
        if self._prefix is None:
            return self._passed(clock)
        return await self._newest(target, clock, hidden, self._prefix)

    async def _newest(self, target: Target, clock: StageClock, hidden: list[str], prefix: str) -> Outcome:
        newest: float | None = None
        count, token, now = 0, "", HOST_CLOCK.now()
        for _ in range(_MAX_PAGES):
            query = f"?{token}list-type=2&prefix={quote(prefix, safe='~-._')}"
            answer = await self._aws.send("s3", Request("GET", self._url("", query)), target, clock, hidden)
            if not answer.ok:
                return self._refused(target, clock, answer, f"bucket {self._bucket!r}")
            self._saw(target, f"bucket {self._bucket!r}")
            page = answer.body.decode("utf-8", "replace")
            stamps = [_seconds(stamp) for stamp in _MODIFIED.findall(page)]
            newest = max([*stamps, *([] if newest is None else [newest])], default=None)
            count += len(stamps)
            now = _server_time(answer) or now
            following = _NEXT.search(page)
            if following is None:
                break
            token = f"continuation-token={quote(html.unescape(following[1]), safe='~-._')}&"
        else:
            advice = f"over {count} objects under {prefix!r}: name a narrower `prefix`"
            return self._misconfigured(clock, "too many objects to find the newest", advice)
        return self._aged(clock, newest, count, now)

    def _aged(self, clock: StageClock, newest: float | None, count: int, now: float) -> Outcome:
        readings = {"objects": float(count)}
        if newest is None:
            return self._failed(clock, "no object under the prefix", detail=f"{self._prefix!r}", readings=readings)
        age_s = readings["newest_age_s"] = max(0.0, now - newest)
        if self._max_age_s is not None and age_s > self._max_age_s:
            detail = f"{age_s:.0f} s, over {self._max_age_s:g} s, under {self._prefix!r}"
            return self._failed(clock, "the newest object is too old", detail=detail, readings=readings)
        return self._passed(clock, readings)

    def _url(self, key: str, query: str = "") -> URL:
        """Of an object, its key quoted, or of the bucket. At AWS the bucket is in the host's name, where it can be."""
        base = self._aws.url("s3")
        if self._aws.endpoint is None and "." not in self._bucket:
            base = base.with_host(f"{self._bucket}.{base.host}")
            return URL(f"{base.origin()}/{key}{query}", encoded=True)
        return URL(f"{str(base).rstrip('/')}/{quote(self._bucket, safe='')}/{key}{query}", encoded=True)

    def _refused(self, target: Target, clock: StageClock, answer: Answer, thing: str) -> Outcome:
        code, words = error_of(answer)
        if code == "NoSuchBucket":
            return self._missing(target, clock, f"bucket {self._bucket!r}", "bucket")
        if code == "NoSuchKey" or answer.status == 404:
            return self._missing(target, clock, thing, "object")
        if answer.status in (301, 307, 308) or code in ("PermanentRedirect", "TemporaryRedirect"):
            return self._misconfigured(clock, "the bucket is in another region", f"fix `region`: {words}")
        if DENIED.search(code) or answer.status == 403:
            advice = f"{words}: allow s3:GetObject and s3:ListBucket, and fix the credentials"
            return self._misconfigured(clock, f"{code}: credentials refused", advice)
        if code == "SlowDown":
            return self._failed(clock, "SlowDown: throttled", detail=words, status=Status.SATURATED)
        return outcome_of(status_fault(answer.status, answer.body), self.layer, clock)


def _seconds(stamp: str) -> float:
    """`2026-01-31T12:00:00.000Z`."""
    return dt.datetime.fromisoformat(stamp).timestamp()


def _server_time(answer: Answer) -> float | None:
    """The server's own clock: the stamps are of it too."""
    stamp = answer.headers.get("Date")
    if not stamp:
        return None
    try:
        return email.utils.parsedate_to_datetime(stamp).timestamp()
    except ValueError:
        return None


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> S3Probe:
    """See `probes.registry.make`."""
    return S3Probe(layer, settings, resolve)
