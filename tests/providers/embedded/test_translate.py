"""The translation for any plan: pure, a thousand plans."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers.embedded.translate import observed_from, translate

VALUES = {
    "za": ("192.0.2.1", "192.0.2.11", "2001:db8::1"),
    "zb": ("192.0.2.2", "2001:db8::2"),
    "zc": ("192.0.2.3", "2001:db8::3"),
}
ROUTE = Route(
    key="it/chat",
    service="chat",
    provider="it",
    name="chat.acme.example",
    per="zone",
    targets=tuple(Target(z, (z,), {z: v}) for z, v in VALUES.items()),
    types=("A", "AAAA"),
)
plans = st.fixed_dictionaries({z: st.sampled_from([0, 0, 1, 7, 2500, 10_000]) for z in VALUES}).filter(
    lambda w: any(w.values())
)


@settings(max_examples=1000, deadline=None)
@given(sequence=st.lists(plans, min_size=1, max_size=4))
def test_any_plans_in_a_row(sequence: list[dict[str, int]]) -> None:
    record, fence = None, Fence("acme", 1, 1, "p")
    for weights in sequence:
        wanted = Desired(tuple(Member(z, w, VALUES[z] if w else ()) for z, w in weights.items()))
        observed = observed_from(ROUTE, record)
        change = translate(ROUTE, wanted, observed, fence)
        assert change == translate(ROUTE, wanted, observed, fence)
        record = record if change.nothing else change.payload.new
        assert record is not None
        told = observed_from(ROUTE, record)
        assert told.weights == weights, "exact: no quantization is left to the provider"
        for kind in ROUTE.types:
            assert abs(sum(record.values(kind).values()) - sum(weights.values())) < 1e-6, (
                "a target's weight is shared by its values"
            )
        assert translate(ROUTE, wanted, told, fence).nothing
        assert not translate(ROUTE, wanted, told, Fence("acme", 2, 1, "p")).nothing
