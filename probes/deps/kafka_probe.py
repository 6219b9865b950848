"""`kafka`: partitions without a leader, what a consumer group has not read yet, the age of the oldest of it, dead letters.

The group is read and never joined: nothing is committed, and no rebalance is caused.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # comes without types
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]  # comes without types
from aiokafka.errors import (  # type: ignore[import-untyped]  # comes without types
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from probes.address import Address
from probes.clock import StageClock
from probes.deps.backlog import Backlog, BacklogLimits, DeadLetters
from probes.deps.base import DependencyProbe, ended, reach
from probes.errors import MisconfiguredError, SettingError
from probes.host_clock import HOST_CLOCK
from probes.outcome import Layer, Outcome
from probes.settings import Resolve, Text, number, strings, text, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["KafkaProbe", "build"]

_MAX_BYTES: Final = 65536
_MAX_PARTITIONS: Final = 32
"""Partitions whose oldest message is read in one look, those furthest behind first."""

# The client tells its troubles to the log of the whole process too; a look tells them in its outcome.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class KafkaProbe(DependencyProbe):
    """See the module's text. Readings: `depth`, `oldest_age_s`, `dead_letters`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._brokers = tuple(_broker(one) for one in strings(settings, "brokers"))
        self._user = text(settings, "user")
        password = settings.get("password")
        self._password = None if password is None else Text(password)
        self._mechanism = text(settings, "sasl", "SCRAM-SHA-512") or "SCRAM-SHA-512"
        self._tls = tls_of(settings)
        self._secure = bool(settings.get("tls", self._tls.ca is not None))
        self._topic, self._group = text(settings, "topic"), text(settings, "group")
        self._dead = text(settings, "dead_letters")
        self._limits = BacklogLimits.of(settings)
        self._letters = DeadLetters(number(settings, "dead_letters_for", 600.0) or 600.0)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._letters.forget(target)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        password = None
        if self._password is not None:
            password = self._password.read(self._resolve, "password")
            hidden.append(password)
        context = tls_context(self._tls) if self._secure else None
        brokers = self._brokers or (_broker(target.url.removeprefix("kafka://")),)
        alive = await self._alive(brokers, clock, context)
        options = self._options(alive, password, context)
        clock.sent()
        try:
            partitions = await self._topics(target, clock, options)
            if isinstance(partitions, Outcome):
                return partitions
            found = await self._backlog(target, clock, options, partitions)
        except (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError) as error:
            return self._misconfigured(clock, "the user may not ask", f"{error}: allow Describe on topic and group")
        except KafkaConnectionError as error:
            if password is None:
                return self._lost(clock, error)
            # The client tries broker after broker, and tells a refused password like a refused connection.
            advice = "brokers take connections and refuse this login: fix `user`, `password`, `sasl` and `tls`"
            return self._misconfigured(clock, "credentials refused", f"{advice} ({error})")
        except KafkaError as error:
            return self._failed(clock, f"Kafka answers {type(error).__name__}", detail=str(error))
        if isinstance(found, Outcome):
            return found
        clock.first_byte()
        readings = found.readings() if self._group or self._dead else {}
        wrong = self._limits.wrong(found, grown=self._letters.grown(target.name, found.dead, time.monotonic()))
        if wrong is not None:
            return self._failed(clock, wrong[1], detail=wrong[2], readings=readings, status=wrong[0])
        return self._passed(clock, readings)

    async def _alive(
        self, brokers: Sequence[Address], clock: StageClock, context: ssl.SSLContext | None
    ) -> Sequence[Address]:
        """The brokers from the first on that takes a connection. Raises what keeps the last one from it."""
        for index, broker in enumerate(brokers):
            try:
                await reach(broker, clock, context, broker.name)
            except OSError:
                if index == len(brokers) - 1:
                    raise
            else:
                return brokers[index:]
        raise MisconfiguredError("no broker is named: write `brokers: [HOST:9092]`")

    def _options(
        self, brokers: Sequence[Address], password: str | None, context: ssl.SSLContext | None
    ) -> dict[str, Any]:
        found: dict[str, Any] = {
            "bootstrap_servers": [f"{one.host}:{one.port}" for one in brokers],
            "client_id": "steerd-probe",
            "security_protocol": ("SASL_" if self._user else "") + ("SSL" if self._secure else "PLAINTEXT"),
        }
        if context is not None:
            found["ssl_context"] = context
        if self._user:
            found |= {
                "sasl_mechanism": self._mechanism,
                "sasl_plain_username": self._user,
                "sasl_plain_password": password or "",
            }
        return found

    async def _topics(
        self, target: Target, clock: StageClock, options: Mapping[str, Any]
    ) -> dict[str, list[TopicPartition]] | Outcome:
        """The partitions of the topics watched, all of them with a leader, or what is wrong with them."""
        admin = AIOKafkaAdminClient(**options)
        partitions: dict[str, list[TopicPartition]] = {}
        try:
            await admin.start()
            known = set(await admin.list_topics())
            for topic, setting in ((self._topic, "topic"), (self._dead, "dead_letters")):
                if topic is None:
                    continue
                if topic not in known:  # asking for it by name could create it
                    return self._missing(target, clock, f"topic {topic!r}", setting)
                self._saw(target, f"topic {topic!r}")
                found = (await admin.describe_topics([topic]))[0]["partitions"]
                without = sorted(one["partition"] for one in found if one["leader"] < 0)
                if without:
                    detail = f"topic {topic!r}, partitions {', '.join(map(str, without[:10]))}"
                    return self._failed(clock, "partitions without a leader", detail=detail)
                partitions[topic] = sorted(TopicPartition(topic, one["partition"]) for one in found)
        finally:
            await ended(admin.close())
        return partitions

    async def _backlog(
        self,
        target: Target,
        clock: StageClock,
        options: Mapping[str, Any],
        partitions: Mapping[str, list[TopicPartition]],
    ) -> Backlog | Outcome:
        if self._group is None and self._dead is None:
            return Backlog(0)
        consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_MAX_BYTES,
            fetch_max_bytes=_MAX_BYTES * _MAX_PARTITIONS,
            **options,
        )
        try:
            await consumer.start()
            found = Backlog(0)
            if self._group is not None and self._topic is not None:
                waiting = await self._waiting(target, clock, consumer, partitions[self._topic])
                if isinstance(waiting, Outcome):
                    return waiting
                found = waiting
            if self._dead is not None:
                ends = await consumer.end_offsets(partitions[self._dead])
                found = replace(found, dead=sum(ends.values()))
            return found
        finally:
            await ended(consumer.stop())

    async def _waiting(
        self, target: Target, clock: StageClock, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> Backlog | Outcome:
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        committed = {one: await consumer.committed(one) for one in partitions}
        named = f"offset of group {self._group!r}"
        if all(offset is None for offset in committed.values()):
            return self._missing(target, clock, named, "group")
        self._saw(target, named)
        next_of = {
            one: begins[one] if offset is None else max(offset, begins[one]) for one, offset in committed.items()
        }
        behind = {one: ends[one] - at for one, at in next_of.items() if ends[one] > at}
        if not behind:
            return Backlog(0, 0.0)
        worst = sorted(behind, key=lambda one: -behind[one])[:_MAX_PARTITIONS]
        oldest_s = await _oldest_s(consumer, {one: next_of[one] for one in worst})
        return Backlog(sum(behind.values()), oldest_s, at_least=len(worst) < len(behind))


async def _oldest_s(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> float:
    """Age in seconds of the oldest of the messages at `offsets`."""
    consumer.assign(list(offsets))
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
    stamps: dict[TopicPartition, int] = {}
    while len(stamps) < len(offsets):
        for partition, records in (await consumer.getmany(timeout_ms=200, max_records=_MAX_PARTITIONS)).items():
            stamps.setdefault(partition, records[0].timestamp)
            consumer.pause(partition)
    return max(0.0, HOST_CLOCK.now() - min(stamps.values()) / 1000)


def _broker(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or "://" in text or "/" in text:
        raise SettingError(f"brokers: {text!r} is no broker: write HOST:PORT, for example kafka-1.internal:9092")
    return Address(host.strip("[]"), host.strip("[]"), int(port))


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> KafkaProbe:
    """See `probes.registry.make`."""
    return KafkaProbe(layer, settings, resolve)
