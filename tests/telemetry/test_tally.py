"""The hot-path histogram counts exactly what the SDK's own histogram counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader

from steerd.telemetry.names import BY_NAME, LATENCY_BOUNDS_S, Spec
from steerd.telemetry.tally import Tally

SPEC = Spec("t", "s", "tally", "help", ("service", "outcome"), LATENCY_BOUNDS_S)

values = st.lists(
    st.tuples(
        st.sampled_from([("chat", "PASS"), ("chat", "FAIL"), ("embed", "PASS")]),
        st.one_of(st.floats(0, 100), st.sampled_from(LATENCY_BOUNDS_S)),
        st.sampled_from(["at once", "gathered", "gathered and counted"]),
    ),
    min_size=1,
    max_size=60,
)


@given(values)
def test_it_agrees_with_the_sdk(looks: list[tuple[tuple[str, str], float, str]]) -> None:
    tally = Tally(SPEC, started_ns=1)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    histogram = provider.get_meter("m").create_histogram("t", explicit_bucket_boundaries_advisory=LATENCY_BOUNDS_S)
    for labels, value, way in looks:
        (tally.add if way == "at once" else lambda key, one: tally.adder(key)(one))(labels, value)
        if way == "gathered and counted":
            tally.fold()
        histogram.record(value, dict(zip(SPEC.labels, labels, strict=True)))
    data = reader.get_metrics_data()
    assert data is not None
    theirs = data.resource_metrics[0].scope_metrics[0].metrics[0].data
    ours = tally.metric(now_ns=2)
    assert ours is not None
    assert isinstance(theirs, Histogram)
    assert isinstance(ours.data, Histogram)

    def rows(data: Histogram) -> dict[frozenset[object], tuple[object, ...]]:
        return {
            frozenset((p.attributes or {}).items()): (
                p.count, tuple(p.bucket_counts), tuple(p.explicit_bounds), p.min, p.max, pytest.approx(p.sum),
            )
            for p in data.data_points
        }  # fmt: skip

    assert rows(ours.data) == rows(theirs)
    provider.shutdown()


def test_nothing_counted_is_no_metric() -> None:
    assert Tally(SPEC, 1).metric(2) is None


def test_series_are_bounded_and_nothing_is_lost() -> None:
    tally = Tally(SPEC, 1, limit=3)
    for i in range(10):
        tally.add((f"s{i}", "PASS"), 0.1)
    metric = tally.metric(2)
    assert metric is not None
    assert isinstance(metric.data, Histogram)
    points = metric.data.data_points
    assert len(points) == 4
    assert sum(p.count for p in points) == 10
    assert points[-1].attributes == {"otel.metric.overflow": True}
    assert len(tally.counts()) == 3


def test_a_copy_does_not_change_with_what_comes_after() -> None:
    tally = Tally(SPEC, 1)
    tally.add(("chat", "PASS"), 0.1)
    metric = tally.metric(2)
    tally.add(("chat", "PASS"), 0.1)
    assert metric is not None
    assert isinstance(metric.data, Histogram)
    assert metric.data.data_points[0].count == 1
    assert tally.counts() == [({"service": "chat", "outcome": "PASS"}, 2)]


def test_what_was_gathered_is_counted_once_and_not_kept() -> None:
    tally = Tally(SPEC, 1)
    add = tally.adder(("chat", "PASS"))
    assert tally.metric(2) is None  # a series begins with its first value
    add(0.1)
    for _ in range(2):
        assert tally.counts() == [({"service": "chat", "outcome": "PASS"}, 1)]
    assert not any(tally._gathered.values())
    add(0.1)
    assert tally.counts() == [({"service": "chat", "outcome": "PASS"}, 2)]


def test_the_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Tally(SPEC, 1).add(("chat",), 0.1)
    with pytest.raises(ValueError, match="has the labels"):
        Tally(SPEC, 1).adder(("chat",))


def test_bounds_of_every_histogram_grow() -> None:
    for spec in BY_NAME.values():
        assert (spec.kind in {"tally", "histogram"}) == bool(spec.bounds), spec.name
        assert list(spec.bounds) == sorted(set(spec.bounds))
