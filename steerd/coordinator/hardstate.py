"""How `HardState` lies in the store: one head and a fixed number of parts, so that values and transactions stay small.

A mapping of the state (desired by route, shares by service, ...) is spread over `PARTS` keys by a hash of its own keys;
what is no mapping stands in the head. A decision changes few entries, so few parts differ from what is stored and only
those are written. The operations of one transaction are bounded whatever the fleet's size, as etcd wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from zlib import crc32

import msgspec

from steerd.model.plan import HardState

__all__ = ["PARTS", "join", "plain", "split"]

PARTS = 16


def plain(value: object) -> object:
    """What the store can hold of it: mappings of the core's own as dicts, anything else in words."""
    return dict(value) if isinstance(value, Mapping) else repr(value)


_JSON = msgspec.json.Encoder(order="sorted", enc_hook=plain)


def split(state: HardState) -> dict[str, bytes]:
    """Suffix of the key -> JSON. Equal states give equal bytes."""
    head: dict[str, Any] = {}
    parts: list[dict[str, dict[str, Any]]] = [{} for _ in range(PARTS)]
    for field in fields(state):
        value = getattr(state, field.name)
        if not isinstance(value, Mapping):
            head[field.name] = value
            continue
        for key, item in value.items():
            part = parts[crc32(f"{field.name} {key}".encode()) % PARTS]
            part.setdefault(field.name, {})[key] = item
    stored = {"": _JSON.encode(head)}
    stored.update({f"/{n:02}": _JSON.encode(part) for n, part in enumerate(parts)})
    return stored


def join(stored: Mapping[str, bytes]) -> HardState | None:
    """The state of `split`; None when there is no head. Raises `msgspec.MsgspecError` when it is not one of ours."""
    if "" not in stored:
        return None
    built: dict[str, Any] = msgspec.json.decode(stored[""])
    for suffix, value in stored.items():
        if not suffix:
            continue
        for name, items in msgspec.json.decode(value, type=dict[str, dict[str, Any]]).items():
            built.setdefault(name, {}).update(items)
    return msgspec.convert(built, HardState)
