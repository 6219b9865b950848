"""The share arithmetic: properties that must hold for any fleet, and a few cases a human can check by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.shares import Inputs, Mover, Slot, compute, fill, normal_shares
from steerd.model.plan import Cause

TINY = 1e-9


def slots(**zones: float) -> tuple[Slot, ...]:
    """eua=100: endpoint eua-1 in zone eua, region eu."""
    return tuple(Slot(f"{zone}-1", zone, zone[:2], capacity) for zone, capacity in zones.items())


def mover(cause: Cause, *endpoints: str, fraction: float = 1.0, force: bool = False) -> Mover:
    return Mover("+".join(endpoints), cause, frozenset(endpoints), fraction, force)


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    zones = draw(
        st.lists(st.sampled_from(["eua", "eub", "euc", "usa", "usb", "apa"]), min_size=1, max_size=6, unique=True)
    )
    members = []
    for zone in zones:
        members.extend(
            Slot(f"{zone}-{n}", zone, zone[:2], draw(st.floats(1, 1000)), draw(st.sampled_from([1.0, 1.0, 0.5])))
            for n in range(draw(st.integers(1, 3)))
        )
    names = [s.name for s in members]
    movers = []
    for i in range(draw(st.integers(0, 3))):
        chosen = frozenset(draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True)))
        cause = draw(st.sampled_from([Cause.DEAD, Cause.DOWN, Cause.GRAY, Cause.OPERATOR]))
        movers.append(Mover(f"m{i}", cause, chosen, draw(st.sampled_from([0.25, 0.5, 1.0])), draw(st.booleans())))
    total = sum(s.capacity for s in members)
    demand = draw(st.one_of(st.none(), st.floats(0.01, 2.0).map(lambda f: f * total)))
    shortfall = draw(st.sampled_from(["spread", "shed"]))
    prefer = draw(
        st.one_of(st.none(), st.fixed_dictionaries({r: st.floats(0, 1) for r in sorted({s.region for s in members})}))
    )
    return Inputs(tuple(members), tuple(movers), prefer, demand, 0.8, shortfall)


@given(inputs())
def test_shares_always_sum_to_one_and_none_is_negative(case: Inputs) -> None:
    shares = compute(case).shares
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    assert min(shares.values()) >= -TINY


@given(inputs())
def test_what_no_mover_touches_only_ever_gains(case: Inputs) -> None:
    result = compute(case)
    touched = {e for m in case.movers for e in m.endpoints}
    for name, share in result.shares.items():
        if name not in touched:
            assert share >= result.normal[name] - 1e-9


@given(inputs())
def test_a_receiver_that_gained_is_within_the_limit_its_movers_allow(case: Inputs) -> None:
    result = compute(case)
    if case.demand is None or result.overloaded:
        return
    hard = any(m.cause in (Cause.DEAD, Cause.DOWN) or m.force for m in case.movers)
    limit = 1.0 if hard else case.max_utilization
    for slot in case.slots:
        gained = result.shares[slot.name] > result.normal[slot.name] + 1e-9
        if gained:
            assert result.shares[slot.name] * case.demand <= limit * slot.effective * (1 + 1e-9) + 1e-9


@given(inputs())
def test_what_is_kept_is_said(case: Inputs) -> None:
    result = compute(case)
    fully = {e: m for m in case.movers if m.fraction == 1.0 for e in m.endpoints}
    left = sum(result.shares[e] for e in fully)
    if left > 1e-6 and any(s.name not in {e for m in case.movers for e in m.endpoints} for s in case.slots):
        assert result.kept


@given(inputs())
def test_planning_twice_gives_the_same(case: Inputs) -> None:
    assert compute(case) == compute(case)


@given(st.floats(0, 2), st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_water_fill_loses_nothing(amount: float, receivers: list[tuple[float, float, float]]) -> None:
    shares = {str(i): start for i, (_, start, _) in enumerate(receivers)}
    before = sum(shares.values())
    limits = {str(i): start + room for i, (_, start, room) in enumerate(receivers)}
    left = fill(shares, amount, {str(i): w for i, (w, _, _) in enumerate(receivers)}, limits)
    assert sum(shares.values()) + left == pytest.approx(before + amount, abs=1e-6)
    assert all(shares[n] <= limits[n] + 1e-6 for n in shares)


def test_a_zone_moves_inside_its_region_first() -> None:
    fleet = slots(eua=100, eub=100, usa=100, usb=100)
    shares = compute(Inputs(fleet, (mover(Cause.DEAD, "eua-1"),), demand=100)).shares
    assert shares == pytest.approx({"eua-1": 0, "eub-1": 0.5, "usa-1": 0.25, "usb-1": 0.25})


def test_what_overflows_the_region_goes_to_the_others() -> None:
    fleet = slots(eua=100, eub=100, usa=100, usb=100)
    shares = compute(Inputs(fleet, (mover(Cause.DEAD, "eua-1"),), demand=200)).shares
    assert shares == pytest.approx({"eua-1": 0, "eub-1": 0.4, "usa-1": 0.3, "usb-1": 0.3})


def test_gray_keeps_what_does_not_fit_under_max_utilization() -> None:
    fleet = slots(eua=100, eub=100)
    result = compute(Inputs(fleet, (mover(Cause.GRAY, "eua-1"),), demand=100))
    assert result.shares == pytest.approx({"eua-1": 0.2, "eub-1": 0.8})
    assert sum(result.kept.values()) == pytest.approx(0.2)


def test_down_fills_receivers_to_the_brim_and_keeps_the_rest() -> None:
    fleet = slots(eua=100, eub=100)
    result = compute(Inputs(fleet, (mover(Cause.DOWN, "eua-1"),), demand=125))
    assert result.shares == pytest.approx({"eua-1": 0.2, "eub-1": 0.8})


def test_dead_spreads_past_every_limit_or_sheds() -> None:
    fleet = slots(eua=100, eub=100)
    spread = compute(Inputs(fleet, (mover(Cause.DEAD, "eua-1"),), demand=150))
    assert spread.shares == pytest.approx({"eua-1": 0, "eub-1": 1})
    assert spread.overloaded
    shed = compute(Inputs(fleet, (mover(Cause.DEAD, "eua-1"),), demand=150, shortfall="shed"))
    assert shed.shares["eub-1"] == pytest.approx(100 / 150)
    assert not shed.overloaded


def test_preferences_hold_and_are_renormalised() -> None:
    fleet = slots(eua=100, usa=300)
    assert normal_shares(Inputs(fleet, prefer={"eu": 0.6, "us": 0.4})) == pytest.approx({"eua-1": 0.6, "usa-1": 0.4})
    assert normal_shares(Inputs(fleet)) == pytest.approx({"eua-1": 0.25, "usa-1": 0.75})


def test_demand_unknown_switches_the_capacity_rule_off_and_says_so() -> None:
    result = compute(Inputs(slots(eua=1, eub=1000), (mover(Cause.OPERATOR, "eub-1"),)))
    assert result.shares == pytest.approx({"eua-1": 1, "eub-1": 0})
    assert any("demand unknown" in n for n in result.notes)


def test_nothing_left_to_receive_leaves_traffic_where_it_is() -> None:
    fleet = slots(eua=100, eub=100)
    result = compute(Inputs(fleet, (mover(Cause.DEAD, "eua-1", "eub-1"),), demand=100))
    assert result.shares == pytest.approx({"eua-1": 0.5, "eub-1": 0.5})


def test_what_a_partly_drained_endpoint_keeps_comes_before_what_it_takes_from_the_dead() -> None:
    """Found by hypothesis: as a last receiver it was filled up, and what it could not give away came on top."""
    three = tuple(Slot(f"eua-{n}", "eua", "eu", 1.0) for n in range(3))
    movers = (mover(Cause.DEAD, "eua-0"), mover(Cause.DOWN, "eua-1", fraction=0.25))
    result = compute(Inputs(three, movers, None, 3.0, 0.8, "shed"))
    assert result.shares["eua-1"] * 3.0 <= 1.0 + TINY
    assert result.shares["eua-0"] == pytest.approx(1 / 3)


def test_only_what_is_forced_goes_past_the_limit() -> None:
    """The forced drain takes its room first: the down zone beside it keeps what does not fit, and fills nobody up before."""
    movers = (mover(Cause.DOWN, "eub-1"), mover(Cause.OPERATOR, "euc-1", force=True))
    result = compute(Inputs(slots(eua=100, eub=100, euc=100), movers, demand=200))
    assert result.shares == pytest.approx({"eua-1": 2 / 3, "eub-1": 1 / 3, "euc-1": 0})
    assert result.overloaded


def test_a_pin_stands_though_it_is_over_the_limit() -> None:
    shares = compute(Inputs(slots(eua=100, eub=100, euc=100), demand=200, pins={"eua-1": 0.7})).shares
    assert shares == pytest.approx({"eua-1": 0.7, "eub-1": 0.15, "euc-1": 0.15})
