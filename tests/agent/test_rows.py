"""Rows: everything is taken at its time, once, whatever the times are."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from steerd.agent.rows import ROW_S, Rows


@dataclass
class Thing:
    due: float


times = st.floats(0.0, 3.0) | st.integers(0, 300).map(lambda n: n * ROW_S)


@given(st.lists(times, max_size=30), st.lists(times, max_size=10))
def test_everything_due_is_taken_once_and_nothing_before_its_time(dues: list[float], moments: list[float]) -> None:
    rows: Rows[Thing] = Rows()
    left = [Thing(due) for due in dues]
    for thing in left:
        rows.put(thing)
    for now in sorted(moments):
        assert rows.next_at(0.0) == min((t.due for t in left), default=None)
        assert rows.next_at(now) == max(now, min((t.due for t in left), default=now)) or not left
        taken = rows.take(now)
        assert sorted(map(id, taken)) == sorted(id(t) for t in left if t.due <= now)
        left = [t for t in left if t.due > now]
    assert rows.next_at(0.0) == min((t.due for t in left), default=None)


@given(st.lists(st.floats(0.001, 0.3), min_size=1, max_size=8), st.floats(0.001, 0.1))
def test_what_comes_round_again_is_put_while_others_are_taken(periods: list[float], step_s: float) -> None:
    rows: Rows[Thing] = Rows()
    things = {id(thing): (thing, period_s) for period_s in periods for thing in [Thing(period_s)]}
    for thing, _ in things.values():
        rows.put(thing)
    now = 0.0
    for _ in range(50):
        now += step_s
        for thing in rows.take(now):
            assert thing.due <= now
            thing.due = now + things[id(thing)][1]
            rows.put(thing)
        assert rows.next_at(0.0) == min(thing.due for thing, _ in things.values())


def test_rows_that_are_empty_are_not_kept() -> None:
    rows: Rows[Thing] = Rows()
    for n in range(1000):
        rows.put(Thing(n * 0.003))
        rows.take(n * 0.003)
    assert rows.next_at(0.0) is None
    assert not rows._rows
    assert not rows._order
