"""What a rehearsal asks of nobody: activation hooks are done after a while, or failed; demand is what the scenario says."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from steerd.sim.outside import TAKES_S, SimHooks
from tests.sim.locate import OWN
from tests.sim.rehearse import run

FLEET = OWN / "fleets" / "standby-scales.yaml"
DIES = "faults:\n  - {at: 60s, region: eu, kind: power-loss}\nexpect:\n"


def test_the_standby_takes_over_once_its_hook_is_done(tmp_path: Path) -> None:
    body = f"{DIES}  - {{no_alert: activation-failed}}\n  - {{region: us, share: 1, by: 3m}}\n"
    result = run(tmp_path, body, fleet=FLEET, duration="3m")
    assert result.passed, result.data()["failures"]
    taken = next(at for at, share in result.recorder.shares["us"] if share == 1)
    assert taken >= 60.0 + TAKES_S


@pytest.mark.parametrize("hook", [{"autoscaling": {"group": "a"}}, {"kubernetes": {"replicas": 8}}])
def test_what_production_does_not_run_is_not_rehearsed(hook: dict[str, Any]) -> None:
    done, text = asyncio.run(SimHooks()(hook, "chat", "us"))
    assert not done
    assert "not built yet" in text


def test_a_hook_that_fails_stops_the_takeover(tmp_path: Path) -> None:
    old, new = "timeout: 2m}", "timeout: 10s}"
    fleet = tmp_path / "fleet.yaml"
    assert old in FLEET.read_text()
    fleet.write_text(FLEET.read_text().replace(old, new))
    body = f"{DIES}  - {{alert: activation-failed, by: 2m}}\n  - {{region: us, share: 0, during: [0s, 5m]}}\n"
    result = run(tmp_path, body, fleet=fleet)
    assert result.passed, result.data()["failures"]
    assert any("not done within 10 s" in row["text"] for row in result.recorder.timeline)


def test_nobody_is_asked_for_the_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be asked of a server out there; it is unknown until the scenario says it."""
    reached: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: reached.append(args) or [])
    fleet = tmp_path / "fleet.yaml"
    text = (OWN / "fleets" / "one-each.yaml").read_text()
    asked = text.replace("demand: 150", 'demand: {prometheus: "http://metrics.invalid", query: "sum(x)"}')
    assert asked != text
    fleet.write_text(asked)
    body = "faults:\n  - {at: 20s, demand: {service: chat, value: 250}}\n  - {at: 1m, zone: eu-a, kind: power-loss}\n"
    body += "expect:\n  - {alert: overload-accepted, by: 2m}\n"
    result = run(tmp_path, body, fleet=fleet, duration="2m")
    assert result.passed, result.data()["failures"]
    assert reached == []
