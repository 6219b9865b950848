"""Specs with keys: tables of named fields, maps of names, lists, and choices between shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import Any

from steerd.config.nodes import Mapping, Node, Scalar, Sequence, describe
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.specs import BAD, NAME_PATTERN, Name, Spec

__all__ = ["Field", "Items", "ListOf", "MapOf", "Raw", "Section", "Shapes", "Table"]


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a table. `null` lets it stand without a value (read as None)."""

    spec: Spec
    help: str = ""
    required: bool = False
    default: Any = None
    null: bool = False


@dataclass(slots=True)
class Section:
    """A mapping that was read: its good values by key, and where everything stands."""

    node: Mapping
    values: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.values.items())

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def given(self, key: str) -> bool:
        """True when the key stands in the file, good or bad."""
        return key in self.node.entries

    def section(self, key: str) -> Section | None:
        """The section under `key`, or None when absent or bad."""
        value = self.values.get(key)
        return value if isinstance(value, Section) else None

    def mark(self, key: str | None = None) -> Mark:
        """Where the value of `key` stands; the section itself when the key is absent."""
        entry = self.node.entries.get(key) if key is not None else None
        return entry.value.mark if entry else self.node.mark

    def key_mark(self, key: str) -> Mark:
        """Where the key itself stands."""
        entry = self.node.entries.get(key)
        return entry.mark if entry else self.node.mark


class Items(list[Any]):
    """A list that was read; `marks` run beside it. Bad items are left out."""

    def __init__(self, pairs: Iterable[tuple[Any, Mark]] = ()) -> None:
        found = list(pairs)
        super().__init__(value for value, _ in found)
        self.marks = [mark for _, mark in found]

    def pairs(self) -> Iterator[tuple[Any, Mark]]:
        return zip(self, self.marks, strict=True)


class Raw(Spec):
    """Hands the node on, to be read when more is known; `schema_of` says what will be accepted then."""

    def __init__(self, schema_of: Callable[[], dict[str, Any]]) -> None:
        self._schema_of = schema_of

    def read(self, node: Node, problems: Problems) -> Any:  # noqa: ARG002  the signature of every spec
        return node

    def schema(self) -> dict[str, Any]:
        return self._schema_of()


class Table(Spec):
    """A mapping with known keys. `rule` sees the section once it is read, for what concerns several keys.

    `rest` reads keys that are not known; without it they are problems.
    """

    def __init__(
        self,
        fields: MappingABC[str, Field],
        *,
        what: str = "a mapping",
        rule: Callable[[Section, Problems], None] | None = None,
        rest: Spec | None = None,
    ) -> None:
        self.fields = fields
        self._what = what
        self._rule = rule
        self._rest = rest

    def read(self, node: Node, problems: Problems) -> Any:
        if not isinstance(node, Mapping):
            keys = ", ".join(list(self.fields)[:6])
            problems.add(node.mark, f"{describe(node)} where {self._what} belongs, with keys such as {keys}")
            return BAD
        section = Section(node)
        for key, entry in node.entries.items():
            known = self.fields.get(key)
            spec = known.spec if known else self._rest
            if spec is None:
                problems.add(entry.mark, f"unknown key {quote(key)} in {self._what}{nearest(key, self.fields)}")
                continue
            if isinstance(entry.value, Scalar) and entry.value.null:
                if known and known.null:
                    section.values[key] = None
                else:
                    problems.add(entry.mark, f"{quote(key)} has no value: give it one or remove the key")
                continue
            value = spec.read(entry.value, problems)
            if value is not BAD:
                section.values[key] = value
        for key, known in self.fields.items():
            if known.required and key not in node.entries:
                problems.add(node.mark, f"`{key}` is missing in {self._what}{': ' + known.help if known.help else ''}")
        if self._rule:
            self._rule(section, problems)
        return section

    def schema(self) -> dict[str, Any]:
        required = [key for key, f in self.fields.items() if f.required]
        return {
            "type": "object",
            "properties": {key: field_schema(f) for key, f in self.fields.items()},
            **({"required": required} if required else {}),
            "additionalProperties": self._rest.schema() if self._rest else False,
        }


def field_schema(f: Field) -> dict[str, Any]:
    """The schema of a field's value, with its help and default."""
    schema = dict(f.spec.schema())
    if f.null:
        schema = {"anyOf": [schema, {"type": "null"}]}
    if f.help:
        schema["description"] = f.help
    if isinstance(f.default, (str, int, float, bool)):
        schema["default"] = f.default
    return schema


class MapOf(Spec):
    """Names of the user's own, each with a value of one kind. Reads to a `Section` whose keys are the names."""

    def __init__(
        self, value: Spec, *, what: str, key: Spec | None = None, empty: bool = False, null: bool = False
    ) -> None:
        self._value = value
        self._what = what
        self._key = key or Name()
        self._empty = empty
        self._null = null

    def read(self, node: Node, problems: Problems) -> Any:
        if not isinstance(node, Mapping):
            problems.add(node.mark, f"{describe(node)} where a mapping of {self._what} belongs: write NAME: VALUE")
            return BAD
        section = Section(node)
        if not node.entries and not self._empty:
            problems.add(node.mark, f"no {self._what} here: name at least one")
        for key, entry in node.entries.items():
            good = self._key.read(Scalar(entry.mark, key, plain=False), problems) is not BAD
            if self._null and isinstance(entry.value, Scalar) and entry.value.null:
                value: Any = None
            else:
                value = self._value.read(entry.value, problems)
            if good and value is not BAD:
                section.values[key] = value
        return section

    def schema(self) -> dict[str, Any]:
        value = self._value.schema()
        schema: dict[str, Any] = {"type": "object", "additionalProperties": value}
        if self._null:
            schema["additionalProperties"] = {"anyOf": [value, {"type": "null"}]}
        if isinstance(self._key, Name):
            schema["propertyNames"] = {"pattern": NAME_PATTERN}
        if not self._empty:
            schema["minProperties"] = 1
        return schema


class ListOf(Spec):
    """A list; with `single`, one value may stand without brackets. Reads to `Items`."""

    def __init__(self, item: Spec, *, what: str, low: int = 0, high: int = 10_000, single: bool = False) -> None:
        self._item = item
        self._what = what
        self._low, self._high = low, high
        self._single = single

    def read(self, node: Node, problems: Problems) -> Any:
        if isinstance(node, Sequence):
            nodes = node.items
        elif self._single:
            nodes = [node]
        else:
            problems.add(node.mark, f"{describe(node)} where a list of {self._what} belongs: write [A, B]")
            return BAD
        if not self._low <= len(nodes) <= self._high:
            count = f"{self._low}" if self._low == self._high else f"{self._low} to {self._high}"
            problems.add(node.mark, f"{len(nodes)} {self._what} where {count} belong")
            return BAD
        found = [(self._item.read(item, problems), item.mark) for item in nodes]
        return Items((value, mark) for value, mark in found if value is not BAD)

    def schema(self) -> dict[str, Any]:
        many: dict[str, Any] = {"type": "array", "items": self._item.schema(), "maxItems": self._high}
        if self._low:
            many["minItems"] = self._low
        return {"anyOf": [self._item.schema(), many]} if self._single else many


class Shapes(Spec):
    """A choice by shape: one spec for single values, one for mappings."""

    def __init__(self, scalar: Spec, mapping: Spec) -> None:
        self._scalar = scalar
        self._mapping = mapping

    def read(self, node: Node, problems: Problems) -> Any:
        spec = self._mapping if isinstance(node, Mapping) else self._scalar
        return spec.read(node, problems)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._scalar.schema(), self._mapping.schema()]}
