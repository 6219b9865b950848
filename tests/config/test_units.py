"""Durations, fractions and rates: what they mean, and that writing one back loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("2m30s", 150.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "30s2m", "5sec", "1e3s", "5s\n", "\u0665s", "5S"])
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80%", 0.8),
        ("2/3", 2 / 3),
        ("0.8", 0.8),
        ("1", 1.0),
        ("0", 0.0),
        ("99.99%", 0.9999),
        ("5%", 0.05),
        ("100%", 1.0),
    ],
)
def test_fractions(text: str, value: float) -> None:
    assert units.parse_fraction(text) == value


@pytest.mark.parametrize("text", ["", "80", "%", "-1%", "1/0", "101%", "3/2", "1.5", "1e-1", "0,8"])
def test_not_fractions(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (not|over)"):
        units.parse_fraction(text)


def test_rates() -> None:
    assert units.parse_rate("50/s") == 50.0
    assert units.parse_rate("600/m") == 10.0
    with pytest.raises(ValueError, match="write 50/s"):
        units.parse_rate("50")


@given(st.floats(min_value=0.001, max_value=3e7))
def test_a_duration_reads_back_exactly(seconds: float) -> None:
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.integers(0, 10**8))
def test_a_duration_of_whole_milliseconds_reads_back_exactly(ms: int) -> None:
    assert units.parse_duration(units.format_duration(ms / 1000)) == ms / 1000


@given(st.floats(min_value=0, max_value=1) | st.fractions(0, 1, max_denominator=12).map(float))
def test_a_fraction_reads_back_exactly(value: float) -> None:
    # Below 1e-20 the text would be longer than any reader wants; no rule has such a constant.
    if value == 0 or value > 1e-20:
        assert units.parse_fraction(units.format_fraction(value)) == value


def test_short_where_it_can_be() -> None:
    assert [units.format_duration(s) for s in (0.25, 5.0, 90.0, 600.0, 86400.0)] == ["250ms", "5s", "90s", "10m", "1d"]
    assert [units.format_fraction(f) for f in (0.8, 2 / 3, 0.9999, 1 / 3, 0.0, 1.0)] == [
        "80%",
        "2/3",
        "99.99%",
        "1/3",
        "0%",
        "100%",
    ]
