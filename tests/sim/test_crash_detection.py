"""A crash is agreed upon a slot of the staggered looks and the confirming looks after it happens: simulated time, not measured."""

from __future__ import annotations

import pytest

from benchmarks.crash_detection import measure
from steerd.core.cadence import JITTER


@pytest.mark.parametrize(("agents", "interval_s"), [(3, 5.0), (5, 1.0)])
def test_every_crash_is_agreed_upon_within_a_slot_and_a_second(agents: int, interval_s: float) -> None:
    found = measure(agents, interval_s, "crash", 20)
    slot_s = interval_s / agents * (1.0 + 2.0 * JITTER)  # one look early, the next one late
    assert len(found.down) >= 20
    assert min(found.down) >= 0.5, "three looks a gap apart take half a second"
    assert max(found.down) <= slot_s + 1.0
    assert all(out > down for down, out in zip(found.down, found.written, strict=True))
    assert min(found.alone) >= 2 * interval_s * (1.0 - JITTER)
    assert found.rate == pytest.approx(agents / interval_s, rel=0.01), "crashes do not change the steady rate"


def test_a_hang_costs_two_timeouts_more() -> None:
    found = measure(3, 5.0, "hang", 10)
    assert min(found.down) >= 2 * found.timeout_s
    assert max(found.down) <= found.limit_s + 2.0 * JITTER * found.interval_s / found.agents
