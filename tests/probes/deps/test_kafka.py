"""`kafka` on the protocol's level: the client against librdkafka's mock brokers. Logins are out of their reach."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from probes.outcome import Status
from probes.registry import make
from tests.support.kafka_broker import Kafka
from tests.support.looking import Look
from tests.support.servers import free_port


@pytest.fixture(scope="module")
def kafka() -> Kafka:
    return Kafka()


async def commit(kafka: Kafka, topic: str, group: str, offset: int, partition: int = 0) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    where = TopicPartition(topic, partition)
    consumer.assign([where])
    await consumer.commit({where: offset})
    await consumer.stop()


async def test_a_topic_is_there(look: Look, kafka: Kafka) -> None:
    kafka.write("plain", 1)
    outcome = await look("kafka", "", {"brokers": [kafka.address], "topic": "plain"}, within_s=10)
    assert (outcome.status, outcome.readings) == (Status.PASS, {}), outcome
    assert (await look("kafka", kafka.address, {}, within_s=10)).status is Status.PASS
    # The first broker is dead, and the next is asked.
    brokers = [f"127.0.0.1:{free_port()}", kafka.address]
    assert (await look("kafka", "", {"brokers": brokers}, within_s=10)).status is Status.PASS


async def test_what_a_group_has_not_read(look: Look, kafka: Kafka) -> None:
    kafka.write("jobs", 3, age_s=100)
    kafka.write("jobs", 2, partition=1, age_s=500)
    await commit(kafka, "jobs", "workers", 1)
    settings = {"brokers": [kafka.address], "topic": "jobs", "group": "workers"}
    outcome = await look("kafka", "", settings, within_s=10)
    assert (outcome.status, outcome.readings["depth"]) == (Status.PASS, 4), outcome
    assert 500 <= outcome.readings["oldest_age_s"] < 560
    assert (await look("kafka", "", {**settings, "max_depth": 3}, within_s=10)).status is Status.SATURATED
    await commit(kafka, "jobs", "workers", 2, partition=1)
    outcome = await look("kafka", "", {**settings, "max_age": 60.0}, within_s=10)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "the oldest message waits too long"), outcome
    assert 100 <= outcome.readings["oldest_age_s"] < 160
    await commit(kafka, "jobs", "workers", 3)
    outcome = await look("kafka", "", {**settings, "max_age": 60.0}, within_s=10)
    assert (outcome.status, outcome.readings) == (Status.PASS, {"depth": 0, "oldest_age_s": 0}), outcome


async def test_looking_joins_no_group_and_commits_nothing(look: Look, kafka: Kafka) -> None:
    kafka.write("quiet", 2)
    await commit(kafka, "quiet", "readers", 1)
    settings = {"brokers": [kafka.address], "topic": "quiet", "group": "readers", "max_age": 3600.0}
    for _ in range(2):
        assert (await look("kafka", "", settings, within_s=10)).readings["depth"] == 1
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id="readers", enable_auto_commit=False)
    await consumer.start()
    assert await consumer.committed(TopicPartition("quiet", 0)) == 1
    await consumer.stop()


async def test_dead_letters_that_grow(look: Look, kafka: Kafka) -> None:
    kafka.write("dead", 1)
    settings = {"brokers": [kafka.address], "dead_letters": "dead", "dead_letters_for": 60.0}
    assert (await look("kafka", "", settings, within_s=10)).readings == {"depth": 0, "dead_letters": 1}
    kafka.write("dead", 2, partition=3)
    outcome = await look("kafka", "", settings, within_s=10)
    assert (outcome.status, outcome.reason, outcome.readings["dead_letters"]) == (Status.FAIL, "dead letters grow", 3)


async def test_what_never_was_blames_nobody_and_is_not_created(look: Look, kafka: Kafka) -> None:
    kafka.write("known", 1)
    outcome = await look("kafka", "", {"brokers": [kafka.address], "topic": "unknown"}, within_s=10)
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no topic 'unknown'"), outcome
    outcome = await look("kafka", "", {"brokers": [kafka.address], "topic": "known", "group": "nobody"}, within_s=10)
    assert (outcome.status, "'nobody'" in (outcome.reason or "")) == (Status.ERROR, True), outcome
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    assert "unknown" not in await admin.list_topics()
    await admin.close()


async def test_nobody_there(look: Look) -> None:
    outcome = await look("kafka", "", {"brokers": [f"127.0.0.1:{free_port()}"]})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


async def test_nobody_answers_and_somebody_hangs_up(look: Look, serve) -> None:  # type: ignore[no-untyped-def]
    async def silent(reader, writer):  # type: ignore[no-untyped-def]
        await reader.read()

    async def rude(reader, writer):  # type: ignore[no-untyped-def]
        await reader.read(1)

    outcome = await look("kafka", "", {"brokers": [f"127.0.0.1:{await serve(silent)}"]}, within_s=0.5)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True), outcome
    outcome = await look("kafka", "", {"brokers": [f"127.0.0.1:{await serve(rude)}"]}, within_s=5)
    assert (outcome.status, outcome.transport) == (Status.FAIL, True), outcome
    settings = {"brokers": [f"127.0.0.1:{await serve(rude)}"], "user": "u", "password": ("ref",)}
    outcome = await look("kafka", "", settings, within_s=5, resolve=lambda _: "hide-me")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "credentials refused"), outcome
    assert "hide-me" not in str(outcome)


@pytest.mark.parametrize(
    ("settings", "needle"),
    [
        ({"brokers": ["kafka-1"]}, "HOST:PORT"),
        ({"brokers": ["https://kafka-1:9092"]}, "HOST:PORT"),
        ({"brokers": ["k:1"], "topic": "t", "max_depth": 3}, "group"),
        ({"brokers": ["k:1"], "group": "g"}, "topic"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], needle: str) -> None:
    with pytest.raises(ValueError, match=needle):
        make("kafka", "dependency", settings, str)
