"""The codec of the agent stream: round trips, and nothing but `BadFrame` for anything else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.model.sample import Layer, Reading
from steerd.model.vote import Ballot, CheckCounts, Confirm, Heartbeat, Verdict, Vote, Welcome
from steerd.wire import MAX_FRAME, BadFrame, Frame, decode, encode, encode_what_can_be

names = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
floats = st.floats(allow_nan=False)
readings = st.lists(st.builds(Reading, names, names, floats, floats), max_size=3).map(tuple)
votes = st.builds(
    Vote,
    endpoint=names,
    verdict=st.sampled_from(Verdict),
    sequence=numbers,
    layer=st.none() | st.sampled_from(Layer),
    check=st.none() | names,
    reason=st.none() | names,
    transport=st.booleans(),
    all_failed=st.booleans(),
    suspect=st.booleans(),
    counts=st.lists(st.builds(CheckCounts, names, numbers, numbers), max_size=3).map(tuple),
    version=st.none() | names,
    errors=st.lists(names, max_size=3).map(tuple),
)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Ballot,
        agent=names,
        incarnation=numbers,
        number=numbers,
        full=st.booleans(),
        votes=st.lists(votes, max_size=4).map(tuple),
        readings=readings,
        abstaining=st.none() | names,
        config_hash=names,
        version=names,
    ),
    st.builds(
        Heartbeat,
        agent=names,
        incarnation=numbers,
        number=numbers,
        stale=st.lists(names, max_size=4).map(tuple),
        readings=readings,
        abstaining=st.none() | names,
        config_hash=names,
    ),
    st.builds(Confirm, st.lists(names, max_size=4).map(tuple)),
    st.builds(Welcome, names, names, st.booleans()),
)
junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(frames)
def test_what_is_sent_is_what_arrives(frame: Frame) -> None:
    found = decode(encode(frame))
    assert found == frame
    assert type(found) is type(frame)


@given(st.binary(max_size=400))
def test_random_bytes_are_bad_frames_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)


@given(st.sampled_from(["ballot", "heartbeat", "confirm", "welcome", "unheard-of"]), junk)
def test_a_known_tag_on_anything_is_a_frame_or_a_bad_frame(tag: str, body: Any) -> None:
    data = msgspec.msgpack.encode((tag, body))
    try:
        frame = decode(data)
    except BadFrame:
        return
    assert decode(encode(frame)) == frame


@given(frames, st.data())
def test_damaged_frames_never_raise_anything_else(frame: Frame, data: st.DataObject) -> None:
    raw = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for damaged in (bytes(raw), bytes(raw[:cut])):
        try:
            found = decode(damaged)
        except BadFrame:
            continue
        assert isinstance(found, Ballot | Heartbeat | Confirm | Welcome)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_a_bad_frame(depth: int) -> None:
    with pytest.raises(BadFrame):
        decode(b"\x91" * depth)
    with pytest.raises(BadFrame):
        decode(b"\x92\xa6ballot" + b"\x91" * depth + b"\xc0")


def test_lengths_that_promise_more_than_there_is_are_bad_frames() -> None:
    for head in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"):
        with pytest.raises(BadFrame):
            decode(head)
        with pytest.raises(BadFrame):
            decode(b"\x92\xa6ballot" + head)


def test_a_frame_over_the_limit_is_not_looked_at() -> None:
    with pytest.raises(BadFrame, match="over the limit"):
        decode(b"\x00" * (MAX_FRAME + 1))


def test_fields_of_a_newer_version_are_passed_over() -> None:
    body = {"coordinator": "euw1", "config_hash": "h", "leading": True, "mood": "fine"}
    assert decode(msgspec.msgpack.encode(("welcome", body))) == Welcome("euw1", "h", leading=True)


def test_fields_that_an_older_version_did_not_send_have_their_defaults() -> None:
    body = {"agent": "a", "incarnation": 1, "number": 2}
    assert decode(msgspec.msgpack.encode(("heartbeat", body))) == Heartbeat("a", 1, 2)


def test_a_text_that_is_none_costs_itself_and_nothing_else() -> None:
    bad = "v\udcff1"
    votes = (
        Vote("e1", Verdict.HEALTHY, 1),
        Vote("e2", Verdict.UNHEALTHY, 2, reason=bad, version="v2", errors=(bad,)),
        Vote(bad, Verdict.HEALTHY, 3),
    )
    seen = (Reading("e1", bad, 1.0, 0.0), Reading("e1", "depth", 2.0, 0.0))
    data, left = encode_what_can_be(Ballot("a1", 1, 2, full=True, votes=votes, readings=seen, abstaining=bad))
    ballot = decode(data)
    assert isinstance(ballot, Ballot)
    assert ballot.votes == (votes[0], Vote("e2", Verdict.UNHEALTHY, 2))
    assert (ballot.readings, ballot.abstaining) == (seen[1:], "v?1")
    assert len(left) == 4
    assert all(words.isascii() for words in left)
    data, left = encode_what_can_be(Heartbeat("a1", 1, 3, stale=("e1", bad), readings=seen))
    assert decode(data) == Heartbeat("a1", 1, 3, stale=("e1",), readings=seen[1:])
    assert len(left) == 2


@given(frames.filter(lambda frame: isinstance(frame, Ballot | Heartbeat)))
def test_what_can_be_sent_is_sent_whole(frame: Ballot | Heartbeat) -> None:
    assert encode_what_can_be(frame) == (encode(frame), ())
