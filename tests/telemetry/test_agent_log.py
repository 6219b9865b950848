"""The agent's own log: one line per change, with what to do."""

from __future__ import annotations

import logging

import pytest

from steerd.telemetry.agent_log import TOLD_EACH, AgentLog
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "steerd.agent")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_a_coordinator_out_of_reach_is_told_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    for _ in range(3):
        log.on_stream("co1", "connecting", "")
        log.on_stream("co1", "disconnected", "http://co1: connection refused")
    log.on_stream("co1", "connecting", "")
    log.on_stream("co1", "connected", "")
    log.on_stream("co1", "refused", "check the token")
    first, second, third = lines(caplog)
    assert first.startswith("WARNING cannot reach coordinator co1")
    assert "connection refused" in first
    assert second == "INFO connected to coordinator co1"
    assert third == "ERROR cannot vote at coordinator co1: check the token"


def test_an_outage_that_changes_its_reason_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    log.on_stream("co1", "disconnected", "connection refused")
    log.on_stream("co1", "disconnected", "no answer in time")
    log.on_stream("co1", "removed", "")
    log.on_stream("co1", "disconnected", "no answer in time")
    assert len(lines(caplog)) == 4


def test_abstaining_says_why_and_its_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    log.on_abstain("cut off: none of 2 references answers")
    log.on_abstain(None)
    first, second = lines(caplog)
    assert "abstains" in first
    assert "none of 2 references" in first
    assert second.startswith("INFO votes again")


def fail(log: AgentLog, endpoint: str, reason: str, *, host: bool = False, detail: str | None = None) -> None:
    log.on_error_outcome(endpoint, "chat", "user_path", reason, host=host, detail=detail)


def test_an_error_says_where_why_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    fail(log, "e1", "HTTP 401: credentials refused", detail="fix `api_key`")
    log.on_error_over("e1", "chat", "user_path")
    first, second = lines(caplog)
    assert first.startswith("ERROR cannot check e1 by user_path: HTTP 401: credentials refused: fix `api_key`; mend")
    assert "not blamed" in first
    assert second == "INFO checks e1 by user_path again; over is: HTTP 401: credentials refused"


def test_a_fault_of_the_host_is_one_line_however_many_looks_it_breaks(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    for number in range(1000):
        fail(log, f"e{number}", "this host: network is unreachable", host=True)
    assert len(lines(caplog)) == 1
    assert "this host's network" in lines(caplog)[0]
    for number in range(1000):
        log.on_error_over(f"e{number}", "chat", "user_path")
    assert len(lines(caplog)) == 2
    assert "looks again everywhere" in lines(caplog)[1]
    assert not log._faults
    assert not log._fault_at


def test_one_key_refused_by_many_endpoints_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog()
    for number in range(100):
        fail(log, f"e{number}", "HTTP 401: credentials refused")
    assert len(lines(caplog)) == TOLD_EACH
    assert "further endpoints" in lines(caplog)[-1]
    fail(log, "e99", "HTTP 400: request refused")  # another fault is told
    assert "HTTP 400" in lines(caplog)[-1]


def test_what_was_never_told_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    AgentLog().on_error_over("e1", "chat", "user_path")
    assert not lines(caplog)


def test_the_agents_telemetry_writes_this_log(caplog: pytest.LogCaptureFixture) -> None:
    observer = AgentTelemetry(meters := Meters())
    observer.on_abstain("cut off")
    observer.on_stream("co1", "connected", "")
    fail_at = "e1", "chat", "user_path"
    observer.on_error_outcome(*fail_at, "key refused", host=False, detail=None)
    observer.on_error_over(*fail_at)
    assert len(lines(caplog)) == 4
    observer.on_stream("co1", "removed", "")
    assert "steerd_agent_stream{" not in meters.prometheus()[0].decode()
