"""Config texts for tests: one whole fleet to bend, and a way to say where a problem must stand."""

from __future__ import annotations

from pathlib import Path

from steerd import config
from steerd.model.fleet import Fleet

__all__ = ["GOOD", "ROOT", "bend", "parse", "problems"]

ROOT = Path(__file__).parents[2]

GOOD = """\
fleet: acme
regions:
  eu: {zones: [eu-a, eu-b]}
  us: {zones: [us-a]}
agents:
  probe-a: {zone: eu-a}
  probe-b: {zone: eu-b}
  probe-c: {zone: us-a}
  probe-x: {zone: outside}
coordinators:
  main: {region: eu, url: "https://steerd.example.net:7443"}
store: {kind: sqlite, path: /tmp/steerd.db}
dependencies:
  embedder: {kind: http, url: "http://embedder.internal/ready"}
  vectors: {kind: postgres, stateful: true, instances: {eu: {dsn: {env: EU_DSN}}, us: {dsn: {env: US_DSN}}}}
providers:
  dns: {kind: rfc2136, server: "127.0.0.1:5300", zone: example.net}
  edge: {kind: haproxy, socket: "unix:/run/haproxy.sock"}
services:
  chat:
    class: interactive
    stack: vllm
    model: big-70b
    objectives: {rto: 60s, ttft: 2s}
    checks:
      liveness: {interval: 5s, timeout: 2s}
      user_path: {kind: openai-chat, interval: 30s}
    depends_on: [embedder]
    demand: 100
    routing: {mode: active-active, prefer: {eu: 60%, us: 40%}}
    endpoints:
      chat-a: {zone: eu-a, url: "http://10.0.1.1:8000", address: 203.0.113.1, capacity: 100}
      chat-b: {zone: eu-b, url: "http://10.0.2.1:8000", address: 203.0.113.2, capacity: 100}
      chat-c: {zone: us-a, url: "http://10.0.3.1:8000", address: 203.0.113.3, capacity: 100}
    routes:
      - {provider: dns, name: chat.example.net, type: A, ttl: 30s, per: zone}
      - {provider: edge, backend: chat, scope: {region: eu}, per: endpoint, servers: {chat-a: s1}}
quorum: {voices: 3}
ramp: {restore_after: 5m}
"""


def bend(old: str, new: str) -> tuple[str, int, int]:
    """`GOOD` with `old` replaced by `new`, and the line and column where `new` has its `§`."""
    assert GOOD.count(old) == 1, f"{old!r} stands {GOOD.count(old)} times"
    text = GOOD.replace(old, new)
    before, _, _ = text.partition("§")
    return text.replace("§", ""), before.count("\n") + 1, len(before) - before.rfind("\n")


def parse(text: str, base: Path = ROOT) -> Fleet:
    """The fleet of a text that must be right."""
    return config.parse(text, "test.yaml", base)


def problems(text: str, base: Path = ROOT) -> list[config.Problem]:
    """What is wrong with a text that must be wrong."""
    try:
        config.parse(text, "test.yaml", base)
    except config.ConfigError as error:
        return list(error.problems)
    raise AssertionError("this config should be wrong")
