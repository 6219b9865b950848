"""`show` prints the effective config in the config's own syntax: read again, it is the same fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steerd import config
from tests.support.configs import GOOD, ROOT, parse

durations = st.integers(1, 10**6).map(lambda ms: f"{ms * 7}ms") | st.sampled_from(["5s", "2m30s", "1h", "1.25s"])
fractions = st.sampled_from(["80%", "2/3", "0.8", "1/7", "12.5%", "1"]) | st.integers(1, 999).map(
    lambda n: f"{n / 10}%"
)
texts = st.text(min_size=1, max_size=20).filter(lambda s: s.strip() and s.isprintable()) | st.sampled_from(
    [
        "on",
        "no",
        "1:30",
        "2024-01-01",
        "0x10",
        "1e5",
        "null",
        "~",
        "<<",
        "$model",
        "# no",
        "a: b",
        "{x}",
        "1_000",
        "=",
        "'",
        "Łódź",
    ]
)
numbers = st.integers(1, 10**9) | st.floats(0.001, 1e9)
free = st.recursive(
    texts | st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.floats(-1e6, 1e6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["on", "b", "1", "x y"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


checks = optional(
    liveness=optional(
        interval=st.just("5s"), path=texts, status=st.sampled_from([200, "200-299", [200, 204]]), follow=st.booleans()
    ),
    readiness=st.none()
    | st.just({"off": True})
    | optional(timeout=st.just("1s"), slow=durations, headers=st.just({"X": {"env": "X"}})),
    user_path=st.just({"kind": "openai-chat", "api_key": {"file": "/k"}})
    | optional(body=st.dictionaries(texts, free, max_size=2)),
    progress=st.just({"stall": "3s"}),
    port=st.just({"kind": "tcp", "layer": "liveness", "interval": "3s"}),
)
services = optional(
    mode=st.sampled_from(["steer", "observe"]),
    objectives=optional(rto=durations, rpo=durations, ttft=durations, availability=fractions),
    checks=checks,
    depends_on=st.sampled_from([[], ["embedder"], ["vectors", "embedder"]]),
    demand=numbers | st.sampled_from([{"from": "progress"}, {"prometheus": "http://p:9090", "query": "sum(x)"}]),
    routing=st.sampled_from(
        [
            {"mode": "active-active", "prefer": {"eu": "2/3", "us": "1/3"}, "failback": "manual"},
            {"mode": "active-passive", "order": ["us", "eu"], "trickle": "1.5%"},
        ]
    ),
    shortfall=st.sampled_from(["spread", "shed"]),
    activate=st.just(None).flatmap(
        lambda _: free.filter(lambda value: value is not None).map(
            lambda body: {
                "us": [
                    {"scale": {"webhook": "https://s/x", "body": body}, "timeout": "5m"},
                    {"wait_ready": 2, "timeout": "1m"},
                ]
            }
        )
    ),
    version=st.sampled_from([{"header": "X-Version"}, {"url": "/version", "path": "v"}, {"metric": "m", "label": "l"}]),
    ramp=optional(restore_after=durations, drain_steps=st.just(["1/3", "100%"])),
)
routes = st.lists(
    st.sampled_from(
        [
            {"provider": "dns", "name": "Chat.example.net.", "type": "A", "per": "endpoint", "only": ["eu"]},
            {"provider": "dns", "name": "z.example.net", "per": "zone", "ttl": "5s", "targets": {"eu-a": "192.0.2.1"}},
            {
                "provider": "dns",
                "name": "r.example.net",
                "type": "CNAME",
                "per": "region",
                "targets": {"eu": "e.x.net", "us": ["u.x.net"]},
            },
            {"provider": "dns", "name": "g.example.net", "set": "europe", "per": "zone", "prefer": {"eu": "100%"}},
            {"provider": "edge", "backend": "chat", "per": "endpoint", "scope": "eu", "on_drift": "enforce"},
            {"provider": "edge", "backend": "all", "per": "zone", "servers": {"eu-a": "s1"}},
            {"provider": "k8s", "name": "route", "per": "zone", "rule": 3},
        ]
    ),
    unique_by=lambda r: r.get("name", r.get("backend")),
)
rules = optional(
    mode=st.sampled_from(["steer", "observe"]),
    references=st.just(["http://127.0.0.1:1/x"]),
    quorum=optional(
        voices=st.integers(1, 4),
        vantage_regions=st.integers(1, 3),
        down_at=st.sampled_from(["2/3", "51%", "1"]),
        vote_ttl=st.just("20s"),
        confirm_rate=st.sampled_from(["7/m", "50/s", "1/h"]),
    ),
    guards=optional(
        max_utilization=fractions,
        max_zones_drained=st.integers(0, 9),
        dwell=durations,
        max_removed=st.just({"share": "1/3", "per": "7m"}),
    ),
    verdict=optional(fall=st.integers(1, 9), rise=st.integers(1, 9), confirm_gap=durations),
    gray=st.just({"degraded": ["30%", "1/11"], "down": ["60%", "3%"]}),
    damping=optional(penalty=numbers, half_life=st.just("11m")),
    ramp=optional(restore_after=durations, drain_step_every=durations, restore_steps=st.just(["10%", "1"])),
    contacts=st.lists(st.fixed_dictionaries({"name": texts, "phone": texts}), max_size=2),
    alerts=st.just([{"webhook": {"file": "/run/hook"}}, {"webhook": "https://hooks/x", "headers": {"A": "b"}}]),
    telemetry=optional(otlp=st.just("http://o:4318"), prometheus=st.booleans()),
    listen=optional(port=st.integers(0, 65535), socket=texts, host=st.just("127.0.0.1")),
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Whole right configs: the good one with any of its parts replaced."""
    data: dict[str, Any] = yaml.safe_load(GOOD)
    data["providers"]["k8s"] = {"kind": "gateway-api"}
    service = data["services"]["chat"]
    service.update(draw(services))
    service["routes"] = draw(routes)
    service["class"] = draw(st.sampled_from(["interactive", "batch", "internal"]))
    if "activate" in service and draw(st.booleans()):
        del service["activate"]
    data["agents"]["probe-a"] |= draw(
        optional(token=st.just({"env": "TOKEN"}), sees=st.just(["chat-a"]), listen=st.just({"port": 1}))
    )
    data.update(draw(rules))
    return data


def same_again(fleet: Any, base: Path = ROOT) -> None:
    shown = config.show(fleet)
    again = config.parse(shown, "shown.yaml", base)
    assert again == fleet, shown
    assert config.show(again) == shown


@given(configs())
def test_shown_and_read_again_is_the_same(data: dict[str, Any]) -> None:
    same_again(parse(yaml.safe_dump(data, allow_unicode=True)))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_too(path: Path) -> None:
    same_again(config.load(path))


def test_defaults_are_filled_in() -> None:
    shown = yaml.safe_load(config.show(parse(GOOD)))
    assert shown["quorum"]["vote_ttl"] == "15s"
    assert shown["services"]["chat"]["checks"]["liveness"]["path"] == "/health"
    assert shown["services"]["chat"]["ramp"]["restore_after"] == "5m"
    assert shown["quorum"]["vantage_regions"] == 2


def test_no_secret_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EU_DSN", "postgres://u:hunter2@h/d")
    shown = config.show(parse(GOOD))
    assert "{env: EU_DSN}" in shown
    assert "<redacted>" in shown
    assert "hunter2" not in shown


def test_the_hash_is_of_the_meaning() -> None:
    fleet = parse(GOOD)
    same = (
        GOOD.replace("rto: 60s", "rto: 1m").replace("fleet: acme", "# a comment\nfleet: 'acme'").replace("60%", "3/5")
    )
    assert parse(same).config_hash == fleet.config_hash
    assert parse(GOOD.replace("rto: 60s", "rto: 61s")).config_hash != fleet.config_hash
    assert len(fleet.config_hash) == 12


def test_the_hash_is_the_same_everywhere() -> None:
    """A fixed config has a fixed hash: agents and coordinators on different machines compare theirs."""
    one, two = parse(GOOD), parse(GOOD, base=Path("/elsewhere"))
    assert one.config_hash == two.config_hash
