"""Activation hooks in a rehearsal: done after a while, or failed where the step does not wait that long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from steerd.sim.hooks import TAKES_S, SimHooks
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
