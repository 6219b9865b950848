"""Damping and velocity: arithmetic on the times given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.damping import Damper
from steerd.core.velocity import Velocity
from steerd.model.plan import Penalty


def test_a_penalty_halves_every_quarter_of_an_hour() -> None:
    damper = Damper()
    damper.flap("a", 0.0)
    known = damper.current("a", 900.0)
    assert known is not None
    assert known.value == pytest.approx(500)
    assert damper.extra_s("a", 0.0) == 0.0  # one failure is no flapping


def test_flaps_add_up_to_suppression_and_to_longer_waits() -> None:
    damper = Damper()
    waits = []
    for n in range(8):
        damper.flap("a", n * 1.0)
        waits.append(damper.extra_s("a", n * 1.0))
    assert waits == [0, 30, 60, 120, 240, 300, 300, 300]
    assert damper.suppressed_until("a", 8.0) == pytest.approx(8 + 900 * 3.4, rel=0.02)


def test_a_penalty_grows_to_its_maximum_and_no_further() -> None:
    damper = Damper()
    values = [damper.flap("a", 0.0).value for _ in range(15)]
    assert values[-5:] == [11000, 12000, 12000, 12000, 12000]


def test_suppression_begins_at_3000_and_ends_under_750() -> None:
    damper = Damper()
    for n in range(3):
        assert damper.suppressed_until("a", 0.0) is None, n
        damper.flap("a", 0.0)
    assert damper.suppressed_until("a", 0.0) == pytest.approx(1800)
    assert damper.suppressed_until("a", 1799.0) == pytest.approx(1800)
    assert damper.suppressed_until("a", 1801.0) is None


@given(st.lists(st.floats(0, 4000), min_size=1, max_size=60))
def test_a_penalty_stays_within_its_bounds_and_suppression_ends_within_an_hour(gaps: list[float]) -> None:
    damper, now = Damper(), 0.0
    for gap in gaps:
        now += gap
        damper.flap("a", now)
        known = damper.current("a", now)
        assert known is not None
        assert 0 <= known.value <= 12000
        assert damper.extra_s("a", now) <= 300
    until = damper.suppressed_until("a", now)
    assert until is None or until <= now + 3600 + 1e-6
    assert damper.suppressed_until("a", now + 3601) is None
    assert damper.current("a", now + 86400) is None
    assert damper.penalties == {}


def test_what_the_store_holds_counts_unless_more_was_seen_here() -> None:
    damper = Damper()
    damper.flap("a", 0.0)
    damper.flap("a", 0.0)
    damper.load({"a": Penalty(1000.0, 0.0), "b": Penalty(5000.0, 0.0, 5, suppressed=True)}, 10.0)
    assert damper.extra_s("a", 10.0) == 30
    assert damper.suppressed_until("b", 10.0) is not None
    damper.keep_only({"b": None}, 10.0)
    assert set(damper.penalties) == {"b"}


def test_velocity_counts_a_window_and_says_when_it_frees() -> None:
    velocity = Velocity()
    assert velocity.frees_at("chat", 5.0) == 5.0
    velocity.took("chat", 0.3, 0.0)
    velocity.took("chat", 0.15, 100.0)
    assert velocity.room("chat", 100.0) == pytest.approx(0.05)
    assert velocity.room("other", 100.0) == pytest.approx(0.5)
    assert velocity.frees_at("chat", 100.0) == 300.0
    assert velocity.room("chat", 300.0) == pytest.approx(0.35)
    velocity.took("chat", 0.9, 301.0)
    assert velocity.room("chat", 301.0) == 0.0
    assert velocity.room("chat", 700.0) == pytest.approx(0.5)
    assert velocity.log == {}
