"""`grpc`: the health service of gRPC (grpc.health.v1). A server that does not have it cannot be judged by it: ERROR."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import grpc  # type: ignore[import-untyped]  # comes without types
import grpc.aio  # type: ignore[import-untyped]  # comes without types

from probes.address import Address
from probes.clock import StageClock
from probes.deps.base import DependencyProbe, ended, reach, remaining_s
from probes.deps.login import LoginSettings
from probes.deps.protobuf import chunk, decode
from probes.errors import MisconfiguredError
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, text, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["GrpcCaller", "GrpcProbe", "build"]

_CHECK: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_BYTES: Final = 65536

Metadata = tuple[tuple[str, str], ...]


class GrpcCaller(DependencyProbe):
    """Calls one method of a gRPC server over a connection of the look's own."""

    max_bytes: ClassVar[int] = _MAX_BYTES
    unimplemented: ClassVar[tuple[str, str]]
    """Reason and advice for a server that does not have the method."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        schemes = {"grpc": False, "grpcs": True, "http": False, "https": True, "tcp": False, "tls": True}
        self._login = LoginSettings.of(settings, schemes, 50051)
        self._secure = settings.get("tls")
        self._tls = tls_of(settings)

    async def _call(
        self, target: Target, clock: StageClock, hidden: list[str], method: str, request: bytes, metadata: Metadata = ()
    ) -> bytes:
        """The answer to `request`. Raises `grpc.aio.AioRpcError`, and what keeps the connection from being made."""
        login = self._login.read(target, self._resolve, hidden)
        secure = login.secure if self._secure is None else bool(self._secure)
        context = tls_context(self._tls, alpn=("h2",)) if secure else None
        # The library's own errors do not tell a refused connection from an expired certificate.
        await reach(login.address, clock, context, self._tls.server_name or login.address.name)
        channel = self._channel(login.address, secure=secure)
        try:
            clock.sent()
            # Without serializers the library hands bytes on as they are.
            answer: bytes = await channel.unary_unary(method)(request, metadata=metadata)
            clock.first_byte()
            return answer
        finally:
            await ended(channel.close())

    def _channel(self, address: Address, *, secure: bool) -> grpc.aio.Channel:
        host = f"[{address.host}]" if ":" in address.host else address.host
        options: list[tuple[str, Any]] = [
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of this look's own
            ("grpc.max_receive_message_length", self.max_bytes),
            # How long the library holds on to a server that does not shake hands: 20 s by default, whoever asked is gone.
            ("grpc.min_reconnect_backoff_ms", max(100, int(1000 * remaining_s()))),
        ]
        if not secure:
            return grpc.aio.insecure_channel(f"{host}:{address.port}", options)
        name = self._tls.server_name or address.name
        options += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
        return grpc.aio.secure_channel(f"{host}:{address.port}", self._credentials(), options)

    def _credentials(self) -> grpc.ChannelCredentials:
        tls = self._tls
        key = _file(tls.key or tls.cert) if tls.cert else None
        cert = _file(tls.cert) if tls.cert else None
        # Without a list of ours the library would take one of its own, not this host's.
        roots = _file(tls.ca or ssl.get_default_verify_paths().cafile)
        return grpc.ssl_channel_credentials(roots, key, cert)

    def _refused(self, clock: StageClock, error: grpc.aio.AioRpcError) -> Outcome:
        """What a status that is not OK means, where no method of this kind gives it a meaning of its own."""
        code, words = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return self._misconfigured(clock, *self.unimplemented)
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return self._misconfigured(clock, "credentials refused", f"{code.name}: {words}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self._failed(clock, "RESOURCE_EXHAUSTED: full", detail=words, status=Status.SATURATED)
        if code is grpc.StatusCode.UNAVAILABLE:
            return self._lost(clock, words)
        return self._failed(clock, f"gRPC {code.name}", detail=words)


def _file(path: str | None) -> bytes:
    if path is None:
        raise MisconfiguredError("this host has no file of certificate authorities: set `ca` of this check")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MisconfiguredError(f"{path} cannot be read: {error.strerror}") from error


class GrpcProbe(GrpcCaller):
    """See the module's text."""

    unimplemented = ("the server has no health service", "add grpc.health.v1 to it, or use `tcp`")

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._service = text(settings, "service", "") or ""

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        try:
            answer = await self._call(target, clock, hidden, _CHECK, chunk(1, self._service))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return self._missing(target, clock, self._named, "service")
            return self._refused(clock, error)
        try:
            status = _status(answer)
        except ValueError as error:
            return self._failed(clock, "malformed answer", detail=str(error))
        if status == 1:
            self._saw(target, self._named)
            return self._passed(clock)
        return self._failed(clock, f"it says {_SERVING.get(status, status)}", detail=f"about {self._named}")

    @property
    def _named(self) -> str:
        return f"service {self._service!r}" if self._service else "the server as a whole"


def _status(message: bytes) -> int:
    """Field 1 of a HealthCheckResponse, an enumeration; 0 when it is left out. Raises ValueError."""
    return next((value for number, value in decode(message) if number == 1 and isinstance(value, int)), 0)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> GrpcProbe:
    """See `probes.registry.make`."""
    return GrpcProbe(layer, settings, resolve)
