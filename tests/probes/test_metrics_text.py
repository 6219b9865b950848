"""Prometheus' text: both spellings, old names, labels, times, and texts made to hurt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import metrics_text
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


def repeats(parsed: Any) -> Iterator[str]:
    """The operators of a parsed pattern, however deep, that repeat without a bound."""
    for part in parsed:
        if isinstance(part, re._parser.SubPattern):  # type: ignore[attr-defined]
            yield from repeats(part)
        elif isinstance(part, tuple | list):
            if str(part[0]).endswith("_REPEAT") and part[1][1] is re._constants.MAXREPEAT:  # type: ignore[attr-defined]
                yield str(part[0])
            yield from repeats(part)


@pytest.mark.parametrize("pattern", [metrics_text._LINE, metrics_text._LABEL])
def test_no_repeat_gives_back_what_it_took_so_that_hostile_lines_cost_one_pass(pattern: re.Pattern[str]) -> None:
    found = list(repeats(re._parser.parse(pattern.pattern)))  # type: ignore[attr-defined]
    assert len(found) >= 2
    assert set(found) == {"POSSESSIVE_REPEAT"}


@pytest.mark.parametrize(
    "line", ["a" + " " * 200 + "1 x x", "a{" + 'x="y",' * 20, 'a{x="' + "\\a" * 20, "a 1 111x", 'a "1', "a{}", "a {b} "]
)
def test_lines_that_are_no_samples_are_told(line: str) -> None:
    reader = read(line + "\n", "a")
    assert reader.get(["a"]) == []
    assert reader.broken is not None


@pytest.mark.parametrize(
    ("line", "value", "labels"),
    [
        ("a \t 1", 1.0, ()),
        ('a {b="c"}  2', 2.0, (("b", "c"),)),
        ('a{ d="e" , } 3', 3.0, (("d", "e"),)),
        ("a 4 #{x} 1", 4.0, ()),
        ("a 5   1700000000 # note", 5.0, ()),
    ],
)
def test_blanks_where_the_format_allows_them(line: str, value: float, labels: tuple[tuple[str, str], ...]) -> None:
    (found,) = read(line + "\n", "a").get(["a"])
    assert (found.value, found.labels) == (value, labels)
