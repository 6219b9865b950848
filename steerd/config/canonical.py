"""A fleet as plain, ordered data; and its hash, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as MappingABC
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from steerd.model.fleet import Fleet

__all__ = ["digest"]


def digest(fleet: Fleet) -> str:
    """12 hex digits of the SHA-256 of the effective config. Comments and spelling (`60s` or `1m`) do not matter."""
    plain = {key: value for key, value in _plain(fleet).items() if key != "config_hash"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is int:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is tuple or kind is list:
        return [_plain(v) for v in value]
    names = _field_names(kind)
    if names is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, MappingABC):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"no plain form for {kind.__name__} in a fleet")


_NAMES: dict[type, tuple[str, ...] | None] = {}


def _field_names(kind: type) -> tuple[str, ...] | None:
    """The field names of a dataclass, None for any other type."""
    if kind not in _NAMES:
        _NAMES[kind] = tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None
    return _NAMES[kind]
