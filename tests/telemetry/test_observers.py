"""The observers fit the protocols of those who call them (checked by mypy as well: both sides meet here)."""

from __future__ import annotations

import inspect

from probes.outcome import Layer, Outcome, Stages, Status
from steerd.agent.observer import AgentObserver, NullObserver
from steerd.coordinator.observer import CoordinatorObserver
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
    assert 'steerd_model_ttft_seconds_sum{service="chat",zone="eu-west-1a"} 0.2' in text


def test_the_coordinator_can_be_observed() -> None:
    assert methods(CoordinatorTelemetry) == methods(CoordinatorObserver)
    observer: CoordinatorObserver = CoordinatorTelemetry(meters := Meters(), dict, lambda _: None)
    observer.on_leader(True, 1)
    observer.on_store("load", 0.1, ok=False)
    assert 'steerd_store_duration_seconds_count{ok="false",op="load"} 1.0' in meters.prometheus()[0].decode()
