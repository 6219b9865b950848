"""LUA records: the weighted choice steerd writes, and reading it back. Pure.

`A "pickwrandom({{30,'192.0.2.1'},{10,pickrandom({'192.0.2.2','192.0.2.3'})}})"`: one group per target, so that a target keeps
its weight whatever the number of its addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from steerd.providers.records import canonical

__all__ = ["CHUNK_BYTES", "Group", "content", "parse", "type_in"]

CHUNK_BYTES = 250
"""A string of a record holds 255 bytes. PowerDNS cuts longer ones anywhere when it transfers the zone, and joins them by a
blank: a number or a name cut in two would be broken on every secondary. steerd cuts between groups."""

_VALUE = r"'([^']*)'"
_GROUP = re.compile(rf"\{{(\d+),(?:{_VALUE}|pickrandom\(\{{((?:'[^']*',?)+)\}}\))\}}(,|$)")
_SCRIPT = re.compile(r"pickwrandom\(\{(.*)\}\)")


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Values that share one weight: with it the group is drawn, then one of its values."""

    weight: int
    values: tuple[str, ...]


def type_in(text: str) -> str:
    """The record type a LUA record answers for: the first word of its content."""
    return text.split(maxsplit=1)[0].upper() if text.strip() else ""


def content(kind: str, groups: Iterable[Group]) -> str:
    """The content of a LUA record, cut into strings between groups (and inside of one that is too long by itself)."""
    pieces = ["pickwrandom({"]
    for number, group in enumerate(groups):
        values = [f"'{v}{'.' if kind == 'CNAME' else ''}'" for v in group.values]
        comma = "," if number else ""
        if len(values) == 1:
            pieces.append(f"{comma}{{{group.weight},{values[0]}}}")
        else:
            pieces += [f"{comma}{{{group.weight},pickrandom({{{values[0]}", *(f",{v}" for v in values[1:]), "})}"]
    pieces.append("})")
    chunks = [""]
    for piece in pieces:
        if len(chunks[-1]) + len(piece) > CHUNK_BYTES:
            chunks.append("")
        chunks[-1] += piece
    return f"{kind} " + " ".join(f'"{c}"' for c in chunks)


def parse(text: str) -> tuple[Group, ...] | None:
    """The groups of a LUA record's content; None for a script that steerd could not have written."""
    strings = re.findall(r'"([^"]*)"', text)
    script = _SCRIPT.fullmatch("".join(s.replace(" ", "") for s in strings))
    if script is None:
        return None
    found, at, rest = [], 0, script.group(1)
    while at < len(rest):
        match = _GROUP.match(rest, at)
        if match is None or (match.group(4) == "," and match.end() == len(rest)):
            return None
        values = [match.group(2)] if match.group(2) is not None else re.findall(_VALUE, match.group(3))
        found.append(Group(int(match.group(1)), tuple(sorted(map(canonical, values)))))
        at = match.end()
    return tuple(found)
