"""Stalled, restarted, idle, saturated and moving told apart, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.movement import Movement, Part, Reading, State, moved

HERE: Part = ()
A: Part = (("engine", "0"),)
B: Part = (("engine", "1"),)


def reading(at: float, work: float, steps: float, waiting: float = 0.0) -> Reading:
    return Reading(at, {HERE: work + waiting}, {HERE: {"steps": steps}}, work, waiting)


def states(*readings: Reading, stall_s: float = 60.0, queue: float | None = None) -> list[State]:
    movement = Movement(stall_s, 60.0, queue)
    return [movement.take(one).state for one in readings]


def test_busy_without_a_step_is_stalled_after_a_while() -> None:
    assert states(*(reading(at, 2, 100) for at in range(0, 71, 10))) == [
        State.FIRST, *[State.WAITING] * 5, State.STALLED, State.STALLED,
    ]  # fmt: skip


def test_a_step_begins_the_wait_anew() -> None:
    before = [reading(at, 2, 100) for at in range(0, 51, 10)]
    assert states(*before, reading(60, 2, 101), reading(110, 2, 101), reading(119, 2, 101))[-3:] == [
        State.MOVING,
        State.WAITING,
        State.WAITING,
    ]


def test_idle_is_not_stalled() -> None:
    assert set(states(*(reading(at, 0, 100) for at in range(0, 200, 10)))) == {State.FIRST, State.IDLE}
    # Work that comes after an idle hour has its whole time.
    assert states(reading(0, 0, 5), reading(50, 0, 5), reading(59, 1, 5), reading(69, 1, 5))[-1] is State.WAITING


def test_a_counter_that_goes_down_is_a_restart() -> None:
    found = states(*(reading(at, 1, 100) for at in range(0, 60, 10)), reading(60, 1, 0), reading(70, 1, 0))
    assert found[-2:] == [State.RESTARTED, State.WAITING]


def test_engines_that_show_in_turns_and_stand_still_are_stalled() -> None:
    found = states(*(reading(at, 2, (1000, 400, 70)[at // 10 % 3]) for at in range(0, 91, 10)))
    assert found == [
        State.FIRST, State.RESTARTED, State.RESTARTED, *[State.WAITING] * 5, State.STALLED, State.STALLED,
    ]  # fmt: skip


def test_engines_that_show_in_turns_and_move_are_not() -> None:
    found = states(*(reading(at, 2, (1000, 400)[at // 10 % 2] + at) for at in range(0, 300, 10)))
    assert State.STALLED not in found


def test_a_restarted_engine_may_pass_where_it_stood_before() -> None:
    counts = [5] * 5 + [0, 1, 2, 3, 4, 5, 6, 7]
    found = states(*(reading(10.0 * n, 1, count) for n, count in enumerate(counts)))
    assert State.STALLED not in found
    assert found[5] is State.RESTARTED


def test_readings_too_far_apart_say_nothing_of_the_time_between() -> None:
    assert states(reading(0, 1, 5), reading(61, 1, 5), reading(71, 1, 5)) == [State.FIRST, State.FIRST, State.WAITING]


def test_a_full_queue_that_moves_is_saturated_and_one_that_stands_is_stalled() -> None:
    assert states(reading(0, 8, 1, 50), reading(10, 8, 2, 50), queue=50)[-1] is State.SATURATED
    assert states(reading(0, 8, 1, 50), reading(10, 8, 1, 50), queue=50, stall_s=10.0)[-1] is State.STALLED


def test_one_part_that_hangs_behind_others_that_move() -> None:
    movement = Movement(60.0, 60.0)
    for at in range(0, 61, 10):
        judged = movement.take(Reading(at, {A: 1, B: 1}, {A: {"n": float(at)}, B: {"n": 7.0}}))
    assert (judged.state, judged.part, judged.still_s) == (State.STALLED, B, 60.0)


def test_any_counter_moving_is_movement() -> None:
    assert moved({HERE: {"a": 1.0, "b": 1.0}}, {HERE: {"a": 1.0, "b": 2.0}})
    assert not moved({HERE: {"a": 1.0}}, {HERE: {"a": 1.0, "b": 2.0}})  # a counter that was not there says nothing
    assert not moved({HERE: {"a": 3.0}}, {HERE: {"a": 1.0}})


@pytest.mark.parametrize("at", [5.0, 10.0])
def test_a_reading_out_of_order_changes_nothing(at: float) -> None:
    movement = Movement(60.0, 60.0)
    movement.take(reading(0, 1, 5))
    movement.take(reading(10, 1, 5))
    assert movement.take(reading(at, 1, 1)).state is State.WAITING
    assert movement.take(reading(20, 1, 5)).still_s == 20.0


@given(st.lists(st.tuples(st.floats(0.1, 30.0), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60))
def test_stalled_only_after_a_whole_stall_of_work_and_no_step(moves: list[tuple[float, int, int]]) -> None:
    movement, at, steps, still_since = Movement(60.0, 60.0), 0.0, 0, None
    for gap_s, work, more in moves:
        at += gap_s
        steps += more
        judged = movement.take(reading(at, work, steps))
        if work == 0 or more or still_since is None:
            still_since = at if work else None
        expected = still_since is not None and at - still_since >= 60.0
        assert (judged.state is State.STALLED) == expected
