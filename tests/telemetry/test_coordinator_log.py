"""A coordinator's own log: moves and alerts, one line each, with fields."""

from __future__ import annotations

import logging

import pytest

from steerd.core.effects import Alert, Record
from steerd.model.plan import Alert as AlertFact
from steerd.telemetry.coordinator_log import CoordinatorLog

DRAIN = Record("drain", "eua", "2 of 2 endpoints down", 1.0, {"by": "automatic", "service": "chat"})
HEALTH = Record("health", "eua-1", "down: refused", 1.0)
ALERT = AlertFact("capacity-short", "chat", "20% of chat stays on eua", 1.0, "add capacity")


def test_a_leader_tells_moves_with_who_and_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "steerd.coordinator"):
        CoordinatorLog().on_effects((HEALTH, DRAIN), leading=True)
    assert caplog.messages == ["health eua-1: down: refused", "drain eua: 2 of 2 endpoints down"]
    assert caplog.records[1].levelno == logging.WARNING
    assert caplog.records[1].__dict__["service"] == "chat"


def test_a_follower_tells_health_but_no_moves(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "steerd.coordinator"):
        CoordinatorLog().on_effects((HEALTH, DRAIN), leading=False)
    assert caplog.messages == ["health eua-1: down: refused"]


def test_an_alert_says_what_to_do_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "steerd.coordinator"):
        CoordinatorLog().on_effects((Alert(ALERT, active=True), Alert(ALERT, active=False)), leading=True)
    assert caplog.messages == [
        "alert capacity-short: 20% of chat stays on eua: add capacity",
        "alert over capacity-short chat",
    ]
