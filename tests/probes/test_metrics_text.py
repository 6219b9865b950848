"""Prometheus' text: both spellings, old names, labels, times, and texts made to hurt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.metrics_text import MetricsReader, Series


def read(text: str | bytes, *names: str, piece: int = 1 << 20) -> MetricsReader:
    reader = MetricsReader.of(names)
    data = text.encode() if isinstance(text, str) else text
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
    reader.end()
    return reader


@pytest.mark.parametrize("written", ["sglang:num_running_reqs", "sglang_num_running_reqs"])
@pytest.mark.parametrize("asked", ["sglang:num_running_reqs", "sglang_num_running_reqs"])
def test_both_spellings_are_one_metric(written: str, asked: str) -> None:
    assert [one.value for one in read(f"# TYPE x gauge\n{written} 3\n", asked).get([asked])] == [3.0]


def test_counters_with_and_without_total() -> None:
    assert read("tokens 4\n", "tokens_total").get(["tokens_total"])[0].value == 4.0
    assert read("tokens_total 4\n", "tokens").get(["tokens"])[0].value == 4.0


def test_the_first_name_that_is_there_counts() -> None:
    new, old = "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"
    assert read(f"{old} 0.5\n", new, old).get([new, old])[0].value == 0.5
    assert read(f"{old} 0.5\n{new} 0.7\n", new, old).get([new, old])[0].value == 0.7


def test_labels_times_and_values_as_they_are_written() -> None:
    text = 'a{b="x,y}",c="q\\"\\\\\\n"} 1e3 1700000000123\na{} -Inf\na NaN\na{d="2"} 2 1700000000.5 # {t="x"} 1\n'
    found = read(text, "a").get(["a"])
    assert found == [
        Series((("b", "x,y}"), ("c", 'q"\\\n')), 1000.0, 1700000000.123),
        Series((("d", "2"),), 2.0, 1700000000.5),
    ]
    assert found[0].label("b") == "x,y}"
    assert found[0].label("z") is None


@given(st.integers(1, 40))
def test_how_it_is_cut_into_pieces_changes_nothing(piece: int) -> None:
    text = '# HELP a b\na{m="ü"} 1\nother 7\na{m="b"} 2\r\na 3'
    assert read(text, "a", piece=piece).get(["a"]) == read(text, "a").get(["a"])


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    reader = read(data, "a", piece=7)
    assert all(isinstance(one.value, float) for one in reader.get(["a"]))


def test_an_endless_line_and_too_many_series_are_bounded() -> None:
    reader = MetricsReader.of(["a"])
    for _ in range(1000):
        reader.feed(b"a" * 65536)
    assert reader.broken is not None
    assert len(reader._rest) <= 65536
    many = read("".join(f'a{{n="{n}"}} 1\n' for n in range(11_000)), "a")
    assert len(many.get(["a"])) == 10_000


def test_what_is_no_metrics_text_has_no_lines() -> None:
    assert read("<html>\n</html>\n", "a").lines == 0
    assert read("b 1\n", "a").lines == 1
