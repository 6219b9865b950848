"""The wire format of Protocol Buffers, as far as a look needs it: a few fields of messages that never change. No I/O.

A client's generated code would pin a version of the protobuf library on every host for a dozen fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["Field", "chunk", "decode", "integers", "scalars", "varint"]

_VARINT, _FIXED64, _CHUNK, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT: Final = 63
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}

Field = tuple[int, int | bytes]
"""Number of a field, and its value: an int of a varint, else its bytes."""


def varint(value: int) -> bytes:
    """An integer; negative ones in two's complement of 64 bits."""
    found = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def chunk(number: int, value: bytes | str) -> bytes:
    """A field of bytes: text, a message, or packed numbers. Nothing when it is empty, which is what it defaults to."""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _CHUNK) + varint(len(data)) + data if data else b""


def decode(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order. Raises ValueError where it is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _CHUNK:
            size, at = _varint(message, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"field {number} has the wire type {kind}")
        if at + size > len(message):
            raise ValueError(f"field {number} is cut short")
        yield number, message[at : at + size]
        at += size


def integers(value: int | bytes, *, signed: bool = True) -> Iterator[int]:
    """The integers of a repeated field, packed or one by one. Raises ValueError."""
    for number in (value,) if isinstance(value, int) else _packed(value):
        yield number - (1 << 64) if signed and number >> 63 else number


def scalars(value: int | bytes, form: str) -> Iterable[float]:
    """The numbers of a packed field, or of bytes; `form` is their letter in `struct`, little-endian. Raises ValueError."""
    size = struct.calcsize("<" + form)
    if isinstance(value, int) or len(value) % size:
        raise ValueError(f"no list of numbers of {size} bytes")
    return struct.unpack(f"<{len(value) // size}{form}", value)


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift <= _MAX_SHIFT:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is cut short or too long")
