"""What every kind of dependency is called and what it may be told. Data only; imports no client library."""

from __future__ import annotations

from probes.kinds import Kind, Setting
from probes.settings_common import COMMON_HTTP, COMMON_TLS

__all__ = ["DEPENDENCIES"]

_DSN = Setting("dsn", "secret", "connection string, by reference")
_HOST = Setting("host", "string", "host to connect to, instead of the URL's")
_PORT = Setting("port", "int", "port to connect to, instead of the URL's")
_USER = Setting("user", "string", "user to log in as")
_PASSWORD = Setting("password", "secret", "password, by reference")
_SLOW = Setting("slow", "duration", "an answer that takes longer is SLOW")
_DEAD = Setting("dead_letters", "string", "where dead letters go; that they grow fails the look")
_DEAD_FOR = Setting("dead_letters_for", "duration", "how long growth of the dead letters counts", 600.0)
_AWS = (
    Setting("region", "string", "AWS region; default the environment's"),
    Setting("profile", "string", "AWS profile; default the environment's, or the role of the machine"),
    Setting("access_key", "string", "access key id, instead of a profile or role", needs=("secret_key",)),
    Setting("secret_key", "secret", "its secret, by reference", needs=("access_key",)),
    Setting("endpoint_url", "url", "another address of the service"),
    Setting("ca", "path", "file of the authorities to trust, instead of this host's"),
)


def _url(*schemes: str) -> Setting:
    forms = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
    return Setting("url", "url", f"where to look, as {forms}, instead of the endpoint's URL", choices=schemes)


# Without `server_name`, for clients that ask for the name they connect to and no other.
_OWN_NAME_TLS = tuple(setting for setting in COMMON_TLS if setting.name != "server_name")


def _login(*schemes: str, tls: tuple[Setting, ...] = COMMON_TLS) -> tuple[Setting, ...]:
    return (_url(*schemes), _DSN, _HOST, _PORT, _USER, _PASSWORD, _SLOW, *tls)


def _backlog(*needs: str) -> tuple[Setting, ...]:
    return (
        Setting("max_depth", "int", "more messages waiting than this are SATURATED", needs=needs),
        Setting("max_age", "duration", "a message that waits longer than this fails the look", needs=needs),
        _DEAD,
        _DEAD_FOR,
    )


def _vector(name: str, text: str, path: str) -> Kind:
    return Kind(name, text, (Setting("path", "string", "path of its readiness", path), _SLOW, *COMMON_HTTP))


_GRPC = Kind(
    "grpc",
    "The health service of gRPC (grpc.health.v1); a server without it is an ERROR",
    (
        _url("grpc", "grpcs"),
        _HOST,
        _PORT,
        Setting("service", "string", "service name to ask for; without it the server as a whole", ""),
        Setting("tls", "bool", "use TLS; default by the URL's scheme"),
        _SLOW,
        *COMMON_TLS,
    ),
    extra="grpc",
    modules=("grpc",),
)

_KSERVE = Kind(
    "kserve-grpc",
    "The open inference protocol over gRPC (KServe, Triton): the server, the model, or one inference",
    (
        _url("grpc", "grpcs"),
        _HOST,
        _PORT,
        Setting(
            "ask",
            "string",
            "ServerLive, ServerReady, ModelReady, or ModelInfer with `inputs`",
            "ready",
            choices=("live", "ready", "model", "infer"),
        ),
        Setting("model", "string", "model id to ask for; $model stands for the service's", "$model"),
        Setting("inputs", "any", "tensors to send: a list of {name, shape, datatype, data}"),
        Setting("json", "any", "conditions on the answer as it is over HTTP: {path: outputs.0.data.0, equals: 4}"),
        Setting("headers", "map", "further metadata; a value may be {env: NAME} or {file: PATH}"),
        Setting("api_key", "secret", "sent as `authorization: Bearer ...`"),
        Setting("tls", "bool", "use TLS; default by the URL's scheme"),
        _SLOW,
        *COMMON_TLS,
    ),
    extra="grpc",
    modules=("grpc",),
)

_REDIS = Kind(
    "redis",
    "PING, loading state and replica link; replication lag is a reading and never fails",
    _login("redis", "rediss"),
    extra="redis",
    modules=("redis",),
)

_POSTGRES = Kind(
    "postgres",
    "A query; replication lag is a reading and never fails. TLS is verified unless `dsn` has an sslmode",
    (
        *_login("postgresql", tls=_OWN_NAME_TLS),
        Setting("query", "string", "query that must succeed", "SELECT 1"),
    ),
    extra="postgres",
    modules=("asyncpg",),
)

_RABBITMQ = Kind(
    "rabbitmq",
    "Alarms of the broker, depth and age of a queue, dead letters, by the management plugin's API",
    (
        *_login("http", "https"),
        Setting("vhost", "string", "virtual host", "/"),
        Setting("queue", "string", "queue to watch"),
        *_backlog("queue"),
    ),
)

_NATS = Kind(
    "nats-jetstream",
    "A stream, what waits for a consumer and for how long, dead letters",
    (
        *_login("nats", "tls"),
        Setting("token", "secret", "token, by reference"),
        Setting("stream", "string", "stream to watch"),
        Setting(
            "consumer",
            "string",
            "consumer of it to watch; without it everything in the stream waits",
            needs=("stream",),
        ),
        *_backlog("stream"),
    ),
    extra="nats",
    modules=("nats",),
)

_KAFKA = Kind(
    "kafka",
    "Partitions without a leader, what a consumer group has not read and for how long, dead letters",
    (
        Setting("brokers", "strings", "HOST:PORT of some brokers; the first that answers is asked"),
        Setting("topic", "string", "topic to watch"),
        Setting("group", "string", "consumer group to watch; it is read and never joined", needs=("topic",)),
        Setting("tls", "bool", "use TLS; default when `ca` is given"),
        Setting(
            "sasl",
            "string",
            "mechanism to log in by, when `user` is given",
            "SCRAM-SHA-512",
            choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        ),
        _USER,
        _PASSWORD,
        _SLOW,
        *_backlog("topic", "group"),
        *_OWN_NAME_TLS,
    ),
    extra="kafka",
    modules=("aiokafka",),
)

_SQS = Kind(
    "sqs",
    "Depth of a queue, dead letters, and from CloudWatch the age of the oldest message",
    (
        Setting("url", "url", "the queue's URL, instead of `queue`", choices=("http", "https")),
        Setting("queue", "string", "queue name or URL"),
        Setting("cloudwatch_url", "url", "another address of CloudWatch, which has the age"),
        _SLOW,
        *_backlog(),
        *_AWS,
    ),
    extra="aws",
    modules=("botocore",),
)

_S3 = Kind(
    "s3",
    "A canary object, and the age of the newest object under a prefix",
    (
        Setting("bucket", "string", "bucket", required=True),
        Setting("object", "string", "key of an object to read"),
        Setting("prefix", "string", "prefix whose newest object must be recent enough", needs=("max_age",)),
        Setting("max_age", "duration", "how old the newest object under `prefix` may be", needs=("prefix",)),
        _SLOW,
        *_AWS,
    ),
    extra="aws",
    modules=("botocore",),
)

_DCGM = Kind(
    "dcgm",
    "GPU faults from dcgm-exporter's metrics: new XID errors, and GPUs busy without drawing power",
    (
        Setting("path", "string", "path of the metrics", "/metrics"),
        Setting("xids", "any", "XID errors that count", (48, 79)),
        Setting("gpus", "strings", "GPUs that count, by index, UUID or device; default all"),
        Setting("hold", "duration", "how long a new XID counts", 3600.0),
        Setting("stall", "duration", "busy without drawing power for this long is a hang", 60.0),
        Setting("low_power", "float", "watts below which a busy GPU hangs; default 30% of its exported power limit"),
        *COMMON_HTTP,
    ),
)

_PROMETHEUS = Kind(
    "prometheus",
    "Any query with a threshold; a Prometheus that cannot be asked is an ERROR and blames nobody",
    (
        Setting(
            "query", "string", "PromQL query; every value of its answer must be within the thresholds", required=True
        ),
        Setting("above", "float", "fails above this value"),
        Setting("below", "float", "fails below this value"),
        Setting("empty", "string", "what an answer without data is", "error", choices=("error", "pass", "fail")),
        _SLOW,
        *COMMON_HTTP,
    ),
)

_ICMP = Kind(
    "icmp",
    "One echo request, by the unprivileged socket (net.ipv4.ping_group_range) or with CAP_NET_RAW",
    (_HOST, _SLOW),
)

DEPENDENCIES: tuple[Kind, ...] = (
    _GRPC,
    _KSERVE,
    _REDIS,
    _POSTGRES,
    _RABBITMQ,
    _NATS,
    _KAFKA,
    _SQS,
    _vector("qdrant", "Readiness of Qdrant", "/readyz"),
    _vector("milvus", "Readiness of Milvus", "/healthz"),
    _vector("weaviate", "Readiness of Weaviate", "/v1/.well-known/ready"),
    _S3,
    _DCGM,
    _PROMETHEUS,
    _ICMP,
)
