"""Wrong configs: each is told at its place, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd import config
from tests.support.configs import GOOD, bend, parse, problems

DNS_ROUTE = "      - {provider: dns, name: chat.example.net, type: A, ttl: 30s, per: zone}"
EDGE_ROUTE = "      - {provider: edge, backend: chat, scope: {region: eu}, per: endpoint, servers: {chat-a: s1}}"
EMBEDDER = 'embedder: {kind: http, url: "http://embedder.internal/ready"}'
ROUTING = "    routing: {mode: active-active, prefer: {eu: 60%, us: 40%}}"

# id: (what is replaced, by what, with § where the problem must stand; what the message must say)
WRONG: dict[str, tuple[str, str, str]] = {
    "syntax": ("fleet: acme\n", "fleet: acme\n§}\n", "not valid YAML"),
    "tab": ("  eu: {zones", "§\teu: {zones", "not valid YAML"),
    "root-key": ("quorum: {", "§quorom: {", "did you mean 'quorum'?"),
    "duplicate-key": ("ramp: {", "store: {kind: sqlite}\n§store: {kind: sqlite}\nramp: {", "stands twice"),
    "no-fleet": ("fleet: acme\n", "", "`fleet` is missing"),
    "bad-name": ("fleet: acme", "fleet: §a/b", "is not a name"),
    "empty-section": ("quorum: {voices: 3}", "§quorum:", "has no value"),
    "list-for-map": ("  eu: {zones: [eu-a, eu-b]}", "  eu: §[eu-a, eu-b]", "a list where a region belongs"),
    "map-for-list": ("  us: {zones: [us-a]}", "  us: {zones: §{us-a: 1}}", "a list of zones belongs"),
    "tagged": ("fleet: acme", "fleet: §!!python/object:os.system acme", "means nothing here"),
    "alias": ("fleet: acme", "fleet: §*other", "has no anchor &other"),
    "zone-twice": ("  us: {zones: [us-a]}", "  us: {zones: [§eu-a]}", "taken by a zone (line 3)"),
    "name-of-two-kinds": ("  probe-a: {", "  §eu: {", "taken by a region"),
    "service-named-as-endpoint": ("\n      chat-a: {zone", "\n      §chat: {zone", "taken by a service"),
    "no-such-zone": ("chat-b: {zone: eu-b", "chat-b: {zone: §eu-bb", "did you mean 'eu-b'?"),
    "url-twice": ('"http://10.0.2.1:8000"', '§"http://10.0.1.1:8000/"', "endpoint 'chat-a' has this URL too"),
    "url-scheme": ('"http://10.0.2.1:8000"', '§"10.0.2.1:8000"', "write https://HOST:PORT"),
    "url-password": ('"http://10.0.2.1:8000"', '§"http://me:s3cr3t@10.0.2.1:8000"', "holds credentials"),
    "ipv6-as-address": ("address: 203.0.113.2", "address: §2001:db8::1", "belongs under `address6`"),
    "not-an-address": ("address: 203.0.113.2", "address: §203.0.113.300", "is not an IPv4 address"),
    "no-capacity": (", address: 203.0.113.2, capacity: 100", ", address: 203.0.113.2", "has no `capacity`"),
    "zero-capacity": ("203.0.113.2, capacity: 100", "203.0.113.2, capacity: §0", "a number above 0"),
    "coordinator-region": (
        "main: {region: eu,",
        "main: {region: §eux,",
        "there is no region 'eux'; did you mean 'eu'?",
    ),
    "coordinator-url": ('"https://steerd.example.net:7443"', "§steerd:7443", "is not a URL"),
    "two-coordinators-on-sqlite": (
        "store: {kind: sqlite",
        '  §second: {region: us, url: "https://other.example.net"}\nstore: {kind: sqlite',
        "serves exactly one coordinator",
    ),
    "store-kind": ("{kind: sqlite,", "{kind: §sqlight,", "did you mean 'sqlite'?"),
    "store-key": ("path: /tmp/steerd.db", "§pat: /tmp/steerd.db", "did you mean 'path'?"),
    "etcd-without-endpoints": (
        "store: {kind: sqlite, path: /tmp/steerd.db}",
        "store: §{kind: etcd}",
        "`endpoints` is missing",
    ),
    "provider-kind": ("{kind: rfc2136,", "{kind: §rfc2163,", "did you mean 'rfc2136'?"),
    "provider-setting": (
        "zone: example.net}",
        "zone: example.net, §algorythm: hmac-sha256}",
        "did you mean 'algorithm'?",
    ),
    "provider-choice": ("zone: example.net}", "zone: example.net, algorithm: §md4}", "is none of the choices"),
    "provider-region": (
        'socket: "unix:/run/haproxy.sock"}',
        'socket: "unix:/x", region: §us}',
        "no coordinator is in region 'us'",
    ),
    "secret-in-the-open": ("zone: example.net}", "zone: example.net, secret: §hunter2}", "{file: PATH} or {env: NAME}"),
    "token-in-the-open": (
        "probe-a: {zone: eu-a}",
        "probe-a: {zone: eu-a, token: §hunter2}",
        "{file: PATH} or {env: NAME}",
    ),
    "header-in-the-open": (
        "liveness: {interval: 5s",
        "liveness: {headers: {Authorization: §Bearer hunter2}, interval: 5s",
        "looks like a secret",
    ),
    "sees-nobody": ("probe-a: {zone: eu-a}", "probe-a: {zone: eu-a, sees: [§chatt]}", "did you mean 'chat'?"),
    "class": ("class: interactive", "class: §interactiv", "did you mean 'interactive'?"),
    "stack": ("stack: vllm", "stack: §vlm", "did you mean 'vllm'?"),
    "no-model": ("    model: big-70b\n", "", "`model` is missing"),
    "check-kind": ("{kind: openai-chat,", "{kind: §openai-chats,", "did you mean 'openai-chat'?"),
    "check-key": ("{interval: 5s, timeout: 2s}", "{interval: 5s, §timout: 2s}", "did you mean 'timeout'?"),
    "check-unknown": ("      liveness: {", "      extra: §{interval: 5s}\n      liveness: {", "needs a `kind`"),
    "check-off-unknown": (
        "      liveness: {",
        "      §extra: null\n      liveness: {",
        "no check 'extra' to switch off",
    ),
    "check-off-and-more": ("liveness: {interval: 5s", "liveness: {§off: true, interval: 5s", "keep one or the other"),
    "check-pattern": ("liveness: {interval: 5s", "liveness: {pattern: §'(', interval: 5s", "not a regular expression"),
    "check-prompts": (
        "{kind: openai-chat, interval: 30s}",
        "{kind: openai-chat, prompts: §[{ask: hi, expect: '['}]}",
        "not a regular expression",
    ),
    "timeout-over-interval": ("timeout: 2s}", "timeout: §6s}", "over the interval of 5s"),
    "duration-without-unit": ("{interval: 5s", "{interval: §5", "write 5s or 5ms"),
    "duration-words": ("rto: 60s", "rto: §1 minute", "write 250ms, 5s, 10m"),
    "fraction-over-one": ("prefer: {eu: 60%", "prefer: {eu: §60", "write 60%"),
    "prefer-sum": ("{eu: 60%, us: 40%}", "§{eu: 60%, us: 30%}", "sum to 90%"),
    "prefer-region": ("{eu: 60%, us: 40%}", "{eu: 60%, §uss: 40%}", "did you mean 'us'?"),
    "dependency": ("depends_on: [embedder]", "depends_on: [§embeder]", "did you mean 'embedder'?"),
    "dependency-nowhere": (
        '  embedder: {kind: http, url: "http://embedder.internal/ready"}',
        "  §embedder: {kind: http}",
        "where it is",
    ),
    "dependency-redis-unit": (
        EMBEDDER,
        'embedder: {kind: redis, url: "redis://cache:6379", slow: §5}',
        "not a duration",
    ),
    "dependency-redis-key": (
        EMBEDDER,
        'embedder: {kind: redis, url: "redis://cache:6379", §passwort: {env: P}}',
        "did you mean 'password'?",
    ),
    "dependency-redis-password": (
        EMBEDDER,
        'embedder: {kind: redis, url: §"redis://:hunter2@cache:6379"}',
        "holds credentials",
    ),
    "dependency-redis-scheme": (
        EMBEDDER,
        'embedder: {kind: redis, url: §"http://cache:6379"}',
        "redis",
    ),
    "dependency-secret-in-the-open": (
        EMBEDDER,
        'embedder: {kind: redis, url: "redis://cache:6379", password: §hunter2}',
        "{env: NAME}",
    ),
    "dependency-needs": (
        EMBEDDER,
        'embedder: {kind: kafka, brokers: ["k:9092"], topic: jobs, max_age: §5m}',
        "`max_age` needs `group` beside it",
    ),
    "dependency-age-unit": (
        EMBEDDER,
        "embedder: {kind: sqs, queue: jobs, max_age: §300}",
        "not a duration",
    ),
    "dependency-threshold": (
        EMBEDDER,
        'embedder: {kind: prometheus, url: "http://prometheus:9090", query: up, above: §high}',
        "number",
    ),
    "dependency-query": (
        EMBEDDER,
        '§embedder: {kind: prometheus, url: "http://prometheus:9090"}',
        "`query` is missing",
    ),
    "dependency-choice": (
        EMBEDDER,
        'embedder: {kind: kafka, brokers: ["k:9092"], sasl: §GSSAPI}',
        "PLAIN",
    ),
    "dependency-instance-region": ("instances: {eu: {dsn", "instances: {§eux: {dsn", "did you mean 'eu'?"),
    "dependency-instance-key": ("{eu: {dsn: {env: EU_DSN}}", "{eu: {§dns: {env: EU_DSN}}", "did you mean 'dsn'?"),
    "fallback-misspelt": (ROUTING, ROUTING + "\n    fallback: §chatt", "did you mean 'chat'?"),
    "fallback-circle": (ROUTING, ROUTING + "\n    fallback: §chat", "circle: chat -> chat"),
    "order-with-active-active": (ROUTING, "    routing: {§order: [eu, us]}", "`mode: active-passive` only"),
    "trickle-with-active-active": (ROUTING, "    routing: {§trickle: 1%}", "`mode: active-passive` only"),
    "passive-without-order": (ROUTING, "    routing: {mode: §active-passive}", "order: [eu, us]"),
    "passive-order-lacks": (ROUTING, "    routing: {mode: active-passive, order: §[eu]}", "`order` lacks us"),
    "passive-prefer": (
        ROUTING,
        "    routing: {mode: active-passive, order: [eu, us], §prefer: {eu: 100%}}",
        "with active-passive `order` decides",
    ),
    "routing-mode": ("mode: active-active", "mode: §active", "did you mean 'active-active'?"),
    "activate-step": (ROUTING, ROUTING + "\n    activate: {us: [§{timeout: 5m}]}", "exactly one of scale"),
    "activate-timeout": (ROUTING, ROUTING + "\n    activate: {us: [§{wait_ready: 2}]}", "`timeout` is missing"),
    "activate-lag": (
        ROUTING,
        ROUTING + "\n    activate: {us: [{wait_lag: §vectors, timeout: 5m}]}",
        "does not depend on",
    ),
    "activate-region": (
        ROUTING,
        ROUTING + "\n    activate: {§use: [{wait_ready: 2, timeout: 5m}]}",
        "did you mean 'us'?",
    ),
    "demand-half": ("demand: 100", 'demand: §{prometheus: "http://p:9090"}', "belong together"),
    "demand-negative": ("demand: 100", "demand: §-1", "a number of at least 0"),
    "route-provider": ("{provider: dns,", "{provider: §dnss,", "did you mean 'dns'?"),
    "route-key": ("ttl: 30s, per: zone", "ttl: 30s, per: zone, §scop: eu", "did you mean 'scope'?"),
    "route-per": ("ttl: 30s, per: zone", "ttl: 30s, per: §zones", "did you mean 'zone'?"),
    "route-ttl": ("ttl: 30s,", "ttl: §1500ms,", "whole number of seconds"),
    "route-name": ("name: chat.example.net", "name: §chat_1", "full name of a record"),
    "route-outside-zone": ("name: chat.example.net", "name: §chat.example.org", "outside the zone"),
    "route-backend-for-dns": ("{provider: dns, name:", "{provider: dns, §backend:", "takes `name`, not `backend`"),
    "route-ttl-for-haproxy": ("per: endpoint, servers", "per: endpoint, §ttl: 5s, servers", "is for DNS records"),
    "route-server-unknown": ("servers: {chat-a: s1}", "servers: {§chat-aa: s1}", "did you mean 'chat-a'?"),
    "route-server-twice": ("servers: {chat-a: s1}", "servers: §{chat-a: s1, chat-b: s1}", "both 's1'"),
    "route-scope": ("scope: {region: eu}", "scope: {region: §ue}", "there is no such region or zone"),
    "route-scope-split": (
        "scope: {region: eu}, per: endpoint",
        "scope: {region: eu}, per: §region",
        "nothing to split per region",
    ),
    "route-twice": (
        DNS_ROUTE,
        DNS_ROUTE + "\n" + DNS_ROUTE.replace("name: ", "name: §"),
        "written by this service already",
    ),
    "backend-twice": (
        EDGE_ROUTE,
        EDGE_ROUTE + "\n" + EDGE_ROUTE.replace("backend: ", "backend: §"),
        "each has one owner",
    ),
    "route-cname-without-targets": (
        DNS_ROUTE,
        "      - §{provider: dns, name: chat.example.net, type: CNAME, per: region}",
        "add eu to `targets`",
    ),
    "route-cname-to-address": (
        DNS_ROUTE,
        "      - {provider: dns, name: c.example.net, type: CNAME, per: region, targets: {eu: §192.0.2.1, us: us.example.net}}",
        "takes names",
    ),
    "route-cname-and-a": ("type: A,", "type: §[A, CNAME],", "stands alone"),
    "route-aaaa-without-address6": (
        "      - {provider: dns, name: chat.example.net, type: A,",
        "      - §{provider: dns, name: chat.example.net, type: AAAA,",
        "`address6`",
    ),
    "route-target-type": (
        "ttl: 30s, per: zone}",
        "ttl: 30s, per: zone, targets: {eu-a: §2001:db8::1}}",
        "is not an IPv4 address",
    ),
    "route-target-unknown": (
        "ttl: 30s, per: zone}",
        "ttl: 30s, per: zone, targets: {§eu-z: 192.0.2.9}}",
        "no zone of this route",
    ),
    "route-same-address": (
        "ttl: 30s, per: zone}",
        "ttl: 30s, per: zone, targets: {eu-a: 203.0.113.2}}",
        "are both '203.0.113.2'",
    ),
    "route-only": ("ttl: 30s, per: zone}", "ttl: 30s, per: zone, only: [§asia]}", "there is no region 'asia'"),
    "route-extra-key": ("ttl: 30s, per: zone}", "ttl: 30s, per: zone, §rule: x}", "is for routes of kind elbv2"),
    "quorum-voices": ("quorum: {voices: 3}", "quorum: {voices: §5}", "4 vantage zones and a decision needs 5"),
    "quorum-regions": ("quorum: {voices: 3}", "quorum: {vantage_regions: §4}", "3 vantage regions, not 4"),
    "quorum-order": ("quorum: {voices: 3}", "quorum: {up_at: §70%}", "must be below `down_at`"),
    "quorum-minority": ("quorum: {voices: 3}", "quorum: {down_at: §1/3}", "above 1/2"),
    "quorum-rate": ("quorum: {voices: 3}", "quorum: {confirm_rate: §50}", "write 50/s"),
    "ramp-steps": (
        "ramp: {restore_after: 5m}",
        "ramp: {restore_steps: §[50%, 25%, 100%]}",
        "must rise and end at 100%",
    ),
    "gray-pair": ("ramp: {restore_after: 5m}", "gray: {down: §[10%, 50%]}", "ENTER above LEAVE"),
    "damping-order": ("ramp: {restore_after: 5m}", "damping: §{reuse: 5000}", "reuse < suppress <= max"),
    "guards-removed": ("ramp: {restore_after: 5m}", "guards: {max_removed: §{share: 50%}}", "belong together"),
    "listen-open": ("ramp: {restore_after: 5m}", "listen: {host: §0.0.0.0}", "`insecure: true`"),
    "listen-tls": ("ramp: {restore_after: 5m}", "listen: {host: 0.0.0.0, tls: §{cert: c.pem}}", "`key` is missing"),
    "contact": ("ramp: {restore_after: 5m}", "contacts: [§{name: me}]", "a `phone` or a `url`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_told_at_its_place(name: str) -> None:
    old, new, needle = WRONG[name]
    text, line, column = bend(old, new)
    found = problems(text)
    right = [p for p in found if needle in p.text]
    assert right, f"no problem says {needle!r}: {[str(p) for p in found]}"
    if "§" in new:
        assert (line, column) in {(p.line, p.column) for p in right}, (
            f"expected {line}:{column}, got {[str(p) for p in right]}"
        )
    assert all(p.file == "test.yaml" for p in found)


@pytest.mark.parametrize("name", WRONG)
def test_one_mistake_is_one_problem(name: str) -> None:
    """A mistake is not reported again and again by everything that rests on it (three places at most)."""
    text, _, _ = bend(*WRONG[name][:2])
    assert len(problems(text)) <= 3, [str(p) for p in problems(text)]


def test_there_are_enough_of_them() -> None:
    assert len(WRONG) >= 40


def test_the_good_one_is_good() -> None:
    assert parse(GOOD).name == "acme"


def test_every_problem_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace("zone: eu-b, url", "zone: eu-x, url")
        .replace("per: zone}", "per: zon}")
        .replace("rto: 60s", "rto: 60")
    )
    found = problems(text)
    assert [p.line for p in found] == sorted(p.line for p in found)
    assert len({p.line for p in found}) == 3


def test_a_problem_reads_as_file_line_column() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.parse("fleet: a/b\n", "conf/x.yaml", Path())
    assert str(caught.value.problems[-1]).startswith("conf/x.yaml:1:8: 'a/b' is not a name: ")
    assert str(caught.value).splitlines() == [str(p) for p in caught.value.problems]


@pytest.mark.parametrize("name", [n for n in WRONG if "open" in n or "password" in n])
def test_a_secret_in_the_open_is_never_repeated(name: str) -> None:
    text, _, _ = bend(*WRONG[name][:2])
    said = "\n".join(str(p) for p in problems(text))
    assert "hunter2" not in said
    assert "s3cr3t" not in said
