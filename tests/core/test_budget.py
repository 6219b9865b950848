"""The token bucket: never more than the day's budget in 24 hours, a reserve for confirms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.budget import TokenBudget

DAY_S = 86400.0


@pytest.mark.parametrize("per_day", [100.0, 5_000.0, 200_000.0])
@pytest.mark.parametrize("cost", [10.0, 46.0])
@pytest.mark.parametrize("level", [0.0, 1e9])
def test_a_day_never_costs_more_than_its_budget(per_day: float, cost: float, level: float) -> None:
    budget, spent = TokenBudget(per_day, 0.0, level), []
    for second in range(0, int(2 * DAY_S), 20):
        if budget.allows(cost, float(second), reserve=True):
            budget.spend(cost, float(second))
            spent.append(second)
    for start in (0, 3600, int(DAY_S)):
        assert cost * sum(start <= second < start + DAY_S for second in spent) <= per_day
    assert cost * len(spent) > 0.8 * min(per_day, cost * DAY_S / 20)  # and the second day is not empty


def test_the_last_part_is_for_confirms() -> None:
    budget = TokenBudget(100_000.0, 0.0, 1e9)
    assert budget.burst == 10_000.0
    while budget.allows(50.0, 0.0, reserve=False):
        budget.spend(50.0, 0.0)
    assert budget.left(0.0) == 2_000.0
    assert budget.allows(50.0, 0.0, reserve=True)
    budget.spend(2_000.0, 0.0)
    assert not budget.allows(50.0, 0.0, reserve=True)
    assert budget.allows(50.0, 3600.0, reserve=True)


def test_a_budget_too_small_for_a_reserve_still_pays_for_looks() -> None:
    assert TokenBudget(100.0, 0.0, 1e9).allows(46.0, 0.0, reserve=False)


def test_a_look_that_costs_more_than_can_be_saved_up_is_made_on_a_full_bucket_and_paid_off() -> None:
    for reserve in (False, True):
        budget = TokenBudget(5_000.0, 0.0)
        made = []
        for second in range(0, int(10 * DAY_S), 60):
            if budget.allows(2_700.0, float(second), reserve=reserve):
                budget.spend(2_700.0, float(second))
                made.append(second)
        assert budget.burst < 2_700.0
        assert 5_000.0 * 0.8 * 10 < 2_700.0 * len(made) <= 5_000.0 * 10 + 2_700.0
    nothing = TokenBudget(0.0, 0.0)
    assert not nothing.allows(46.0, DAY_S, reserve=True)


def test_what_was_not_spent_comes_back_but_not_more() -> None:
    budget = TokenBudget(100_000.0, 0.0, 1e9)
    budget.spend(50.0, 0.0)
    budget.spend(-50.0, 0.0)
    budget.spend(-50.0, 0.0)
    assert budget.left(0.0) == budget.burst


def test_one_that_starts_again_and_again_saves_up_nothing() -> None:
    """A loop of crashes, one an hour."""
    spent = 0.0
    for start in range(0, int(DAY_S), 3600):
        budget = TokenBudget(100_000.0, float(start))
        assert not budget.allows(50.0, float(start), reserve=True)
        for second in range(start, start + 3600, 10):
            while budget.allows(50.0, float(second), reserve=True):
                budget.spend(50.0, float(second))
                spent += 50.0
    assert 80_000.0 < spent <= 90_000.0


def test_a_change_keeps_what_is_left_and_what_is_owed() -> None:
    budget = TokenBudget(100_000.0, 0.0, 1e9)
    budget.spend(9_000.0, 0.0)
    assert budget.changed(100_000.0, 0.0) is budget
    more = budget.changed(200_000.0, 0.0)
    assert (more.left(0.0), more.burst, more.untouched) == (1_000.0, 20_000.0, False)
    assert budget.changed(5_000.0, 0.0).left(0.0) == 600.0
    budget.spend(3_000.0, 0.0)
    assert budget.changed(200_000.0, 0.0).left(0.0) == -2_000.0


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(-500, 500)), max_size=50))
def test_it_never_holds_more_than_its_burst(moves: list[tuple[float, float]]) -> None:
    budget, now = TokenBudget(10_000.0, 0.0), 0.0
    for gap_s, tokens in moves:
        now += gap_s
        budget.spend(tokens, now)
        assert budget.left(now) <= budget.burst
        assert budget.left(now - 1.0) == budget.left(now)  # a clock that is asked twice, or goes back, gives nothing
