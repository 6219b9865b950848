"""Incidents: their stages, and the trace each one makes at a real collector."""

from __future__ import annotations

import asyncio

import pytest

from steerd.core.effects import Effect, Persist, Record
from steerd.core.events import ApplyFinished, Event, Tick, VerifyFinished
from steerd.model.plan import Decision, HardState
from steerd.model.route import Desired, Member
from steerd.telemetry.incidents import GIVE_UP_S, Incident, Incidents
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import CoordinatorTelemetry
from steerd.telemetry.traces import Traces
from tests.support.otlp import Collector, attributes

T0 = 1_700_000_000.0


def service_of(endpoint: str) -> str | None:
    return {"chat-1": "chat", "chat-2": "chat", "embed-1": "embed"}.get(endpoint)


def decision(seq: int, *routes: str, service: str = "chat") -> Persist:
    desired = {route: Desired((Member("a", 1),)) for route in routes}
    made = Decision(
        epoch=1, seq=seq, at=0.0, service=service, routes=desired, shares={}, config_hash="", plan="", moves=("drain",)
    )
    return Persist(made, HardState())


def health(endpoint: str, word: str, at: float, **data: float) -> Record:
    return Record("health", endpoint, word, at, {"service": "chat", "health": word, **data})


def applied(route: str, seq: int, result: str = "applied", at: float | None = None) -> ApplyFinished:
    return ApplyFinished(route, f"1.{seq}", result, accepted_at=at)  # type: ignore[arg-type]  # a word of its Literal


def story() -> list[tuple[Event, tuple[Effect, ...], float]]:
    """chat-1 dies at T0, two routes move; the second is in sync 3.1 s later."""
    return [
        (Tick(), (), T0),
        (Tick(), (health("chat-2", "degraded", T0 + 0.1),), T0 + 0.1),
        (Tick(), (health("chat-1", "down", T0 + 0.9, suspect_at=T0), decision(1, "dns", "edge")), T0 + 1.0),
        (applied("dns", 1, at=T0 + 1.4), (), T0 + 1.5),
        (VerifyFinished("dns", "1.1", in_sync=True, authoritative_at=T0 + 2.0), (), T0 + 2.0),
        (applied("edge", 1, "throttled"), (), T0 + 1.6),
        (applied("edge", 1, "unchanged", at=T0 + 2.6), (), T0 + 2.6),
        (VerifyFinished("edge", "1.1", in_sync=False), (), T0 + 2.8),
        (VerifyFinished("edge", "1.1", in_sync=True, authoritative_at=T0 + 3.1), (), T0 + 3.2),
    ]


def told(steps: list[tuple[Event, tuple[Effect, ...], float]]) -> list[Incident]:
    incidents = Incidents(service_of)
    return [incident for step in steps for incident in incidents.fold(*step)]


def test_one_incident_from_the_first_bad_look_to_in_sync() -> None:
    (incident,) = told(story())
    assert dict(incident.stages()) == pytest.approx(
        {"detected": 0.9, "decided": 1.0, "accepted": 2.6, "authoritative": 3.1}
    )
    assert incident.ended == "in-sync"
    assert list(incident.endpoints) == ["chat-1"], "chat-2 is not down"


def test_it_stays_open_until_the_last_route_is_in_sync() -> None:
    assert told(story()[:-1]) == []


def test_a_second_decision_replaces_the_first_ones_write() -> None:
    steps = story()[:3]
    steps += [
        (Tick(), (decision(2, "edge"),), T0 + 1.2),
        (applied("edge", 1), (), T0 + 1.3),  # late: superseded
        (applied("dns", 1), (), T0 + 1.3),
        (VerifyFinished("dns", "1.1", in_sync=True), (), T0 + 1.5),
        (VerifyFinished("edge", "1.1", in_sync=True), (), T0 + 1.6),
    ]
    assert told(steps) == []
    steps += [(applied("edge", 2), (), T0 + 2.0), (VerifyFinished("edge", "1.2", in_sync=True), (), T0 + 2.5)]
    (incident,) = told(steps)
    assert incident.decisions == ["1.1", "1.2"]
    assert dict(incident.stages())["authoritative"] == pytest.approx(2.5)


def test_moves_without_an_incident_are_none() -> None:
    steps: list[tuple[Event, tuple[Effect, ...], float]] = [
        (Tick(), (health("embed-1", "down", T0), health("gone", "down", T0), decision(1, "dns")), T0),
        (applied("dns", 1), (), T0 + 1),
        (VerifyFinished("dns", "1.1", in_sync=True), (), T0 + 2),
    ]
    assert told(steps) == []


def test_without_a_first_bad_look_it_starts_when_the_quorum_agreed() -> None:
    (incident,) = told(
        [(Tick(), (health("chat-1", "down", T0 + 0.9), decision(1, "dns", "edge")), T0 + 1), *story()[3:]]
    )
    assert incident.started == T0 + 0.9


def test_an_incident_that_is_over_before_a_move_is_closed() -> None:
    steps: list[tuple[Event, tuple[Effect, ...], float]] = [
        (Tick(), (health("chat-1", "down", T0),), T0),
        (Tick(), (health("chat-2", "down", T0 + 1),), T0 + 1),
        (Tick(), (health("chat-1", "healthy", T0 + 9),), T0 + 9),
    ]
    assert told(steps) == []
    (incident,) = told([*steps, (Tick(), (health("chat-2", "healthy", T0 + 10),), T0 + 10)])
    assert incident.ended == "no-move"
    assert dict(incident.stages()) == {"detected": 0.0}


@pytest.mark.parametrize(("decided", "ended"), [(False, "no-move"), (True, "open")])
def test_an_incident_that_never_ends_is_closed_as_it_stands(decided: bool, ended: str) -> None:
    effects: tuple[Effect, ...] = (health("chat-1", "down", T0),)
    steps: list[tuple[Event, tuple[Effect, ...], float]] = [
        (Tick(), (*effects, decision(1, "dns")) if decided else effects, T0),
        (Tick(), (), T0 + GIVE_UP_S),
        (Tick(), (), T0 + GIVE_UP_S + 1),
    ]
    (incident,) = told(steps)
    assert incident.ended == ended


async def test_a_collector_gets_one_trace_and_prometheus_the_durations() -> None:
    async with Collector() as collector:
        meters = Meters()
        traces = Traces(otlp=collector.url)
        telemetry = CoordinatorTelemetry(meters, dict, service_of, traces)
        follower = story()[2]
        telemetry.on_step(*follower, 0.001)
        telemetry.on_leader(True, 1)
        for step in story():
            telemetry.on_step(*step, 0.001)
        telemetry.on_step(Tick(), (Record("veto", "chat", "", T0, {"service": "chat", "guard": "floor"}),), T0, 0.001)
        await asyncio.to_thread(traces.close)
        spans = {span.name: span for span in collector.spans}
        assert list(spans) == ["detect", "agree", "plan", "apply", "verify", "incident chat"]
        root = spans.pop("incident chat")
        assert attributes(root.attributes)["steerd.end"] == "in-sync"
        assert {span.trace_id for span in spans.values()} == {root.trace_id}
        assert {span.parent_span_id for span in spans.values()} == {root.span_id}
        assert root.start_time_unix_nano == int(T0 * 1e9)
        assert (root.end_time_unix_nano - root.start_time_unix_nano) / 1e9 == pytest.approx(3.1, abs=1e-5)
        lengths = {n: (s.end_time_unix_nano - s.start_time_unix_nano) / 1e9 for n, s in spans.items()}
        expected = {"detect": 0.0, "agree": 0.9, "plan": 0.1, "apply": 1.6, "verify": 0.5}
        assert lengths == pytest.approx(expected, abs=1e-5)
        text = meters.prometheus()[0].decode()
        assert 'steerd_failover_duration_seconds_sum{service="chat",stage="authoritative"} 3.09' in text
        assert 'steerd_decisions_total{service="chat"} 1.0' in text
        assert 'steerd_vetoes_total{guard="floor",service="chat"} 1.0' in text
        await meters.close()


async def test_losing_the_lead_drops_open_incidents() -> None:
    meters = Meters()
    telemetry = CoordinatorTelemetry(meters, dict, service_of)
    telemetry.on_leader(True, 1)
    for step in story()[:-1]:
        telemetry.on_step(*step, 0.001)
    telemetry.on_leader(False, 1)
    telemetry.on_leader(True, 2)
    telemetry.on_step(*story()[-1], 0.001)
    assert b"steerd_failover_duration_seconds_sum" not in meters.prometheus()[0]
    await meters.close()
