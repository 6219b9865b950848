"""Plug-in kinds (providers, stores, probes) as config tables: what each says it accepts, turned into specs.

A kind that this build lacks is valid config. One that is not written yet and says nothing of its settings takes any keys.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence as SequenceABC
from typing import Any, Protocol

from probes import stacks
from probes.registry import KINDS as PROBE_KINDS
from steerd.config.nodes import Mapping, Node, Scalar, describe
from steerd.config.problems import Problems, nearest, quote
from steerd.config.specs import (
    BAD,
    AnyValue,
    Bool,
    Choice,
    Duration,
    Fraction,
    Integer,
    Number,
    SecretRef,
    Spec,
    Text,
    Url,
)
from steerd.config.tables import Field, ListOf, Section, Table, field_schema
from steerd.config.units import parse_duration, parse_fraction
from steerd.providers.registry import KINDS as PROVIDER_KINDS
from steerd.stores.registry import KINDS as STORE_KINDS

__all__ = [
    "PROBE_KINDS",
    "PROVIDER_KINDS",
    "STORE_KINDS",
    "KindLike",
    "KindTable",
    "SettingLike",
    "defaults_of",
    "fields_of",
    "missing_modules",
    "open_kind",
    "setting_spec",
    "settings_of",
    "stack_names",
    "thaw",
]

URL_SCHEMES = ("http", "https", "tcp", "tls", "grpc", "grpcs")


class SettingLike(Protocol):
    """`steerd.model.kinds.Setting` or `probes.kinds.Setting`, which have the same shape."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def default(self) -> Any: ...
    @property
    def required(self) -> bool: ...
    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...


class KindLike(Protocol):
    """`steerd.model.kinds.Kind` or `probes.kinds.Kind`."""

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def settings(self) -> SequenceABC[SettingLike]: ...
    @property
    def built(self) -> bool: ...
    @property
    def extra(self) -> str | None: ...
    @property
    def modules(self) -> tuple[str, ...]: ...


def stack_names() -> tuple[str, ...]:
    """The serving stacks known."""
    return tuple(stacks.names())


def missing_modules(kind: KindLike) -> list[str]:
    """The modules of the kind's extra that are not installed."""
    return [m for m in kind.modules if not _importable(m)]


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def open_kind(kind: KindLike) -> bool:
    """True when the kind takes any keys: it is not written yet and has not said what it will take."""
    return not kind.built and not kind.settings


def setting_spec(setting: SettingLike) -> Spec:
    """The spec of one setting."""
    if setting.type == "url":
        return Url(setting.choices or URL_SCHEMES)
    if setting.choices:
        return Choice(setting.choices)
    match setting.type:
        case "int":
            return Integer()
        case "float":
            return Number()
        case "bool":
            return Bool()
        case "duration":
            return Duration(zero=True)
        case "fraction":
            return Fraction()
        case "secret":
            return SecretRef()
        case "strings":
            return ListOf(Text(), what="texts", single=True)
        case "map":
            return AnyValue(mapping=True)
        case "any":
            return AnyValue()
    return Text(empty=setting.type == "string")


def fields_of(kind: KindLike, *, lenient: bool = False) -> dict[str, Field]:
    """The kind's settings as fields; `lenient` asks for none of them."""
    return {
        s.name: Field(setting_spec(s), s.help, required=s.required and not lenient, default=s.default)
        for s in kind.settings
    }


def settings_of(
    kind: KindLike, section: Section, *, common: MappingABC[str, Field], defaults: bool = True
) -> dict[str, Any]:
    """The settings read in `section`, thawed, with the kind's defaults filled in."""
    found = defaults_of(kind) if defaults else {}
    found.update({key: thaw(value) for key, value in section if key not in common})
    return found


def defaults_of(kind: KindLike) -> dict[str, Any]:
    """Setting -> default, of those that have one; durations and fractions as numbers."""
    found = {}
    for setting in kind.settings:
        default = setting.default
        if isinstance(default, str) and setting.type in {"duration", "fraction"}:
            default = parse_duration(default) if setting.type == "duration" else parse_fraction(default)
        if default is not None:
            found[setting.name] = thaw(default)
    return found


def thaw(value: Any) -> Any:
    """Lists as tuples throughout, so that a setting compares equal however it was written."""
    if isinstance(value, (list, tuple)):
        return tuple(thaw(v) for v in value)
    if isinstance(value, MappingABC):
        return {key: thaw(v) for key, v in value.items()}
    return value


class KindTable(Spec):
    """A table whose `kind` says which other keys it takes. Reads to a `Section`; `kind` is always among its values."""

    def __init__(
        self,
        kinds: MappingABC[str, KindLike],
        common: MappingABC[str, Field],
        *,
        what: str,
        default: str | None = None,
        lenient: bool = False,
    ) -> None:
        self.kinds = kinds
        self.common = common
        self._what = what
        self._default = default
        self._lenient = lenient

    def read(self, node: Node, problems: Problems) -> Any:
        if not isinstance(node, Mapping):
            problems.add(node.mark, f"{describe(node)} where {self._what} belongs: write {{kind: KIND, ...}}")
            return BAD
        entry = node.entries.get("kind")
        if entry is None and self._default is None:
            problems.add(node.mark, f"`kind` is missing in {self._what}{nearest('', self.kinds)}")
            return BAD
        name = self._default
        if entry is not None:
            if not isinstance(entry.value, Scalar) or entry.value.text not in self.kinds:
                word = entry.value.text if isinstance(entry.value, Scalar) else ""
                text = f"{describe(entry.value)} is no kind of {self._what.removeprefix('a ')}"
                problems.add(entry.value.mark, f"{text}{nearest(word, self.kinds)}")
                return BAD
            name = entry.value.text
        assert name is not None
        section = self.table(name).read(node, problems)
        if isinstance(section, Section):
            section.values["kind"] = name
            # Of a lenient table something else may bring what is needed: its reader asks.
            for setting in () if self._lenient else self.kinds[name].settings:
                for other in setting.needs if section.given(setting.name) else ():
                    if not section.given(other):
                        problems.add(section.mark(setting.name), f"`{setting.name}` needs `{other}` beside it")
        return section

    def table(self, name: str) -> Table:
        """The table of one kind."""
        kind = self.kinds[name]
        fields = {
            "kind": Field(Choice([name]), kind.help, required=self._default != name),
            **fields_of(kind, lenient=self._lenient),
            **self.common,
        }
        return Table(fields, what=f"{self._what} of kind {quote(name)}", rest=AnyValue() if open_kind(kind) else None)

    def settings(self, section: Section) -> dict[str, Any]:
        """The settings of a section that this table read."""
        kind = self.kinds[section.values["kind"]]
        common = {**self.common, "kind": Field(Text())}
        return settings_of(kind, section, common=common)

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "kind": {"enum": sorted(self.kinds)},
                **{key: field_schema(f) for key, f in self.common.items()},
            },
            **({} if self._default else {"required": ["kind"]}),
            "anyOf": [self.table(name).schema() for name in sorted(self.kinds)],
        }
