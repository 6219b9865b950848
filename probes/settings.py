"""Reads a check's settings (already checked for names and types by whoever read the config) into a probe's own types.

Every function raises `SettingError` naming the setting and what it may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from probes.errors import MisconfiguredError, SettingError
from probes.target import Target
from probes.tls_context import TlsSettings

__all__ = [
    "JSON_LIMIT",
    "MODEL",
    "Resolve",
    "StatusSet",
    "Text",
    "headers_of",
    "json_bytes",
    "number",
    "pattern",
    "port_of",
    "strings",
    "substitute",
    "text",
    "tls_of",
]

Resolve = Callable[[Any], str]
"""Turns a secret reference of the config into its value. Called for every look, so that a changed secret is seen."""

JSON_LIMIT = 1_048_576
"""Bytes that are read as JSON at most: some tens of milliseconds, in which the event loop does nothing else."""

MODEL = "$model"
"""Stands for the target's model id in any text setting."""


@dataclass(frozen=True, slots=True)
class StatusSet:
    """HTTP status codes: `200`, `"200-299"`, or a list of those."""

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)

    @classmethod
    def of(cls, value: Any, name: str = "status") -> StatusSet:
        """The set that the value of setting `name` means."""
        items = value if isinstance(value, (list, tuple)) else [value]
        ranges = []
        for item in items:
            found = re.fullmatch(r"(\d{3})(?:\s*-\s*(\d{3}))?", str(item).strip())
            if found is None or isinstance(item, bool):
                raise SettingError(f"{name}: {item!r} is not a status code: write 200, '200-299' or a list of those")
            ranges.append((int(found[1]), int(found[2] or found[1])))
        if not ranges:
            raise SettingError(f"{name}: name at least one status code")
        return cls(tuple(ranges))


@dataclass(frozen=True, slots=True)
class Reference:
    """A secret by reference inside a map, `{env: NAME}` or `{file: PATH}`: of the shape that configs use elsewhere."""

    kind: str
    ref: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text that may be a secret reference instead, which is then resolved when used."""

    value: Any

    @property
    def secret(self) -> bool:
        """True when the value is a reference."""
        return not isinstance(self.value, str)

    def read(self, resolve: Resolve, where: str) -> str:
        """The value. Raises `MisconfiguredError` naming `where` (never the value)."""
        if isinstance(self.value, str):
            return self.value
        try:
            return resolve(self.value)
        except Exception as error:
            # Which errors a resolver raises is its caller's business; that the secret cannot be had is the whole story.
            raise MisconfiguredError(f"`{where}` cannot be read: {error}") from error


def text(settings: Mapping[str, Any], name: str, default: str | None = None) -> str | None:
    """A string setting."""
    value = settings.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise SettingError(f"{name}: {value!r} is not text")
    return value


def number(settings: Mapping[str, Any], name: str, default: float | None = None) -> float | None:
    """A number or a duration in seconds, above 0."""
    value = settings.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise SettingError(f"{name}: {value!r} is not a number above 0")
    return float(value)


def json_bytes(settings: Mapping[str, Any], default: int) -> int:
    """`max_bytes` of a check that reads JSON."""
    found = int(number(settings, "max_bytes", default) or default)
    if found > JSON_LIMIT:
        raise SettingError(
            f"max_bytes: {found} is too much to read as JSON between other looks: write {JSON_LIMIT} at most"
        )
    return found


def port_of(settings: Mapping[str, Any]) -> int | None:
    """`port`: 1 to 65535."""
    port = settings.get("port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
        raise SettingError(f"port: {port!r} is not a port: write 1 to 65535")
    return port


def strings(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; one string is a list of one."""
    value = settings.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise SettingError(f"{name}: {value!r} is not a list of texts")
    return tuple(value)


def pattern(name: str, value: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(value)
    except re.error as error:
        raise SettingError(f"{name}: {value!r} is not a regular expression: {error}") from error


def headers_of(settings: Mapping[str, Any]) -> dict[str, Text]:
    """`headers`: name -> value, which may be a secret reference."""
    value = settings.get("headers")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingError("headers: write a map of name: value")
    return {str(name): Text(_plain(item)) for name, item in value.items()}


def _plain(item: Any) -> Any:
    """A header's value: text, or something for `resolve`."""
    if isinstance(item, Mapping) and len(item) == 1:
        kind, ref = next(iter(item.items()))
        return Reference(str(kind), str(ref))
    return str(item) if isinstance(item, (int, float)) else item


def tls_of(settings: Mapping[str, Any]) -> TlsSettings:
    """`ca`, `cert`, `key`, `server_name`."""
    found = TlsSettings(*(text(settings, name) for name in ("ca", "cert", "key", "server_name")))
    if found.key is not None and found.cert is None:
        raise SettingError("key: needs `cert` beside it")
    return found


def substitute(value: str, target: Target) -> str:
    """`value` with `$model` replaced. Raises `MisconfiguredError` when it is used and the target names no model."""
    if MODEL not in value:
        return value
    if target.model is None:
        raise MisconfiguredError(f"{value!r} needs the model's id: set `model` of the service")
    return value.replace(MODEL, target.model)
