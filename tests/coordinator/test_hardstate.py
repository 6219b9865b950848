"""The hard state survives the store, and small changes touch few keys."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.coordinator.hardstate import PARTS, join, split
from steerd.model.plan import Cause, Drain, Freeze, HardState, Phase, Pin
from steerd.model.route import Desired, Member

NAMES = st.text('ab.-/ é"', min_size=1, max_size=12)
TIMES = st.floats(0, 2e9, allow_nan=False)
SHARES = st.floats(0, 1)
DESIRED = st.builds(
    Desired, st.tuples(st.builds(Member, NAMES, st.integers(0, 255), st.lists(NAMES, max_size=2).map(tuple)))
)
DRAINS = st.builds(
    Drain,
    name=NAMES,
    kind=st.sampled_from(["endpoint", "zone", "region"]),
    cause=st.sampled_from(Cause),
    by=NAMES,
    reason=NAMES,
    since=TIMES,
    service=st.none() | NAMES,
    phase=st.sampled_from(Phase),
    fraction=SHARES,
    until=st.none() | TIMES,
    now=st.booleans(),
)
STATES = st.builds(
    HardState,
    drains=st.lists(DRAINS, max_size=3).map(tuple),
    pins=st.lists(
        st.builds(Pin, name=NAMES, share=SHARES, by=NAMES, reason=NAMES, since=TIMES, until=TIMES), max_size=2
    ).map(tuple),
    freeze=st.none() | st.builds(Freeze, by=NAMES, reason=NAMES, since=TIMES, until=st.none() | TIMES),
    desired=st.dictionaries(NAMES, DESIRED, max_size=5),
    shares=st.dictionaries(NAMES, st.dictionaries(NAMES, SHARES, max_size=4), max_size=3),
    last_change=st.dictionaries(NAMES, TIMES, max_size=4),
    epoch=st.integers(0, 2**40),
    seq=st.integers(0, 2**40),
)


@given(STATES)
def test_what_is_split_joins_to_the_same(state: HardState) -> None:
    assert join(split(state)) == state


def test_nothing_stored_is_no_state() -> None:
    assert join({}) is None


def test_something_else_is_an_error() -> None:
    with pytest.raises(msgspec.MsgspecError):
        join({"": b'{"epoch": "many"}'})


def test_keys_are_bounded_and_one_route_touches_two() -> None:
    routes = {f"dns/route-{n}": Desired((Member("a", 1),)) for n in range(5000)}
    before = split(HardState(desired=routes))
    assert len(before) == PARTS + 1
    after = split(HardState(desired={**routes, "dns/route-7": Desired((Member("a", 0),))}, seq=1))
    assert len([k for k in before if before[k] != after[k]]) == 2


def test_order_of_entries_does_not_matter() -> None:
    one = HardState(last_change={"a": 1.0, "b": 2.0})
    assert split(one) == split(replace(one, last_change={"b": 2.0, "a": 1.0}))
