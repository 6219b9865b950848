"""The observers fit the protocols of those who call them (checked by mypy as well: both sides meet here)."""

from __future__ import annotations

import inspect

from probes.outcome import Layer, Outcome, Stages, Status
from steerd.agent.observer import AgentObserver, NullObserver
from steerd.coordinator.observer import CoordinatorObserver
from steerd.telemetry.kept import LIFE_S, Kept
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry, CoordinatorTelemetry


def methods(cls: type) -> dict[str, list[tuple[str, object]]]:
    return {
        name: [(p.name, p.kind) for p in inspect.signature(member).parameters.values()]
        for name, member in vars(cls).items()
        if name.startswith("on_") and callable(member)
    }


def test_the_agent_can_be_observed() -> None:
    assert methods(AgentTelemetry) == methods(AgentObserver)
    assert methods(NullObserver) == methods(AgentObserver)
    observer: AgentObserver = AgentTelemetry(meters := Meters())
    outcome = Outcome(Status.PASS, Layer.USER_PATH, duration_s=0.5, stages=Stages(first_token_s=0.2), tokens=5)
    observer.on_look("chat-1", "chat", "eu-west-1a", "user_path", outcome=outcome, delay_s=0.0)
    observer.on_error_outcome("chat-1", "chat", "user_path", "key refused", host=False, detail=None)
    observer.on_error_over("chat-1", "chat", "user_path")
    text = meters.prometheus()[0].decode()
    assert 'check="user_path",outcome="PASS",service="chat"' in text
    assert 'steerd_model_ttft_seconds_sum{service="chat",source="look",zone="eu-west-1a"} 0.2' in text


def test_readings_are_shown_while_they_are_new() -> None:
    observer: AgentObserver = AgentTelemetry(meters := Meters())
    seen = {"waiting": 3.0, "kv_cache": 0.5, "engine_ttft_s": 0.4, "engine_inter_token_s": 0.02, "served": 9.0}
    progress = Outcome(Status.PASS, Layer.PROGRESS, readings=seen)
    observer.on_look("chat-1", "chat", "eu-west-1a", "progress", outcome=progress, delay_s=0.0)
    asked = Outcome(Status.PASS, Layer.USER_PATH, readings={"inter_token_s": 0.03}, tokens=5)
    observer.on_look("chat-1", "chat", "eu-west-1a", "user_path", outcome=asked, delay_s=0.0)
    lag = Outcome(Status.PASS, Layer.DEPENDENCY, readings={"lag_s": 2.5})
    observer.on_look("vectors@eu", "chat", "eu-west-1a", "dependency:vectors", outcome=lag, delay_s=0.0)
    text = meters.prometheus()[0].decode()
    for line in (
        'steerd_model_queue{endpoint="chat-1",service="chat"} 3.0',
        'steerd_model_kv_cache{endpoint="chat-1",service="chat"} 0.5',
        'steerd_model_ttft_seconds_sum{service="chat",source="engine",zone="eu-west-1a"} 0.4',
        'steerd_model_inter_token_seconds_sum{service="chat",source="engine",zone="eu-west-1a"} 0.02',
        'steerd_model_inter_token_seconds_sum{service="chat",source="look",zone="eu-west-1a"} 0.03',
        'steerd_dependency_lag_seconds{dependency="vectors@eu"} 2.5',
        'steerd_probe_tokens_total{service="chat"} 5.0',
    ):
        assert line in text, text


def test_a_reading_that_is_old_is_shown_no_longer() -> None:
    now = [0.0]
    kept = Kept(lambda: now[0])
    kept.take("chat", "chat-1", {"waiting": 3.0})
    now[0] = LIFE_S
    kept.take("chat", "chat-2", {"waiting": 1.0})
    assert len(list(kept.samples())) == 2
    now[0] += 1.0
    assert list(kept.samples()) == [("steerd.model.queue", {"service": "chat", "endpoint": "chat-2"}, 1.0)]


def test_the_coordinator_can_be_observed() -> None:
    assert methods(CoordinatorTelemetry) == methods(CoordinatorObserver)
    observer: CoordinatorObserver = CoordinatorTelemetry(meters := Meters(), dict, lambda _: None)
    observer.on_leader(True, 1)
    observer.on_store("load", 0.1, ok=False)
    assert 'steerd_store_duration_seconds_count{ok="false",op="load"} 1.0' in meters.prometheus()[0].decode()


def test_a_providers_circuit_and_its_accounts_calls_are_shown() -> None:
    account = {"calls_per_s": 2.5, "free": 5, "free_routine": 3, "waiting": 0, "paused_s": 0.0}
    told = {
        "providers": {"r53": {"state": "open", "circuit": "half-open", "account": account}, "edge": {"state": "failed"}}
    }
    CoordinatorTelemetry(meters := Meters(), lambda: told, lambda _: None)
    text = meters.prometheus()[0].decode()
    assert 'steerd_provider_circuit{provider="r53",state="half-open"} 1.0' in text
    assert 'steerd_provider_calls_free{provider="r53",use="write"} 5.0' in text
    assert 'steerd_provider_calls_free{provider="r53",use="routine"} 3.0' in text
    assert "edge" not in text
