"""`grpc`: the health service of gRPC (grpc.health.v1). A server that does not have it cannot be judged by it: ERROR."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]  # comes without types
import grpc.aio  # type: ignore[import-untyped]  # comes without types

from probes.address import Address
from probes.clock import StageClock
from probes.deps.base import DependencyProbe, ended, reach, remaining_s
from probes.deps.login import LoginSettings
from probes.errors import MisconfiguredError
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, text, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["GrpcProbe", "build"]

_CHECK: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_BYTES: Final = 65536


class GrpcProbe(DependencyProbe):
    """See the module's text."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        schemes = {"grpc": False, "grpcs": True, "http": False, "https": True, "tcp": False, "tls": True}
        self._login = LoginSettings.of(settings, schemes, 50051)
        self._secure = settings.get("tls")
        self._tls = tls_of(settings)
        self._service = text(settings, "service", "") or ""

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        login = self._login.read(target, self._resolve, hidden)
        secure = login.secure if self._secure is None else bool(self._secure)
        context = None
        if secure:
            context = tls_context(self._tls)
            context.set_alpn_protocols(["h2"])
        # The library's own errors do not tell a refused connection from an expired certificate.
        await reach(login.address, clock, context, self._tls.server_name or login.address.name)
        channel = self._channel(login.address, secure=secure)
        try:
            clock.sent()
            call = channel.unary_unary(_CHECK, request_serializer=_request, response_deserializer=_status)
            status = await call(self._service)
            clock.first_byte()
        except grpc.aio.AioRpcError as error:
            return self._refused(target, clock, error)
        except ValueError as error:
            return self._failed(clock, "malformed answer", detail=str(error))
        finally:
            await ended(channel.close())
        if status == 1:
            self._saw(target, self._named)
            return self._passed(clock)
        return self._failed(clock, f"it says {_SERVING.get(status, status)}", detail=f"about {self._named}")

    @property
    def _named(self) -> str:
        return f"service {self._service!r}" if self._service else "the server as a whole"

    def _channel(self, address: Address, *, secure: bool) -> grpc.aio.Channel:
        host = f"[{address.host}]" if ":" in address.host else address.host
        options: list[tuple[str, Any]] = [
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of this look's own
            ("grpc.max_receive_message_length", _MAX_BYTES),
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

    def _refused(self, target: Target, clock: StageClock, error: grpc.aio.AioRpcError) -> Outcome:
        code, words = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            advice = "add grpc.health.v1 to it, or use `tcp`"
            return self._misconfigured(clock, "the server has no health service", advice)
        if code is grpc.StatusCode.NOT_FOUND:
            return self._missing(target, clock, self._named, "service")
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return self._misconfigured(
                clock, "credentials refused", f"{code.name}: {words}: let the health service be open"
            )
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


def _request(service: str) -> bytes:
    """HealthCheckRequest: field 1, the service's name."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _status(message: bytes) -> int:
    """Field 1 of a HealthCheckResponse, an enumeration; 0 when it is left out. Raises ValueError."""
    if not message:
        return 0
    if message[0] != 0x08 or len(message) < 2:
        raise ValueError("not a HealthCheckResponse")
    return message[1] & 0x7F


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> GrpcProbe:
    """See `probes.registry.make`."""
    return GrpcProbe(layer, settings, resolve)
