"""Durations, shares and moments as they are typed."""

from __future__ import annotations

from datetime import datetime

import click
import pytest

from steerd.cli.durations import DURATION, MOMENT, SHARE, ago, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("1h30m", 5400),
        ("2m30s", 150),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2d", 172800),
    ],
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "1", "h", "1h30", "-1h", "1 h", "0s", "1w", "1h-30m", "inf"])
def test_no_durations(text):
    with pytest.raises(ValueError, match=r"duration"):
        seconds(text)
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(("text", "expected"), [("25%", 0.25), ("0.25", 0.25), ("0", 0), ("100%", 1), ("1", 1)])
def test_shares(text, expected):
    assert SHARE.convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["25", "101%", "-1%", "x", "%", "nan", "inf", ""])
def test_no_shares(text):
    with pytest.raises(click.BadParameter):
        SHARE.convert(text, None, None)


def test_moments():
    assert MOMENT.convert("1970-01-01T00:01:00+00:00", None, None) == 60
    assert MOMENT.convert("2030-01-31T09:00", None, None) == datetime(2030, 1, 31, 9).astimezone().timestamp()
    now = datetime.now().astimezone().timestamp()
    assert now - 7300 < MOMENT.convert("2h", None, None) <= now
    with pytest.raises(click.BadParameter):
        MOMENT.convert("yesterday", None, None)


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(-5, "0s"), (0, "0s"), (89, "89s"), (90, "2m"), (5399, "90m"), (5400, "2h"), (172799, "48h"), (259200, "3d")],
)
def test_ago(span_s, text):
    assert ago(span_s) == text
