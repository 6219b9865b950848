"""Probe kinds that are valid config and not written yet.

Their settings are here so that a config that uses them can be checked today; `probes.registry.make` refuses
them by name.
"""

from __future__ import annotations

from probes.catalog import COMMON_HTTP, COMMON_TLS
from probes.kinds import Kind, Setting

__all__ = ["PLANNED"]

_DSN = Setting("dsn", "secret", "connection string, by reference")
_HOST = Setting("host", "string", "host to connect to, instead of the URL's")
_PORT = Setting("port", "int", "port to connect to, instead of the URL's")
_URL = Setting("url", "string", "where to look, instead of the endpoint's URL")
_USER = Setting("user", "string", "user to log in as")
_PASSWORD = Setting("password", "secret", "password, by reference")
_SLOW = Setting("slow", "duration", "an answer that takes longer is SLOW")
_MAX_LAG = Setting("max_lag", "duration", "replication lag that is still well")
_MAX_DEPTH = Setting("max_depth", "int", "messages waiting that are still well")
_MAX_AGE = Setting("max_age", "duration", "age of the oldest message, or of the newest object, that is still well")
_AWS = (
    Setting("region", "string", "AWS region"),
    Setting("profile", "string", "AWS profile"),
    Setting("endpoint_url", "url", "another address of the service"),
)
_LOGIN = (_URL, _DSN, _HOST, _PORT, _USER, _PASSWORD, _SLOW, *COMMON_TLS)


def _later(name: str, text: str, *settings: Setting, extra: str | None = None, modules: tuple[str, ...] = ()) -> Kind:
    return Kind(name, text, settings, built=False, extra=extra, modules=modules)


PLANNED: tuple[Kind, ...] = (
    _later("icmp", "Echo request; needs a privilege or the unprivileged socket", _HOST, _SLOW),
    _later(
        "grpc",
        "The health service of gRPC",
        _URL,
        _HOST,
        _PORT,
        Setting("service", "string", "service name to ask for", ""),
        Setting("tls", "bool", "use TLS"),
        _SLOW,
        *COMMON_TLS,
        extra="grpc",
        modules=("grpc", "grpc_health"),
    ),
    _later("redis", "PING, loading state and replica link", *_LOGIN, _MAX_LAG, extra="redis", modules=("redis",)),
    _later(
        "postgres",
        "A query, and replication lag",
        *_LOGIN,
        Setting("query", "string", "query that must succeed", "SELECT 1"),
        _MAX_LAG,
        extra="postgres",
        modules=("psycopg",),
    ),
    _later(
        "rabbitmq",
        "Queue depth and age of the oldest message",
        *_LOGIN,
        Setting("vhost", "string", "virtual host", "/"),
        Setting("queue", "string", "queue to watch"),
        Setting("dead_letters", "string", "queue of dead letters that must not grow"),
        _MAX_DEPTH,
        _MAX_AGE,
        extra="rabbitmq",
        modules=("aio_pika",),
    ),
    _later(
        "nats-jetstream",
        "Stream state and consumer backlog",
        *_LOGIN,
        Setting("token", "secret", "token, by reference"),
        Setting("stream", "string", "stream to watch"),
        Setting("consumer", "string", "consumer to watch"),
        _MAX_DEPTH,
        _MAX_AGE,
        extra="nats",
        modules=("nats",),
    ),
    _later(
        "kafka",
        "Consumer lag and partitions without a leader",
        Setting("brokers", "strings", "host:port of some brokers"),
        Setting("topic", "string", "topic to watch"),
        Setting("group", "string", "consumer group to watch"),
        *_LOGIN,
        _MAX_DEPTH,
        _MAX_AGE,
        extra="kafka",
        modules=("aiokafka",),
    ),
    _later(
        "sqs",
        "Queue depth, age of the oldest message, dead letters",
        _URL,
        Setting("queue", "string", "queue name or URL"),
        Setting("dead_letters", "string", "queue of dead letters that must not grow"),
        _MAX_DEPTH,
        _MAX_AGE,
        *_AWS,
        extra="aws",
        modules=("boto3",),
    ),
    _later("qdrant", "Readiness of Qdrant", Setting("path", "string", "path", "/readyz"), _SLOW, *COMMON_HTTP),
    _later("milvus", "Readiness of Milvus", Setting("path", "string", "path", "/healthz"), _SLOW, *COMMON_HTTP),
    _later(
        "weaviate",
        "Readiness of Weaviate",
        Setting("path", "string", "path", "/v1/.well-known/ready"),
        _SLOW,
        *COMMON_HTTP,
    ),
    _later(
        "s3",
        "A canary object, and the age of the newest object under a prefix",
        Setting("bucket", "string", "bucket", required=True),
        Setting("object", "string", "object to read"),
        Setting("prefix", "string", "prefix whose newest object must be recent enough"),
        _MAX_AGE,
        _SLOW,
        *_AWS,
        extra="aws",
        modules=("boto3",),
    ),
    _later(
        "dcgm",
        "GPU faults from dcgm-exporter's metrics",
        Setting("path", "string", "path of the metrics", "/metrics"),
        Setting("xids", "any", "XID errors that count", (48, 79)),
        Setting("gpus", "strings", "GPUs that count"),
        *COMMON_HTTP,
    ),
    _later(
        "prometheus",
        "Any query with a threshold",
        Setting("query", "string", "PromQL query", required=True),
        Setting("above", "float", "fails above this value"),
        Setting("below", "float", "fails below this value"),
        _SLOW,
        *COMMON_HTTP,
    ),
)
"""Later kinds, with the extra that will bring their client."""
