"""`kserve-grpc`: the open inference protocol over gRPC: ServerLive, ServerReady, ModelReady, or one ModelInfer.

Readings of an inference: `infer_s` (seconds to the answer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import grpc  # type: ignore[import-untyped]  # comes without types
import grpc.aio  # type: ignore[import-untyped]  # comes without types

from probes.clock import StageClock
from probes.deps.grpc_probe import GrpcCaller
from probes.deps.oip import ready, request_infer, request_model, response_infer
from probes.errors import SettingError
from probes.headers import request_headers
from probes.json_path import conditions_of
from probes.kserve_infer import inputs_of, wrong
from probes.outcome import Layer, Outcome
from probes.settings import MODEL, Resolve, Text, headers_of, substitute, text
from probes.target import Target

__all__ = ["KserveGrpcProbe", "build"]

_SERVICE: Final = "/inference.GRPCInferenceService/"
_METHODS: Final = {"live": "ServerLive", "ready": "ServerReady", "model": "ModelReady", "infer": "ModelInfer"}


class KserveGrpcProbe(GrpcCaller):
    """See the module's text."""

    max_bytes: ClassVar[int] = 1 << 20
    unimplemented = ("the server does not speak the open inference protocol", "fix the port, or use `grpc` or `http`")

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._asks = text(settings, "ask", "ready") or "ready"
        if self._asks not in _METHODS:
            raise SettingError(f"ask: {self._asks!r} is none of {', '.join(_METHODS)}")
        self._model = text(settings, "model", MODEL) or MODEL
        self._inputs = inputs_of(settings.get("inputs"))
        if (self._asks == "infer") != bool(self._inputs):
            raise SettingError("inputs: the tensors to send go with `ask: infer`, and with that only")
        request_infer("", self._inputs)  # what cannot be sent is told now
        self._conditions = conditions_of(settings.get("json"))
        if self._conditions and self._asks != "infer":
            raise SettingError("json: only the answer of `ask: infer` has outputs to meet conditions")
        self._headers = headers_of(settings)
        key = settings.get("api_key")
        self._key = None if key is None else Text(key)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        headers = request_headers(self.layer, self._headers, self._key, self._resolve, hidden)
        metadata = tuple((name.lower(), value) for name, value in headers.items())
        model = substitute(self._model, target) if self._asks in ("model", "infer") else ""
        request = request_infer(model, self._inputs) if self._asks == "infer" else request_model(model)
        try:
            answer = await self._call(target, clock, hidden, _SERVICE + _METHODS[self._asks], request, metadata)
        except grpc.aio.AioRpcError as error:
            return self._refused(clock, error)
        try:
            if self._asks == "infer":
                return self._judge(target, clock, response_infer(answer))
            well = ready(answer)
        except ValueError as error:
            return self._failed(clock, "malformed answer", detail=str(error))
        if well:
            return self._passed(clock)
        reason = {"live": "it says it is not live", "model": "model not ready"}.get(
            self._asks, "it says it is not ready"
        )
        return self._failed(clock, reason, detail=model or None)

    def _judge(self, target: Target, clock: StageClock, document: dict[str, Any]) -> Outcome:
        fault = wrong(document)
        if fault is not None:
            return self._failed(clock, fault[0], detail=fault[1])
        for condition in self._conditions:
            why = condition.unmet(document, target)
            if why is not None:
                return self._failed(clock, "wrong answer", detail=why, layer=Layer.CORRECTNESS)
        return self._passed(clock, {"infer_s": clock.elapsed_s})

    def _refused(self, clock: StageClock, error: grpc.aio.AioRpcError) -> Outcome:
        code, words = error.code(), error.details() or ""
        if code is grpc.StatusCode.NOT_FOUND:
            return self._failed(clock, "model not found", detail=words)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return self._misconfigured(clock, "the server refuses the request", f"{code.name}: {words}")
        return super()._refused(clock, error)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> KserveGrpcProbe:
    """See `probes.registry.make`."""
    return KserveGrpcProbe(layer, settings, resolve)
