from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probes.sse import Event, EventStream, TooLongError


def events(*pieces: bytes, **bounds: int) -> list[Event]:
    stream = EventStream(**bounds)
    return [*itertools.chain.from_iterable(stream.feed(piece) for piece in pieces), *stream.end()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: a\n\n", [Event("message", "a")]),
        (b"data:a\r\n\r\ndata: b\r\r", [Event("message", "a"), Event("message", "b")]),
        (b"data: a\ndata:\ndata:  c\n\n", [Event("message", "a\n\n c")]),
        (b"event: error\ndata: x\n\ndata: y\n\n", [Event("error", "x"), Event("message", "y")]),
        (b": ping\n\n: ping\n\ndata: a\n\n", [Event("message", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("message", "a")]),
        (b"data: \xff\n\n", [Event("message", "�")]),
        (b"id: 7\nretry: 10\nnonsense\ndata: a\n\n", [Event("message", "a")]),
        (b"event: lonely\n\ndata: a\n\n", [Event("message", "a")]),
        (b"data: cut off here", [Event("message", "cut off here")]),
        (b"data: a\n", [Event("message", "a")]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_what_the_standard_says(data: bytes, expected: list[Event]) -> None:
    assert events(data) == expected


LINES = st.lists(
    st.sampled_from([b"data: x", b"data:", b": c", b"event: e", b"", b"data: \xc3\xa4", b"junk"]), max_size=20
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(LINES, ENDS, st.lists(st.integers(min_value=0, max_value=120), max_size=12))
@example([b"data: x", b"data: x"], b"\r\n", [8, 8])
def test_how_the_stream_is_cut_into_pieces_changes_nothing(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    data = b"".join(line + end for line in lines)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert events(*pieces) == events(data) == events(*(data[i : i + 1] for i in range(len(data))))


@given(st.lists(st.binary(max_size=64), max_size=30))
def test_any_bytes_are_taken_or_too_long(pieces: list[bytes]) -> None:
    try:
        found = events(*pieces, max_line=100, max_bytes=500)
    except TooLongError:
        assert sum(len(piece) for piece in pieces) > 100
    else:
        assert sum(len(event.data) for event in found) <= 500


def test_the_bounds_hold() -> None:
    with pytest.raises(TooLongError, match="line over 10 bytes"):
        events(b"data: 1234", b"567890\n\n", max_line=10)
    with pytest.raises(TooLongError, match="stream over 20 bytes"):
        events(b"data: 1\n\n" * 2, b"data: 1\n\n", max_bytes=20)
