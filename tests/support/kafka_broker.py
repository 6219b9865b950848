"""A Kafka cluster as a fixture: librdkafka's own mock brokers, which speak the protocol on real sockets.

No broker comes with Debian or PyPI. These are made by the authors of the C client for its own tests; they keep topics,
offsets and groups, and know no logins.
"""

from __future__ import annotations

import time

from confluent_kafka import Producer

__all__ = ["Kafka"]


class Kafka:
    """One broker with topics of four partitions."""

    def __init__(self) -> None:
        # The brokers live as long as this producer.
        self._producer = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 2})
        broker = next(iter(self._producer.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def write(self, topic: str, count: int, *, partition: int = 0, age_s: float = 0.0) -> None:
        """Messages whose time of creation is `age_s` ago."""
        stamp = int((time.time() - age_s) * 1000)
        for _ in range(count):
            self._producer.produce(topic, b"x", partition=partition, timestamp=stamp)
        assert self._producer.flush(10) == 0
