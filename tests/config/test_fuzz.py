"""Whatever the bytes are, the answer is a fleet or a `ConfigError`, soon and in bounded memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steerd import config
from steerd.config import nodes
from tests.support.configs import GOOD, problems

LINES = GOOD.splitlines()
BITS = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "\n",
    "  ",
    "&a ",
    "*a",
    "<<: ",
    "!x ",
    "'",
    '"',
    "#",
    "|",
    ">",
    "\t",
    "null",
    "~",
    "\0",
    "%",
    "---\n",
    "? ",
]

PARSED = config.parse(GOOD, "x", Path())


def read(text: str) -> None:
    found: tuple[config.Problem, ...] = ()
    try:
        config.parse(text, "fuzz.yaml", Path("/nonexistent"))
    except config.ConfigError as error:
        found = error.problems or (config.Problem("", 0, 0, ""),)
    for problem in found:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.text


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    read(text)


@given(st.lists(st.sampled_from([*LINES, *BITS]), max_size=60))
def test_pieces_of_yaml(pieces: list[str]) -> None:
    read("\n".join(pieces))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.sampled_from(["", *BITS]) | st.text(max_size=8))
def test_a_good_config_with_a_piece_replaced(at: int, length: int, piece: str) -> None:
    read(GOOD[:at] + piece + GOOD[at + length :])


@given(st.randoms(use_true_random=False))
def test_values_that_belong_elsewhere(chance: random.Random) -> None:
    """Lines of a good config in each other's places: the right syntax with the wrong meaning."""
    lines = list(LINES)
    for _ in range(chance.randint(1, 6)):
        a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
        key, _, _ = lines[a].partition(": ")
        _, _, value = lines[b].partition(": ")
        lines[a] = f"{key}: {value}"
    read("\n".join(lines))


@given(st.binary(max_size=300))
def test_any_bytes_in_a_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert str(caught.value.problems[0]).startswith(str(path))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: ", "&a [", "a:\n "])
def test_deep_nesting(opening: str) -> None:
    for depth in (60, 70, 1_000, 100_000):
        read(opening * depth)
        read("fleet: x\nservices: " + opening * depth)


def test_deep_block_nesting() -> None:
    text = "\n".join(f"{' ' * i}a:" for i in range(500))
    assert "levels deep" in problems(text)[0].text


def test_alias_bombs_stop_early() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    found = problems("\n".join(levels))
    assert any("once aliases are expanded" in p.text for p in found)


def test_nesting_through_aliases_stops() -> None:
    levels = ["a0: &a0 [[[[[[[[[[x]]]]]]]]]]"]
    levels += [f"a{i}: &a{i} [[[[[[[[[[*a{i - 1}]]]]]]]]]]" for i in range(1, 10)]
    assert any("levels deep through this alias" in p.text for p in problems("\n".join(levels)))


def test_an_anchor_inside_itself() -> None:
    assert "no anchor &a complete before it" in problems("fleet: &a [*a]")[0].text


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(nodes.MAX_BYTES + 1)
    with pytest.raises(config.ConfigError, match="is over 16 MiB"):
        config.load(path)


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: None, lambda p: p.symlink_to(p)])
def test_files_that_cannot_be_read(tmp_path: Path, make: object) -> None:
    path = tmp_path / "x.yaml"
    make(path)  # type: ignore[operator]
    with pytest.raises(config.ConfigError, match="cannot read"):
        config.load(path)


def test_many_problems_are_counted() -> None:
    text = GOOD + "".join(f"key{i}: 1\n" for i in range(1500))
    found = problems(text)
    assert len(found) == 1001
    assert "and 500 problems more" in found[-1].text


@pytest.fixture
def without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host whose PyYAML has no C parser."""
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)


@pytest.mark.usefixtures("without_libyaml")
def test_the_parser_in_python_reads_the_same() -> None:
    assert config.parse(GOOD, "x", Path()) == PARSED
    wrong = problems(GOOD.replace("rto: 60s", "rto: 60"))[0]
    assert (wrong.line, wrong.column) == (24, 23)


@pytest.mark.usefixtures("without_libyaml")
@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000, "fleet: \ud800", 'fleet: "\\ud800"', "a: \0", "&a [*a]"]
)
def test_the_parser_in_python_is_bounded_too(text: str) -> None:
    read(text)
