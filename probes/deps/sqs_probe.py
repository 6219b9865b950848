"""`sqs`: depth of a queue, age of its oldest message, and dead letters.

The age is no attribute of a queue: it comes from CloudWatch, a value a minute old or more, and is asked for only where
`max_age` is set (CloudWatch bills by the request).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from yarl import URL

from probes.clock import StageClock
from probes.deps.aws import DENIED, Aws, error_of
from probes.deps.backlog import Backlog, BacklogLimits, DeadLetters
from probes.deps.base import DependencyProbe
from probes.deps.web import Answer
from probes.errors import SettingError
from probes.guard import outcome_of
from probes.host_clock import HOST_CLOCK
from probes.http_status import status_fault
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, text
from probes.target import Target

__all__ = ["SqsProbe", "build"]

_DEPTH: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
_CLOUDWATCH: Final = "GraniteServiceVersion20100801.GetMetricData"
_LOOK_BACK_S: Final = 600
_THROTTLED: Final = ("Throttl", "RequestThrottled", "TooManyRequests", "OverLimit")


class SqsProbe(DependencyProbe):
    """See the module's text. Readings: `depth` (in flight included), `oldest_age_s`, `dead_letters`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._queue = text(settings, "queue") or text(settings, "url")
        if self._queue is None:
            raise SettingError("queue: write the queue's name or its URL")
        self._dead = text(settings, "dead_letters")
        self._limits = BacklogLimits.of(settings)
        self._letters = DeadLetters(number(settings, "dead_letters_for", 600.0) or 600.0)
        self._aws = Aws(settings, resolve)
        self._cloudwatch = text(settings, "cloudwatch_url")
        self._urls: dict[str, str] = {}

    async def close(self) -> None:
        """Safe to call twice."""
        await self._aws.close()

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._letters.forget(target)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        assert self._queue is not None
        depth = await self._depth(target, clock, hidden, self._queue, "queue")
        if isinstance(depth, Outcome):
            return depth
        found = Backlog(depth, 0.0 if not depth else None)
        if self._dead is not None:
            dead = await self._depth(target, clock, hidden, self._dead, "dead_letters")
            if isinstance(dead, Outcome):
                return dead
            found = replace(found, dead=dead)
        if self._limits.max_age_s is not None and depth:
            age = await self._oldest_s(target, clock, hidden, self._queue)
            if isinstance(age, Outcome):
                return age
            found = replace(found, oldest_s=age)
        readings = found.readings()
        wrong = self._limits.wrong(found, grown=self._letters.grown(target.name, found.dead, time.monotonic()))
        if wrong is not None:
            return self._failed(clock, wrong[1], detail=wrong[2], readings=readings, status=wrong[0])
        return self._passed(clock, readings)

    async def _depth(
        self, target: Target, clock: StageClock, hidden: list[str], queue: str, setting: str
    ) -> int | Outcome:
        """Messages in `queue`, or what keeps from knowing."""
        base = self._aws.url("sqs") / ""
        named = f"queue {_name(queue)!r}"
        url = queue if "://" in queue else self._urls.get(queue)
        if url is None:
            body = {"QueueName": queue}
            answer, document = await self._aws.call("sqs", base, "AmazonSQS.GetQueueUrl", body, target, clock, hidden)
            if not answer.ok or not isinstance(document, Mapping):
                return self._refused(target, clock, answer, named, setting)
            url = self._urls[queue] = str(document.get("QueueUrl"))
        wanted = {"QueueUrl": url, "AttributeNames": list(_DEPTH)}
        answer, document = await self._aws.call(
            "sqs", base, "AmazonSQS.GetQueueAttributes", wanted, target, clock, hidden
        )
        if not answer.ok or not isinstance(document, Mapping):
            self._urls.pop(queue, None)
            return self._refused(target, clock, answer, named, setting)
        self._saw(target, named)
        attributes = document.get("Attributes", {})
        return sum(int(attributes.get(name, 0)) for name in _DEPTH)

    async def _oldest_s(
        self, target: Target, clock: StageClock, hidden: list[str], queue: str
    ) -> float | Outcome | None:
        """Age of the oldest message as CloudWatch last had it; None when it has none."""
        url = URL(self._cloudwatch) / "" if self._cloudwatch else self._aws.url("monitoring") / ""
        now = HOST_CLOCK.now()
        metric = {
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateAgeOfOldestMessage",
            "Dimensions": [{"Name": "QueueName", "Value": _name(queue)}],
        }
        body = {
            "StartTime": math.floor(now - _LOOK_BACK_S),
            "EndTime": math.ceil(now + 60),
            "ScanBy": "TimestampDescending",
            "MetricDataQueries": [{"Id": "age", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}],
        }
        answer, document = await self._aws.call("monitoring", url, _CLOUDWATCH, body, target, clock, hidden)
        if not answer.ok or not isinstance(document, Mapping):
            code, words = error_of(answer)
            reason = "CloudWatch does not tell the age of the oldest message"
            advice = f"{code}: {words}: allow cloudwatch:GetMetricData, or leave `max_age` out"
            return self._misconfigured(clock, reason, advice)
        for result in document.get("MetricDataResults", []):
            values = result.get("Values", [])
            if values:
                return float(values[0])
        return None

    def _refused(self, target: Target, clock: StageClock, answer: Answer, named: str, setting: str) -> Outcome:
        code, words = error_of(answer)
        if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
            return self._missing(target, clock, named, setting)
        if DENIED.search(code):
            advice = f"{words}: allow sqs:GetQueueUrl and sqs:GetQueueAttributes, and fix the credentials"
            return self._misconfigured(clock, f"{code}: credentials refused", advice)
        if any(word in code for word in _THROTTLED):
            return self._failed(clock, f"{code}: throttled", detail=words, status=Status.SATURATED)
        return outcome_of(status_fault(answer.status, answer.body), self.layer, clock)


def _name(queue: str) -> str:
    return queue.rpartition("/")[2]


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> SqsProbe:
    """See `probes.registry.make`."""
    return SqsProbe(layer, settings, resolve)
