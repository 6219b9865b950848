"""Shares into what systems can express: error bounds, zeros, never empty, hysteresis of membership."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.quantize import realised
from steerd.model.route import Capabilities, Route, Target
from tests.support.plain_split import desired_for, scoped

MEMBERSHIP = Capabilities(membership=True, dns=True)


def route(count: int) -> Route:
    targets = tuple(Target(f"e{i}", (f"e{i}",), {f"e{i}": (f"10.0.0.{i}",)}) for i in range(count))
    return Route(key="p/r", service="s", provider="p", name="r", per="endpoint", targets=targets)


@st.composite
def splits(draw: st.DrawFn) -> dict[str, float]:
    raw = draw(
        st.lists(st.one_of(st.just(0.0), st.floats(0.001, 1)), min_size=1, max_size=12).filter(lambda r: sum(r) > 0)
    )
    total = sum(raw)
    return {f"e{i}": r / total for i, r in enumerate(raw)}


@given(splits(), st.sampled_from([1, 10, 100, 255, 256, 999, 1000]))
def test_integer_weights_are_close_and_keep_zeros(shares: dict[str, float], most: int) -> None:
    caps = Capabilities(weight_max=most)
    desired = desired_for(route(len(shares)), shares, shares, caps, {})
    assert not desired.empty
    assert max(desired.weights.values()) == most
    top = max(shares.values())
    for name, share in shares.items():
        assert (desired.weights[name] > 0) == (share > 0)
        assert abs(desired.weights[name] - share / top * most) <= 1 + 1e-9


@given(splits())
def test_planning_again_from_what_is_served_changes_nothing(shares: dict[str, float]) -> None:
    for caps in (Capabilities(weight_max=255), MEMBERSHIP):
        first = desired_for(route(len(shares)), shares, shares, caps, {})
        again = desired_for(route(len(shares)), shares, shares, caps, first.weights)
        assert again == first


@given(splits(), splits())
def test_membership_is_never_empty(shares: dict[str, float], normal: dict[str, float]) -> None:
    desired = desired_for(route(len(shares)), shares, normal, MEMBERSHIP, {})
    assert not desired.empty
    assert set(desired.weights.values()) <= {0, 1}


@pytest.mark.parametrize(
    ("share", "now_in", "expected"), [(0.5, 0, 1), (0.49, 0, 0), (0.49, 1, 1), (0.25, 1, 1), (0.24, 1, 0), (0.0, 1, 0)]
)
def test_membership_comes_in_at_half_and_leaves_below_a_quarter(share: float, now_in: int, expected: int) -> None:
    normal = {"e0": 0.5, "e1": 0.5}
    shares = {"e0": 0.5 * share, "e1": 1 - 0.5 * share}
    assert desired_for(route(2), shares, normal, MEMBERSHIP, {"e0": now_in}).weights["e0"] == expected


def test_a_dns_membership_target_counts_once_per_address() -> None:
    targets = (
        Target("z1", ("a", "b"), {"a": ("10.0.0.1",), "b": ("10.0.0.2",)}),
        Target("z2", ("c",), {"c": ("10.0.0.3",)}),
    )
    per_zone = Route(key="p/r", service="s", provider="p", name="r", per="zone", targets=targets)
    shares = {"a": 0.3, "b": 0.3, "c": 0.4}
    desired = desired_for(per_zone, shares, shares, MEMBERSHIP, {})
    assert realised(desired, MEMBERSHIP) == pytest.approx({"z1": 2 / 3, "z2": 1 / 3})


def test_a_scope_without_traffic_has_no_split() -> None:
    assert scoped({"a": 0.0, "b": 1.0}, frozenset({"a"})) is None
    assert scoped({"a": 0.2, "b": 0.8}, frozenset({"a"})) == {"a": 1.0}


def test_a_share_that_is_the_minimum_is_served() -> None:
    shares = {"e0": 0.9, "e1": 1 - 0.9}
    assert shares["e1"] < 0.1  # by a rounding error
    desired = desired_for(route(2), shares, shares, Capabilities(weight_max=100, minimum=0.1), {})
    assert desired.weights["e1"] == 11
