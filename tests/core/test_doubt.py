"""The agent doubts itself: score, timeouts, abstaining."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.doubt import ABSTAIN_AT, MAX_SCORE, VOTE_AGAIN_BELOW, SelfDoubt


def test_a_well_agent_votes_with_its_configured_timeouts() -> None:
    doubt = SelfDoubt(0.0)
    doubt.loop_lag(0.2, 1.0)
    doubt.late_look(0.9, 5.0, 1.0)
    assert (doubt.score(1.0), doubt.timeout_factor(1.0), doubt.reason(1.0)) == (0, 1.0, None)


def test_each_kind_of_delay_adds_one() -> None:
    doubt = SelfDoubt(0.0)
    doubt.loop_lag(0.3, 1.0)
    doubt.late_look(1.1, 5.0, 1.0)
    doubt.host_error("no descriptors left", 1.0)
    assert doubt.score(1.0) == 3
    assert doubt.reason(1.0) is None
    doubt.host_error("no descriptors left", 1.0)
    assert "no descriptors left" in (doubt.reason(1.0) or "")


def test_every_clean_second_takes_one_off() -> None:
    doubt = SelfDoubt(0.0)
    for _ in range(5):
        doubt.host_error(None, 10.0)
    assert [doubt.score(10.0 + s) for s in (0.0, 0.9, 1.0, 1.9, 2.0, 4.5, 5.0, 60.0)] == [5, 5, 4, 4, 3, 1, 0, 0]


def test_a_delay_starts_the_clean_second_over() -> None:
    doubt = SelfDoubt(0.0)
    doubt.host_error(None, 10.0)
    doubt.host_error(None, 10.9)
    assert doubt.score(11.5) == 2
    assert doubt.score(11.9) == 1


def test_a_process_that_was_stopped_abstains_at_once_and_votes_again_soon() -> None:
    doubt = SelfDoubt(0.0)
    doubt.loop_lag(30.0, 100.0)
    assert doubt.score(100.0) == MAX_SCORE
    assert "30.00 s late" in (doubt.reason(100.0) or "")
    assert doubt.timeout_factor(100.0) == pytest.approx(4.0)
    assert doubt.reason(105.5) is not None  # it votes again under 2, not just under 4: no flipping at the edge
    assert doubt.reason(106.0) is None


def test_cut_off_from_every_reference() -> None:
    doubt = SelfDoubt(0.0)
    doubt.references(2, 3)
    assert doubt.reason(1.0) is None
    doubt.references(3, 3)
    assert "cut off" in (doubt.reason(1.0) or "")
    doubt.references(0, 3)
    assert doubt.reason(1.0) is None


def test_one_reference_alone_proves_nothing() -> None:
    doubt = SelfDoubt(0.0)
    doubt.references(1, 1)
    assert doubt.reason(1.0) is None
    doubt.references(0, 0)
    assert doubt.reason(1.0) is None


@given(st.lists(st.tuples(st.sampled_from(["lag", "late", "host", "none"]), st.floats(0, 60), st.floats(0, 3))))
def test_the_score_stays_in_its_range(events: list[tuple[str, float, float]]) -> None:
    doubt, now = SelfDoubt(0.0), 0.0
    for kind, size, pause in events:
        now += pause
        before = doubt.score(now)
        if kind == "lag":
            doubt.loop_lag(size, now)
        elif kind == "late":
            doubt.late_look(size, 5.0, now)
        elif kind == "host":
            doubt.host_error("x", now)
            doubt.looked()  # the score alone decides here, not errors in a row
        assert 0 <= before <= doubt.score(now) <= MAX_SCORE
        assert 1.0 <= doubt.timeout_factor(now) <= 4.0
        assert doubt.reason(now) is not None or doubt.score(now) < ABSTAIN_AT
        assert doubt.reason(now) is None or doubt.score(now) >= VOTE_AGAIN_BELOW
    assert doubt.score(now + MAX_SCORE + 0.001) == 0


def test_rare_looks_that_all_fail_on_this_host_end_in_abstaining_and_one_that_gets_out_ends_it() -> None:
    doubt = SelfDoubt(0.0)
    for n in range(1, 4):
        doubt.host_error("network is unreachable", 10.0 * n)
        assert doubt.reason(10.0 * n + 9.0) is None
    doubt.host_error("network is unreachable", 40.0)
    assert doubt.score(49.0) == 0
    assert "network is unreachable" in (doubt.reason(49.0) or "")
    doubt.looked()
    assert doubt.reason(49.0) is None


def test_host_errors_between_looks_that_get_out_are_not_look_after_look() -> None:
    doubt = SelfDoubt(0.0)
    for n in range(1, 10):
        doubt.host_error("no descriptors left", 10.0 * n)
        doubt.looked()
    assert doubt.reason(99.0) is None
