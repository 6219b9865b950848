"""Endpoints in files of their own: CSV and YAML, with problems told at their place in that file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.configs import GOOD, parse, problems

HEADER = "name,zone,url,address,capacity\n"
ROWS = "chat-a,eu-a,http://10.0.1.1:8000,203.0.113.1,100\nchat-b,eu-b,http://10.0.2.1:8000,203.0.113.2,100\n"
ROWS += 'chat-c,us-a,"http://10.0.3.1:8000",203.0.113.3,100\n'


def with_file(name: str) -> str:
    before, _, rest = GOOD.partition("    endpoints:\n")
    return before + f"    endpoints: {{file: {name}}}\n    routes:" + rest.partition("    routes:")[2]


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("\ufeff" + HEADER + "\n" + ROWS, encoding="utf-8")
    assert parse(with_file("e.csv"), tmp_path) == parse(GOOD)


def test_yaml(tmp_path: Path) -> None:
    block = GOOD.partition("    endpoints:\n")[2].partition("    routes:")[0]
    (tmp_path / "e.yaml").write_text("\n".join(line.strip() for line in block.splitlines()))
    assert parse(with_file("e.yaml"), tmp_path) == parse(GOOD)


@pytest.mark.parametrize(
    ("text", "place", "needle"),
    [
        (HEADER + ROWS.replace("eu-b", "eu-x"), "3:8", "there is no zone 'eu-x'"),
        (HEADER + ROWS.replace("203.0.113.2", "203.0.113.x"), "3:34", "is not an IPv4 address"),
        ("name,zone,url,adress,capacity\n" + ROWS, "1:15", "did you mean 'address'?"),
        ("name,zone,address,capacity\n", "1:1", "column 'url' is missing"),
        (HEADER + ROWS + ROWS[: ROWS.index("\n")], "5:1", "stands twice (first on line 2)"),
        (HEADER + "a,b,c,d,e,f\n", "2:1", "6 cells where the header has 5"),
        (HEADER + '"a', "2:1", "not valid CSV"),
        ("", "1:1", "the file is empty"),
        (HEADER, "1:1", "no endpoints here"),
    ],
)
def test_problems_in_a_csv(tmp_path: Path, text: str, place: str, needle: str) -> None:
    (tmp_path / "e.csv").write_text(text)
    right = [str(p) for p in problems(with_file("e.csv"), tmp_path) if needle in p.text]
    assert right
    assert right[0].startswith(f"{tmp_path / 'e.csv'}:{place}: ")


@pytest.mark.parametrize(
    ("name", "text", "needle"),
    [
        ("e.yaml", "file: other.yaml", "cannot name another file"),
        ("e.yaml", "[1, 2]", "a mapping of endpoints belongs"),
        ("e.yaml", "{", "not valid YAML"),
        ("e.txt", "", "neither .csv nor .yaml"),
        ("e.csv", "\xff\xfe", "not UTF-8"),
    ],
)
def test_other_problems(tmp_path: Path, name: str, text: str, needle: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert any(needle in p.text for p in problems(with_file(name), tmp_path))


def test_a_missing_file_is_told_where_it_is_named(tmp_path: Path) -> None:
    found = next(p for p in problems(with_file("none.csv"), tmp_path) if "cannot read" in p.text)
    assert (found.file, found.line) == ("test.yaml", with_file("none.csv").partition("{file:")[0].count("\n") + 1)
