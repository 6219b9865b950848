"""A server of the open inference protocol over gRPC, as a fixture.

Its messages are made by the protobuf library from the protocol's own field numbers, so that a probe that writes or reads the wire
format wrongly meets somebody who does it right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["OipServer", "message"]

F = descriptor_pb2.FieldDescriptorProto
_CONTENTS = {
    "bool_contents": (1, F.TYPE_BOOL),
    "int_contents": (2, F.TYPE_INT32),
    "int64_contents": (3, F.TYPE_INT64),
    "uint_contents": (4, F.TYPE_UINT32),
    "uint64_contents": (5, F.TYPE_UINT64),
    "fp32_contents": (6, F.TYPE_FLOAT),
    "fp64_contents": (7, F.TYPE_DOUBLE),
    "bytes_contents": (8, F.TYPE_BYTES),
}
_TEXT, _MANY = F.LABEL_OPTIONAL, F.LABEL_REPEATED


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="oip.proto", package="inference", syntax="proto3")

    def declare(name: str, *fields: tuple[str, int, int, int, str | None]) -> None:
        one = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            added = one.field.add(name=field, number=number, type=kind, label=label)
            if of is not None:
                added.type_name = f".inference.{of}"

    declare("Contents", *((name, number, kind, _MANY, None) for name, (number, kind) in _CONTENTS.items()))
    tensor = (
        ("name", 1, F.TYPE_STRING, _TEXT, None),
        ("datatype", 2, F.TYPE_STRING, _TEXT, None),
        ("shape", 3, F.TYPE_INT64, _MANY, None),
        ("contents", 5, F.TYPE_MESSAGE, _TEXT, "Contents"),
    )
    declare("Tensor", *tensor)
    declare("Name", ("name", 1, F.TYPE_STRING, _TEXT, None), ("version", 2, F.TYPE_STRING, _TEXT, None))
    declare("Word", ("ready", 1, F.TYPE_BOOL, _TEXT, None))
    head = (("model_name", 1, F.TYPE_STRING, _TEXT, None), ("id", 3, F.TYPE_STRING, _TEXT, None))
    declare(
        "Request",
        *head,
        ("inputs", 5, F.TYPE_MESSAGE, _MANY, "Tensor"),
        ("raw_input_contents", 7, F.TYPE_BYTES, _MANY, None),
    )
    declare(
        "Response",
        *head,
        ("outputs", 5, F.TYPE_MESSAGE, _MANY, "Tensor"),
        ("raw_output_contents", 6, F.TYPE_BYTES, _MANY, None),
    )
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str, /, **fields: Any) -> Any:
    """A message of the protocol: Name, Word, Tensor, Contents, Request, Response."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))(**fields)


Infer = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


class OipServer:
    """Serves model `m`. `words` are what it says to ServerLive, ServerReady and ModelReady; `infer` answers requests."""

    def __init__(self, infer: Infer) -> None:
        self.words = {"ServerLive": True, "ServerReady": True, "ModelReady": True}
        self.infer = infer
        self.metadata: dict[str, str] = {}
        self.server = grpc.aio.server()
        handlers = {name: self._unary(self._asked(name), "Name") for name in self.words}
        handlers["ModelInfer"] = self._unary(self._infer, "Request")
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def _unary(self, answer: Infer, request: str) -> grpc.RpcMethodHandler:
        read = type(message(request)).FromString
        return grpc.unary_unary_rpc_method_handler(answer, read, lambda told: told.SerializeToString())

    def _asked(self, method: str) -> Infer:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            self.metadata = dict(context.invocation_metadata() or ())
            if method == "ModelReady" and request.name != "m":
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
            return message("Word", ready=self.words[method])

        return answer

    async def _infer(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request.model_name != "m":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_name}")
        return await self.infer(request, context)
