"""Messages of the open inference protocol over gRPC (`inference.GRPCInferenceService`, KServe's grpc_predict_v2.proto). No I/O.

Tensors go out in their `contents`, and come back in their `contents` or, as Triton sends them, as raw bytes behind the outputs.
Both end in the shape that the protocol has over JSON: {"outputs": [{name, shape, datatype, data}]}.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from probes.deps.protobuf import chunk, decode, integers, scalars, varint
from probes.errors import SettingError

__all__ = ["ready", "request_infer", "request_model", "response_infer"]

_FIELDS: Final = {
    "BOOL": 1,
    **dict.fromkeys(("INT8", "INT16", "INT32"), 2),
    "INT64": 3,
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), 4),
    "UINT64": 5,
    "FP32": 6,
    "FP64": 7,
    "BYTES": 8,
}
"""Datatype -> its field in InferTensorContents."""

_RAW: Final = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Datatype -> the letter of `struct` for one element of raw contents."""


def request_model(model: str) -> bytes:
    """ModelReadyRequest of the model's default version."""
    return chunk(1, model)


def ready(message: bytes) -> bool:
    """What ServerLiveResponse, ServerReadyResponse and ModelReadyResponse say; False is left out. Raises ValueError."""
    return any(number == 1 and value == 1 for number, value in decode(message))


def request_infer(model: str, inputs: Sequence[Mapping[str, Any]]) -> bytes:
    """ModelInferRequest. Raises `SettingError` for values that do not fit their datatype."""
    return chunk(1, model) + b"".join(chunk(5, _input(one)) for one in inputs)


def response_infer(message: bytes) -> dict[str, Any]:
    """ModelInferResponse as the protocol has it over JSON. Raises ValueError."""
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    found: dict[str, Any] = {"outputs": outputs}
    for number, value in decode(message):
        if isinstance(value, int):
            continue
        if number in (1, 2):
            found[("model_name", "model_version")[number - 1]] = value.decode("utf-8", "replace")
        elif number == 5:
            outputs.append(_output(value))
        elif number == 6:
            raw.append(value)
    if raw and len(raw) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs, and raw contents of {len(raw)}")
    for output, data in zip(outputs, raw, strict=False):
        output["data"] = _unraw(output["datatype"], data)
    return found


def _input(one: Mapping[str, Any]) -> bytes:
    name, datatype = str(one["name"]), str(one["datatype"])
    field = _FIELDS.get(datatype)
    if field is None:
        raise SettingError(f"inputs: {name}: {datatype!r} cannot be sent; datatypes are {', '.join(_FIELDS)}")
    values = list(_flat(one["data"]))
    try:
        shape = b"".join(varint(size) for size in one["shape"])
        contents = _contents(field, values)
    except (TypeError, ValueError, struct.error, OverflowError) as error:
        raise SettingError(f"inputs: {name}: not {datatype} of the shape {one['shape']}: {error}") from error
    return chunk(1, name) + chunk(2, datatype) + chunk(3, shape) + chunk(5, contents)


def _contents(field: int, values: list[Any]) -> bytes:
    if field in (6, 7):
        return chunk(field, struct.pack(f"<{len(values)}{'f' if field == 6 else 'd'}", *values))
    if field == 8:
        # One by one, also where an element is empty: how many there are is what they say.
        found = [value if isinstance(value, bytes) else str(value).encode() for value in values]
        return b"".join(varint(field << 3 | 2) + varint(len(data)) + data for data in found)
    return chunk(field, b"".join(varint(int(value)) for value in values))


def _output(message: bytes) -> dict[str, Any]:
    name = datatype = ""
    shape: list[int] = []
    contents = b""
    for number, value in decode(message):
        if number == 3:
            shape += integers(value)
        elif isinstance(value, int):
            continue
        elif number == 1:
            name = value.decode("utf-8", "replace")
        elif number == 2:
            datatype = value.decode("utf-8", "replace")
        elif number == 5:
            contents = value
    return {"name": name, "datatype": datatype, "shape": shape, "data": list(_uncontents(contents))}


def _uncontents(message: bytes) -> Iterator[Any]:
    for number, value in decode(message):
        read = _READ.get(number)
        if read is not None:
            yield from read(value)


_READ: Final[Mapping[int, Callable[[int | bytes], Any]]] = {
    1: lambda value: (bool(one) for one in integers(value)),
    2: integers,
    3: integers,
    4: lambda value: integers(value, signed=False),
    5: lambda value: integers(value, signed=False),
    6: lambda value: scalars(value, "f"),
    7: lambda value: scalars(value, "d"),
    8: lambda value: [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)],
}


def _unraw(datatype: str, data: bytes) -> list[Any]:
    if datatype == "BYTES":
        return list(_texts(data))
    if datatype == "BF16":  # the upper half of a FP32
        return [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data) - 1, 2)]
    letter = _RAW.get(datatype)
    if letter is None:
        raise ValueError(f"raw contents of the datatype {datatype!r}")
    return list(scalars(data, letter))


def _texts(data: bytes) -> Iterator[str]:
    """Elements of BYTES: four bytes of length before each."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if at + size > len(data):
            raise ValueError("an element of BYTES is cut short")
        yield data[at : at + size].decode("utf-8", "replace")
        at += size


def _flat(data: Any) -> Iterator[Any]:
    """The values of nested lists in row-major order."""
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _flat(item)
    else:
        yield data
