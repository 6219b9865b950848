"""How long until a crashed endpoint has left the answer of a real BIND: 3 agents, 5 s interval, SIGKILL, ten times.

The clock starts at the kill and stops at the first answer of `named` without the address. The kill falls at a different point of
the interval each time, evenly spread, since where it falls decides how long the first look takes to come.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.rig import ZONES, Rig, chat

RUNS = 10
INTERVAL_S = 5.0
GIVE_UP_S = 40.0

# Probing is as slow as in production; only the way back is hurried, so that ten runs do not take hours.
OVERRIDES = {
    "ramp": {"restore_after": "1s", "restore_steps": ["100%"], "restore_step_every": "1s"},
    "services": {"chat": {"checks": {"user_path": None}}},
}


def run(_options: Sequence[str] = ()) -> None:
    """Prints each run and the median."""
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), OVERRIDES, interval="5s") as rig:
        print("3 agents, 3 endpoints, 5 s interval, 3 looks to agree; BIND 9 by RFC 2136", flush=True)
        rig.start_all()
        others = rig.records()
        seconds = []
        for number in range(RUNS):
            zone = list(ZONES)[number % len(ZONES)]
            _wait_for_phase(number / RUNS * INTERVAL_S)
            seconds.append(_crash(rig, zone))
            print(f"  run {number + 1:2}: {zone} gone from the answer after {seconds[-1]:.2f} s", flush=True)
            assert rig.records() == others, "another record moved"
            rig.models[zone].start()
            rig.wait(lambda s: _all_back(rig, s), 120.0)
        median = statistics.median(seconds)
        print(
            f"  median {median:.2f} s, fastest {min(seconds):.2f} s, slowest {max(seconds):.2f} s (goal: a median under 5 s)"
        )


def _wait_for_phase(phase_s: float) -> None:
    now = time.time()
    time.sleep((phase_s - now) % INTERVAL_S)


def _crash(rig: Rig, zone: str) -> float:
    address = rig.addresses[zone]
    began = time.monotonic()
    rig.models[zone].kill()
    while time.monotonic() - began < GIVE_UP_S:
        with contextlib.suppress(OSError):
            if rig.answer_lost(address):
                return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit(f"{zone} was still answered {GIVE_UP_S:.0f} s after the crash: {rig.status()}")


def _all_back(rig: Rig, status: dict[str, object]) -> bool:
    healthy = all(e["health"] == "healthy" for e in chat(status)["endpoints"].values())
    return healthy and rig.served() == set(rig.addresses.values()) and not status["drains"]
