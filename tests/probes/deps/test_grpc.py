"""`grpc` against a real gRPC server with, and without, the health service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from probes.outcome import Status
from tests.support.looking import Look
from tests.support.servers import free_port

State = health_pb2.HealthCheckResponse


class Server:
    """A gRPC server; `health` is None when it has no health service."""

    def __init__(self, server: grpc.aio.Server, port: int, health: HealthServicer | None) -> None:
        self.server, self.port, self.health = server, port, health

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    servers: list[grpc.aio.Server] = []

    async def run(*, health: bool = True, credentials: grpc.ServerCredentials | None = None) -> Server:
        server = grpc.aio.server()
        servers.append(server)
        servicer = HealthServicer() if health else None
        if servicer is not None:
            add_HealthServicer_to_server(servicer, server)
        address = "127.0.0.1:0"
        port = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
        await server.start()
        return Server(server, port, servicer)

    yield run
    for server in servers:
        await server.stop(None)


async def test_it_serves_or_not(look: Look, start: Callable[..., Any]) -> None:
    server = await start()
    assert server.health is not None
    await server.health.set("model", State.NOT_SERVING)
    outcome = await look("grpc", server.url)
    assert outcome.status is Status.PASS, outcome
    assert outcome.stages.connect_s is not None
    outcome = await look("grpc", server.url, {"service": "model"})
    assert (outcome.status, outcome.reason) == (Status.FAIL, "it says NOT_SERVING"), outcome
    await server.health.set("model", State.SERVING)
    assert (await look("grpc", server.url, {"service": "model"})).status is Status.PASS
    assert (await look("grpc", server.url, {"slow": 1e-9})).status is Status.SLOW
    assert (await look("grpc", "", {"host": "127.0.0.1", "port": server.port})).status is Status.PASS


async def test_a_server_without_the_health_service_blames_nobody(look: Look, start: Callable[..., Any]) -> None:
    outcome = await look("grpc", (await start(health=False)).url)
    assert (outcome.status, outcome.reason) == (Status.ERROR, "the server has no health service"), outcome


async def test_a_service_that_never_was_blames_nobody(look: Look, start: Callable[..., Any]) -> None:
    outcome = await look("grpc", (await start()).url, {"service": "a" * 200})
    assert (outcome.status, "there is no service" in (outcome.reason or "")) == (Status.ERROR, True), outcome


async def test_nobody_there_and_nobody_answering(look: Look, serve: Callable[..., Any]) -> None:
    outcome = await look("grpc", f"grpc://127.0.0.1:{free_port()}")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    outcome = await look("grpc", f"grpc://127.0.0.1:{await serve(silent)}", within_s=0.3)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True), outcome

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1)

    outcome = await look("grpc", f"grpc://127.0.0.1:{await serve(other)}", within_s=3)
    assert outcome.status is Status.FAIL, outcome


async def test_tls_is_verified(look: Look, start: Callable[..., Any], tmp_path: Path) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("grpc.test")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    pair = (cert.private_key_pem.bytes(), cert.cert_chain_pems[0].bytes())
    server = await start(credentials=grpc.ssl_server_credentials([pair]))
    url = f"grpcs://127.0.0.1:{server.port}"
    for ca, name, status, needle in (
        ("ca.pem", "grpc.test", Status.PASS, ""),
        ("other.pem", "grpc.test", Status.ERROR, "not trusted"),
        ("ca.pem", "other.test", Status.FAIL, "another name"),
        ("none.pem", "grpc.test", Status.ERROR, "none.pem"),
    ):
        outcome = await look("grpc", url, {"ca": str(tmp_path / ca), "server_name": name}, within_s=3)
        assert outcome.status is status, (ca, name, outcome)
        assert needle in (outcome.reason or "")
    assert (await look("grpc", server.url, within_s=1)).status is Status.FAIL  # without TLS
