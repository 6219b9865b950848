"""Leaf specs: what one value may look like. Each reads a node and describes itself as JSON Schema, so the two cannot drift."""

from __future__ import annotations

import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from steerd.config import units
from steerd.config.nodes import Mapping, Node, Scalar, Sequence, describe, plain_value
from steerd.config.problems import Problems, nearest, quote
from steerd.model.fleet import Secret

__all__ = [
    "BAD",
    "NAME_PATTERN",
    "AnyValue",
    "Bool",
    "Choice",
    "Duration",
    "Fraction",
    "Integer",
    "Ip",
    "Name",
    "Number",
    "Rate",
    "ScalarSpec",
    "SecretRef",
    "Spec",
    "Text",
    "Url",
    "free_value",
]

BAD: Final[Any] = type("Bad", (), {"__repr__": lambda _: "BAD"})()
"""What a spec answers for a value that is wrong (the problem is noted)."""

NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,2})?")
_SECRET_WORDS = re.compile(
    r"(?:^|[-_])(?:authorization|password|passwd|secret|token|api[-_]?key|cookie|credentials?)$", re.IGNORECASE
)


class Spec(ABC):
    """Reads one node. `read` answers the value, or `BAD` after noting every problem in it."""

    @abstractmethod
    def read(self, node: Node, problems: Problems) -> Any: ...

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of what `read` accepts."""


class ScalarSpec(Spec):
    """A single value. Subclasses turn its text into a value or raise ValueError saying what would be right."""

    expects = "a value"

    def read(self, node: Node, problems: Problems) -> Any:
        if not isinstance(node, Scalar) or node.null:
            problems.add(node.mark, f"{describe(node)} where {self.expects} belongs")
            return BAD
        try:
            return self.parse(node.text)
        except ValueError as error:
            problems.add(node.mark, f"{quote(node.text)} {error}")
            return BAD

    @abstractmethod
    def parse(self, text: str) -> Any: ...


class Text(ScalarSpec):
    expects = "a text"

    def __init__(self, *, empty: bool = False, expects: str | None = None, limit: int = 65536) -> None:
        self._empty = empty
        self._limit = limit
        if expects:
            self.expects = expects

    def parse(self, text: str) -> str:
        if not text.strip() and not self._empty:
            raise ValueError(f"is empty: {self.expects} belongs here")
        if len(text) > self._limit:
            raise ValueError(f"is over {self._limit} characters long")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]} if self._empty else {"$ref": "#/$defs/text"}


class Name(ScalarSpec):
    """A name of ours: it stands in keys, paths and commands, so its letters are few."""

    expects = "a name"
    _pattern = re.compile(NAME_PATTERN)

    def parse(self, text: str) -> str:
        if not self._pattern.fullmatch(text):
            raise ValueError(
                "is not a name: use letters, digits, '-', '_' and '.', at most 128, ending in a letter or digit"
            )
        return text

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/name"}


class Choice(ScalarSpec):
    def __init__(self, choices: Iterable[str]) -> None:
        self.choices = tuple(choices)
        self.expects = "one of " + ", ".join(self.choices)

    def parse(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError(f"is none of the choices{nearest(text, self.choices) or '; ' + self.expects}")
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class Bool(ScalarSpec):
    expects = "true or false"
    _words: ClassVar[dict[str, bool]] = {
        "true": True,
        "false": False,
        "yes": True,
        "no": False,
        "on": True,
        "off": False,
    }

    def parse(self, text: str) -> bool:
        value = self._words.get(text.lower())
        if value is None:
            raise ValueError("is neither true nor false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Integer(ScalarSpec):
    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        self._low, self._high = low, high
        self.expects = f"a whole number{_between(low, high)}"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"[-+]?[0-9]{1,15}", text):
            raise ValueError(f"is not {self.expects}")
        value = int(text)
        if (self._low is not None and value < self._low) or (self._high is not None and value > self._high):
            raise ValueError(f"is not {self.expects}")
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self._low, "maximum": self._high}
        return {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}


class Number(ScalarSpec):
    def __init__(self, low: float | None = None, high: float | None = 1e15, *, above: float | None = None) -> None:
        self._low, self._high, self._above = low, high, above
        self.expects = f"a number above {above:g}" if above is not None else f"a number{_between(low, None)}"

    def parse(self, text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"is not {self.expects}")
        value = float(text)
        wrong = (
            (self._low is not None and value < self._low)
            or (self._high is not None and abs(value) > self._high)
            or (self._above is not None and value <= self._above)
        )
        if wrong:
            raise ValueError(f"is not {self.expects}")
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self._low, "maximum": self._high, "exclusiveMinimum": self._above}
        return {"type": "number", **{k: v for k, v in bounds.items() if v is not None}}


def _between(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if high is not None else ""


class Duration(ScalarSpec):
    """Float seconds. At least 1 ms, unless `zero` allows 0; `whole` wants whole seconds (TTLs)."""

    expects = "a duration such as 250ms, 5s, 10m or 1h"

    def __init__(
        self, low_s: float = 0.001, high_s: float = 366 * 86400, *, zero: bool = False, whole: bool = False
    ) -> None:
        self._low_s, self._high_s, self._zero, self._whole = low_s, high_s, zero, whole

    def parse(self, text: str) -> float:
        value = units.parse_duration(text)
        if value == 0 and self._zero:
            return 0.0
        if not self._low_s <= value <= self._high_s:
            low, high = units.format_duration(self._low_s), units.format_duration(self._high_s)
            raise ValueError(f"is out of range: at least {low}, at most {high}")
        if self._whole and value != int(value):
            raise ValueError("is not a whole number of seconds")
        return value

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/duration"}


class Fraction(ScalarSpec):
    """0..1; `above_zero` excludes 0."""

    expects = "a fraction such as 80%, 2/3 or 0.8"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def parse(self, text: str) -> float:
        value = units.parse_fraction(text)
        if self._above_zero and value <= 0:
            raise ValueError("is too small: it must be above 0%")
        return value

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/fraction"}


class Rate(ScalarSpec):
    """A number per second."""

    expects = "a rate such as 50/s"

    def parse(self, text: str) -> float:
        value = units.parse_rate(text)
        if value <= 0:
            raise ValueError("is too small: it must be above 0")
        return value

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/rate"}


class Url(ScalarSpec):
    """An absolute URL without credentials in it."""

    def __init__(self, schemes: tuple[str, ...] = ("http", "https")) -> None:
        self._schemes = schemes
        self.expects = f"a URL ({', '.join(s + '://' for s in schemes)})"

    def parse(self, text: str) -> str:
        hint = f"write {self._schemes[-1]}://HOST:PORT"
        if any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError("is not a URL: it holds spaces or control characters")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"is not a URL: {str(error)[:80]}") from None
        if parts.scheme not in self._schemes or not parts.hostname:
            raise ValueError(f"is not a URL: {hint}")
        if port == 0 or (port is None and parts.scheme in {"tcp", "tls"}):
            raise ValueError(f"has no port: {hint}")
        return text

    def read(self, node: Node, problems: Problems) -> Any:
        if isinstance(node, Scalar) and "@" in node.text.partition("//")[2].partition("/")[0]:
            # The text is not quoted back: it may hold a password.
            problems.add(
                node.mark, "the URL holds credentials: take them out and give a secret as {file: PATH} or {env: NAME}"
            )
            return BAD
        return super().read(node, problems)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{'|'.join(self._schemes)})://[^\\s/?#@]+(?:[/?#]\\S*)?$"}


class Ip(ScalarSpec):
    def __init__(self, version: int) -> None:
        self._version = version
        self.expects = f"an IPv{version} address"

    def parse(self, text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f"is not {self.expects}") from None
        if address.version != self._version:
            other = "address6" if address.version == 6 else "address"
            raise ValueError(f"is IPv{address.version}, not IPv{self._version}: it belongs under `{other}`")
        return str(address)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": f"ipv{self._version}"}


class SecretRef(Spec):
    """`{file: PATH}` or `{env: NAME}`. What stands there instead is never repeated in a message: it may be the secret itself."""

    def read(self, node: Node, problems: Problems) -> Any:
        secret = secret_of(node)
        if secret is None:
            problems.add(node.mark, "a secret is given by reference, never itself: write {file: PATH} or {env: NAME}")
            return BAD
        return secret

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/secret"}


def secret_of(node: Node) -> Secret | None:
    """The secret reference that `node` is, or None."""
    if not isinstance(node, Mapping) or len(node.entries) != 1:
        return None
    (key, entry), value = next(iter(node.entries.items())), next(iter(node.entries.values())).value
    if not isinstance(value, Scalar) or value.null or not value.text.strip() or entry.value is not value:
        return None
    if key == "file":
        return Secret("file", value.text)
    if key == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", value.text):
        return Secret("env", value.text)
    return None


class AnyValue(Spec):
    """Free-form: texts, numbers, lists (as tuples) and mappings; `{file: X}` and `{env: X}` are secrets.

    `mapping` wants a mapping at the top. Keys that speak of credentials take only references.
    """

    def __init__(self, *, mapping: bool = False) -> None:
        self._mapping = mapping

    def read(self, node: Node, problems: Problems) -> Any:
        if self._mapping and not isinstance(node, Mapping):
            problems.add(node.mark, f"{describe(node)} where a mapping belongs")
            return BAD
        before = len(problems)
        value = free_value(node, problems)
        return value if len(problems) == before else BAD

    def schema(self) -> dict[str, Any]:
        return {"type": "object"} if self._mapping else {}


def free_value(node: Node, problems: Problems) -> Any:
    """The Python value of a free-form node. Depth is bounded by `nodes.compose`."""
    if isinstance(node, Scalar):
        return plain_value(node.text, plain=node.plain)
    if isinstance(node, Sequence):
        return tuple(free_value(item, problems) for item in node.items)
    secret = secret_of(node)
    if secret is not None:
        return secret
    found: dict[str, Any] = {}
    for key, entry in node.entries.items():
        if _SECRET_WORDS.search(key) and isinstance(entry.value, Scalar) and _looks_secret(entry.value):
            problems.add(
                entry.value.mark,
                f"{quote(key)} looks like a secret, given in the open: write {{file: PATH}} or {{env: NAME}}",
            )
        found[key] = free_value(entry.value, problems)
    return found


def _looks_secret(value: Scalar) -> bool:
    """A text, rather than a number or a switch (`tokens_per_day: 200000` is no secret)."""
    return isinstance(plain_value(value.text, plain=value.plain), str) and bool(value.text)
