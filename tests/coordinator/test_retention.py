"""Cleanup never removes the applied, the desired or an in-flight decision (invariant 11)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steerd.coordinator.retention import Kept, removable

ROUTES = st.frozensets(st.sampled_from(["a", "b", "c", "d"]), min_size=1)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Kept], set[str]]:
    kept = []
    for n in range(draw(st.integers(0, 30))):
        routes = draw(ROUTES)
        receipts = frozenset(draw(st.sets(st.sampled_from(sorted(routes)))))
        kept.append(Kept(f"1.{n}", routes, receipts, draw(st.integers(1, 100))))
    flying = draw(st.sets(st.sampled_from([k.id for k in kept]), max_size=3)) if kept else set()
    return kept, flying


@given(histories(), st.integers(0, 10), st.integers(0, 1000))
def test_what_is_needed_stays_and_the_rest_is_bounded(
    history: tuple[list[Kept], set[str]], most: int, most_bytes: int
) -> None:
    kept, flying = history
    gone = set(removable(kept, flying, most, most_bytes))
    stays = [k for k in kept if k.id not in gone]
    needed = set(flying)
    for route in {r for k in kept for r in k.routes}:
        needed.add([k.id for k in kept if route in k.routes][-1])
        applied = [k.id for k in kept if route in k.receipts]
        needed.update(applied[-1:])
    assert needed <= {k.id for k in stays}
    extra = [k for k in stays if k.id not in needed]
    assert len(extra) <= most
    assert sum(k.size for k in extra) <= most_bytes


@given(histories())
def test_within_bounds_nothing_goes(history: tuple[list[Kept], set[str]]) -> None:
    kept, flying = history
    assert removable(kept, flying, len(kept), sum(k.size for k in kept)) == []
