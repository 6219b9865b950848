"""Prometheus text and OTLP carry the same meters: names, units, labels and values."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from steerd.telemetry.gauges import Sample
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry, CoordinatorTelemetry
from tests.support.otlp import Collector, attributes
from tests.support.wait import until

STATUS = {
    "services": {
        "chat": {
            "demand": 300,
            "capacity": 420.0,
            "utilization": 0.71,
            "regions": {"eu-west-1": {"health": "degraded", "share": 0.5}},
            "zones": {"eu-west-1a": {"health": "down", "share": 0.0}},
            "endpoints": {
                "chat-1": {"health": "down", "share": 0.0},
                "chat-2": {"health": "healthy", "share": None},
            },
            "routes": [
                {"provider": "r53", "name": "chat.example", "drift": {"eu-west-1a": 5}},
                {"provider": "edge", "name": "chat", "drift": {}},
            ],
        },
        "embed": {"demand": None, "endpoints": {}},
    },
    "drains": [{"name": "eu-west-1a", "by": "automatic"}, {"name": "us", "by": "ann"}, {"name": "de", "by": "bob"}],
    "agents": {"euw1a": {"zone": "eu-west-1a", "state": "voting", "age_s": 0.4}, "fra": {"age_s": None}},
}


@dataclass
class Stages:
    first_token_s: float | None = None


@dataclass
class Look:
    status: str = "PASS"
    duration_s: float = 0.004
    stages: Stages = field(default_factory=Stages)
    tokens: int = 0
    readings: Mapping[str, float] = field(default_factory=dict)


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(text: bytes) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_prometheus_shows_the_agents_meters() -> None:
    meters = Meters()
    agent = AgentTelemetry(meters)
    for _ in range(3):
        agent.on_look("chat-1", "chat", "eu-west-1a", "liveness", outcome=Look(), delay_s=0.002)
    slow = Look("SLOW", 2.2, Stages(1.9), 17)
    agent.on_look("chat-1", "chat", "eu-west-1a", "user_path", outcome=slow, delay_s=0.0)
    agent.on_loop_lag(0.3)
    agent.on_missed(2)
    agent.on_abstain("loop lag")
    agent.on_stream("euw1", "connected", "")
    agent.on_stream("use1", "connected", "")
    agent.on_stream("euw1", "overflow", "")
    agent.on_stream("use1", "disconnected", "reset")
    text, content_type = meters.prometheus()
    assert content_type.startswith("text/plain")
    found = scraped(text)
    at = {"service": "chat", "zone": "eu-west-1a"}
    live = {**at, "check": "liveness", "outcome": "PASS"}
    assert found[key("steerd_check_duration_seconds_count", **live)] == 3
    assert found[key("steerd_check_duration_seconds_sum", **live)] == pytest.approx(0.012)
    assert found[key("steerd_check_duration_seconds_bucket", **live, le="0.0025")] == 0
    assert found[key("steerd_check_duration_seconds_bucket", **live, le="0.005")] == 3
    assert found[key("steerd_check_delay_seconds_count", check="liveness")] == 3
    assert found[key("steerd_check_outcomes_total", **live)] == 3
    assert found[key("steerd_check_outcomes_total", **at, check="user_path", outcome="SLOW")] == 1
    assert found[key("steerd_model_ttft_seconds_sum", **at, source="look")] == pytest.approx(1.9)
    assert found[key("steerd_probe_tokens_total", service="chat")] == 17
    assert found[key("steerd_check_missed_total")] == 2
    assert found[key("steerd_agent_loop_lag_seconds_count")] == 1
    assert found[key("steerd_agent_abstaining")] == 1
    assert found[key("steerd_agent_stream", coordinator="euw1")] == 1
    assert found[key("steerd_agent_stream", coordinator="use1")] == 0
    agent.on_abstain(None)
    assert scraped((await meters.scrape())[0])[key("steerd_agent_abstaining")] == 0
    await meters.close()


async def test_prometheus_shows_the_coordinators_meters() -> None:
    meters = Meters()
    coordinator = CoordinatorTelemetry(meters, lambda: STATUS, lambda _: "chat")
    coordinator.on_leader(True, 7)
    coordinator.on_write("r53", "r53/chat.example", "applied", 0.2)
    coordinator.on_write("r53", "r53/chat.example", "throttled", 0.1)
    coordinator.on_store("persist", 0.003, ok=True)
    found = scraped(meters.prometheus()[0])
    chat = {"service": "chat"}
    assert found[key("steerd_leader")] == 1
    assert found[key("steerd_demand", **chat)] == 300
    assert found[key("steerd_capacity", **chat)] == 420
    assert found[key("steerd_utilization", **chat)] == pytest.approx(0.71)
    assert key("steerd_demand", service="embed") not in found, "unknown is absent, not 0"
    assert found[key("steerd_share", **chat, kind="zone", of="eu-west-1a")] == 0
    assert found[key("steerd_share", **chat, kind="region", of="eu-west-1")] == 0.5
    assert key("steerd_share", **chat, kind="endpoint", of="chat-2") not in found
    assert found[key("steerd_endpoint_health", **chat, endpoint="chat-1", state="down")] == 1
    assert found[key("steerd_endpoint_health", **chat, endpoint="chat-2", state="healthy")] == 1
    assert found[key("steerd_route_drift", provider="r53", route="chat.example")] == 1
    assert found[key("steerd_route_drift", provider="edge", route="chat")] == 0
    assert found[key("steerd_drains", by="automatic")] == 1
    assert found[key("steerd_drains", by="operator")] == 2
    assert found[key("steerd_ballot_age_seconds", agent="euw1a")] == pytest.approx(0.4)
    assert key("steerd_ballot_age_seconds", agent="fra") not in found
    assert found[key("steerd_provider_write_duration_seconds_count", provider="r53")] == 2
    assert found[key("steerd_provider_write_failures_total", provider="r53", result="throttled")] == 1
    assert found[key("steerd_store_duration_seconds_count", op="persist", ok="true")] == 1
    coordinator.on_leader(False, 7)
    assert scraped(meters.prometheus()[0])[key("steerd_leader")] == 0
    await meters.close()


async def test_a_changed_state_leaves_no_stale_series() -> None:
    health = "down"

    def samples() -> Iterator[Sample]:
        yield "steerd.endpoint.health", {"service": "chat", "endpoint": "chat-1", "state": health}, 1.0

    meters = Meters()
    meters.add_source(samples)
    assert b'state="down"' in meters.prometheus()[0]
    health = "healthy"
    text = meters.prometheus()[0]
    assert b'state="healthy"' in text
    assert b'state="down"' not in text
    await meters.close()


async def test_ten_thousand_endpoints_all_have_their_series() -> None:
    meters = Meters()
    meters.add_source(
        lambda: (
            ("steerd.endpoint.health", {"service": "s", "endpoint": f"e{i}", "state": "healthy"}, 1.0)
            for i in range(10_000)
        )
    )
    text, _ = await meters.scrape()
    assert text.count(b"steerd_endpoint_health{") == 10_000
    assert b"overflow" not in text
    await meters.close()


async def test_a_source_with_an_unknown_metric_is_a_bug_and_loud() -> None:
    meters = Meters()
    meters.add_source(lambda: [("steerd.nonsense", {}, 1.0)])
    with pytest.raises(KeyError, match=r"steerd\.nonsense"):
        meters.prometheus()


async def test_without_prometheus_there_is_no_text() -> None:
    meters = Meters(prometheus=False)
    AgentTelemetry(meters).on_missed(1)
    assert meters.prometheus()[0] == b""
    await meters.close()


async def test_a_collector_gets_the_same_by_otlp() -> None:
    async with Collector() as collector:
        meters = Meters(
            prometheus=False, otlp=collector.url, identity={"service.instance.id": "euw1a"}, export_every_s=0.02
        )
        agent = AgentTelemetry(meters)
        agent.on_look("chat-1", "chat", "eu-west-1a", "liveness", outcome=Look(), delay_s=0.002)
        CoordinatorTelemetry(meters, lambda: STATUS, lambda _: "chat").on_write("r53", "r", "refused", 0.1)
        running = asyncio.create_task(meters.run())
        await until(lambda: collector.requests >= 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        agent.on_look("chat-1", "chat", "eu-west-1a", "liveness", outcome=Look(), delay_s=0.002)
        await meters.close()
        await meters.close()
        assert collector.resource["service.name"] == "steerd"
        assert collector.resource["service.instance.id"] == "euw1a"
        duration = collector.metrics["steerd.check.duration"]
        assert duration.unit == "s"
        point = duration.histogram.data_points[0]
        assert point.count == 2, "what was measured last is sent on closing"
        assert attributes(point.attributes)["outcome"] == "PASS"
        assert collector.metrics["steerd.check.outcomes"].sum.is_monotonic
        assert collector.metrics["steerd.utilization"].gauge.data_points[0].as_double == pytest.approx(0.71)
        assert collector.metrics["steerd.provider.write.failures"].sum.data_points[0].as_int == 1


async def test_a_collector_that_refuses_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with Collector(status=400) as collector:
        meters = Meters(prometheus=True, otlp=collector.url)
        AgentTelemetry(meters).on_missed(3)
        await meters.push()
        assert collector.requests == 1
        assert "400" in caplog.text
        assert scraped(meters.prometheus()[0])[key("steerd_check_missed_total")] == 3
        await meters.close()
