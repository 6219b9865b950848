"""`rabbitmq`: depth, age of the oldest message and dead letters of a queue, and the broker's alarms, from the management
plugin's HTTP API.

Over AMQP the age can only be had by taking a message and putting it back, which marks it redelivered and counts against a
quorum queue's delivery limit: a look must not change what it looks at.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from yarl import URL

from probes.clock import StageClock
from probes.deps.backlog import Backlog, BacklogLimits, DeadLetters
from probes.deps.base import DependencyProbe
from probes.deps.login import Login, LoginSettings
from probes.deps.web import Answer, Web, origin
from probes.guard import outcome_of
from probes.host_clock import HOST_CLOCK
from probes.http_client import Request
from probes.http_status import shown, status_fault
from probes.json_path import BadJsonError
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, text, tls_of
from probes.target import Target

__all__ = ["RabbitProbe", "build"]

_COLUMNS = "messages,messages_ready,head_message_timestamp,message_stats.deliver_get,message_stats.ack,consumers,state"


@dataclass(slots=True)
class _Still:
    """Since when nothing was taken from a queue that has messages."""

    taken: int
    since: float


class RabbitProbe(DependencyProbe):
    """See the module's text. Readings: `depth`, `oldest_age_s`, `dead_letters`, `consumers`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._login = LoginSettings.of(settings, {"http": False, "https": True}, 15672)
        self._web = Web(tls_of(settings))
        self._vhost = text(settings, "vhost", "/") or "/"
        self._queue = text(settings, "queue")
        self._dead = text(settings, "dead_letters")
        self._limits = BacklogLimits.of(settings)
        self._letters = DeadLetters(number(settings, "dead_letters_for", 600.0) or 600.0)
        self._still: dict[str, _Still] = {}

    async def close(self) -> None:
        """Safe to call twice."""
        await self._web.close()

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._letters.forget(target)
        self._still.pop(target, None)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        login = self._login.read(target, self._resolve, hidden)
        headers = _basic(login, hidden)
        base = URL(origin(login.address.host, login.address.port, secure=login.secure))
        alarms = await self._web.ask(Request("GET", base / "api/health/checks/alarms", headers), target, clock)
        if alarms.status != 503 and not alarms.ok:
            return self._refused(target, clock, alarms, "the management API", "url")
        found = Backlog(0)
        consumers: float | None = None
        if self._queue is not None:
            answer = await self._web.ask(Request("GET", self._url(base, self._queue), headers), target, clock)
            if not answer.ok:
                return self._refused(target, clock, answer, f"queue {self._queue!r}", "queue")
            self._saw(target, f"queue {self._queue!r}")
            document = _queue(answer)
            oldest_s, at_least = self._oldest(target, document)
            found = Backlog(int(document.get("messages", 0)), oldest_s, at_least)
            consumers = document.get("consumers")
        if self._dead is not None:
            answer = await self._web.ask(Request("GET", self._url(base, self._dead), headers), target, clock)
            if not answer.ok:
                return self._refused(target, clock, answer, f"queue {self._dead!r}", "dead_letters")
            self._saw(target, f"queue {self._dead!r}")
            found = Backlog(found.depth, found.oldest_s, found.at_least, int(_queue(answer).get("messages", 0)))
        return self._judge(target, clock, found, consumers, alarms)

    def _judge(
        self, target: Target, clock: StageClock, found: Backlog, consumers: float | None, alarms: Answer
    ) -> Outcome:
        readings = found.readings() if self._queue or self._dead else {}
        if consumers is not None:
            readings["consumers"] = float(consumers)
        if alarms.status == 503:
            return self._failed(
                clock,
                "an alarm of the broker blocks publishers",
                detail=_alarm_words(alarms),
                readings=readings,
                status=Status.SATURATED,
            )
        wrong = self._limits.wrong(found, grown=self._letters.grown(target.name, found.dead, time.monotonic()))
        if wrong is not None:
            status, reason, detail = wrong
            if consumers == 0:
                detail += "; the queue has no consumer"
            return self._failed(clock, reason, detail=detail, readings=readings, status=status)
        return self._passed(clock, readings)

    def _url(self, base: URL, queue: str) -> URL:
        # Names may have slashes in them, which must arrive escaped.
        path = f"/api/queues/{quote(self._vhost, safe='')}/{quote(queue, safe='')}"
        return base.join(URL(f"{path}?columns={_COLUMNS}", encoded=True))

    def _refused(self, target: Target, clock: StageClock, answer: Answer, thing: str, setting: str) -> Outcome:
        if answer.status in (401, 403):
            advice = "the broker refuses `user` and `password` of this check; the user needs the tag `monitoring`"
            return self._misconfigured(clock, f"HTTP {answer.status}: credentials refused", advice)
        if answer.status == 404 and setting == "url":
            advice = "write the URL of the management plugin, port 15672 by default, or enable rabbitmq_management"
            return self._misconfigured(clock, "no management API answers here", advice)
        if answer.status == 404:
            return self._missing(target, clock, thing, setting)
        return outcome_of(status_fault(answer.status, answer.body), self.layer, clock)

    def _oldest(self, target: Target, document: Mapping[str, Any]) -> tuple[float | None, bool]:
        """Age of the oldest message in seconds, and whether it may be older."""
        waiting = int(document.get("messages", 0))
        if not waiting:
            self._still.pop(target.name, None)
            return 0.0, False
        stamp = document.get("head_message_timestamp")
        if isinstance(stamp, (int, float)) and stamp > 0:
            # Only of classic queues, and only when publishers set the property.
            return max(0.0, HOST_CLOCK.now() - stamp), False
        stats = document.get("message_stats")
        stats = stats if isinstance(stats, Mapping) else {}
        taken, now = int(stats.get("deliver_get", 0)) + int(stats.get("ack", 0)), time.monotonic()
        still = self._still.get(target.name)
        if still is None or still.taken != taken:
            # Somebody works on it. How long its oldest message waits, nobody can tell.
            self._still[target.name] = _Still(taken, now)
            return None, False
        return now - still.since, True


def _queue(answer: Answer) -> Mapping[str, Any]:
    """The queue's columns. The API answers with an empty list while it has no figures of a new queue."""
    document = answer.json()
    return document if isinstance(document, Mapping) else {}


def _basic(login: Login, hidden: list[str]) -> dict[str, str]:
    if login.user is None:
        return {}
    word = base64.b64encode(f"{login.user}:{login.password or ''}".encode()).decode()
    hidden.append(word)
    return {"Authorization": f"Basic {word}"}


def _alarm_words(answer: Answer) -> str | None:
    try:
        alarms = answer.json().get("alarms", [])
        return "; ".join(f"{one.get('resource')} on {one.get('node')}" for one in alarms) or None
    except (BadJsonError, AttributeError):
        return shown(answer.body) or None


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> RabbitProbe:
    """See `probes.registry.make`."""
    return RabbitProbe(layer, settings, resolve)
