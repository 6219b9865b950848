"""The failure modes of the way to a model server, told by `steerd probe` and by a running agent: certificates and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import dns.asyncresolver
import pytest
import trustme
from click.testing import CliRunner

from probes.wire.resolver import Resolver
from steerd.cli import probe
from steerd.model.fleet import Fleet
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.agent.test_failure_modes import fleet_of, told, verdict
from tests.probes.test_addresses import Names
from tests.probes.test_tls import server_side
from tests.support.agent_rig import running
from tests.support.model_server import ModelServer
from tests.support.wait import until

pytestmark = [
    pytest.mark.slow,
    # asyncio lets go of the socket of a refused TLS handshake a turn later than `steerd probe` ends its loop.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAME = "localhost"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as found:
        yield found


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test left is found here, and not in another module's tests."""
    yield
    gc.collect()


@pytest.fixture
def ca(tmp_path: Path) -> tuple[trustme.CA, Path]:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made, tmp_path / "ca.pem"


class TlsFront:
    """Ends TLS in front of a model server; `context` may be changed."""

    def __init__(self, to_port: int, context: ssl.SSLContext) -> None:
        self._to_port = to_port
        self._own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.sni_callback = lambda connection, *_: setattr(connection, "context", self.context)
        self.context = context
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[TlsFront]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._own)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        finally:
            for end in (far_writer, writer):
                end.close()
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await end.wait_closed()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def trusting(fleet: Fleet, ca_file: Path) -> Fleet:
    """The fleet with this authority for every check, and a new connection for each look."""
    (service,) = fleet.services
    more = {"ca": str(ca_file)}
    checks = tuple(
        replace(c, settings={**c.settings, **more, **({"fresh_every": 1} if c.kind == "http" else {})})
        for c in service.checks
    )
    return replace(fleet, services=(replace(service, checks=checks),))


def looked(url: str, ca_file: Path) -> tuple[int, str, str | None]:
    """Exit code, verdict and liveness' reason of `steerd probe`."""
    checks = ("liveness", "readiness", "progress", "user_path")
    sets = [part for name in checks for part in ("--set", f"checks.{name}.ca={ca_file}")]
    arguments = ["--url", url, "--stack", "vllm", "--model", "demo-7b", "--json", *sets]
    result = CliRunner().invoke(probe.command, arguments, prog_name="steerd")
    answer = json.loads(result.stdout)
    return result.exit_code, answer["verdict"], answer["checks"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "days", "reason"),
    [(NAME, -1.0, "TLS certificate expired"), ("other.test", 365.0, "TLS certificate is for another name")],
)
async def test_a_certificate_that_is_wrong_is_the_targets_fault(
    server: ModelServer, ca: tuple[trustme.CA, Path], name: str, days: float, reason: str
) -> None:
    authority, file = ca
    good = server_side(authority, NAME)
    async with TlsFront(server.port, good).serve() as front:
        url = f"https://{NAME}:{front.port}"
        assert await asyncio.to_thread(looked, url, file) == (0, "healthy", None)
        async with running(trusting(fleet_of(url), file)) as agent:
            await until(lambda: verdict(agent) is Verdict.HEALTHY, 20.0)
            front.context = server_side(authority, name, days=days)
            vote = await told(agent, Verdict.UNHEALTHY)
            assert (vote.reason, vote.transport) == (reason, False)
            assert await asyncio.to_thread(looked, url, file) == (1, "unhealthy", reason)
            front.context = good
            await told(agent, Verdict.HEALTHY)


async def test_a_certificate_that_soon_expires_drains_nobody(server: ModelServer, ca: tuple[trustme.CA, Path]) -> None:
    authority, file = ca
    async with TlsFront(server.port, server_side(authority, NAME, days=1)).serve() as front:
        assert await asyncio.to_thread(looked, f"https://{NAME}:{front.port}", file) == (0, "healthy", None)


async def test_an_authority_file_that_is_gone_is_the_agents_own_trouble(
    server: ModelServer, ca: tuple[trustme.CA, Path]
) -> None:
    authority, file = ca
    async with TlsFront(server.port, server_side(authority, NAME)).serve() as front:
        url = f"https://{NAME}:{front.port}"
        code, found, _ = await asyncio.to_thread(looked, url, file.with_name("gone.pem"))
        assert (code, found) == (2, "unknown")
        async with running(trusting(fleet_of(url), file.with_name("gone.pem"))) as agent:
            await until(lambda: agent.status()["endpoints"] and agent.vote_of("e1").errors, 20.0)
            assert verdict(agent) is Verdict.UNKNOWN


async def test_one_dead_address_of_two_behind_a_name_is_seen(server: ModelServer) -> None:
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    upstream = dns.asyncresolver.Resolver(configure=False)
    upstream.nameservers, upstream.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    Resolver.of(loop).use(upstream)
    names.records["chat.test"] = (0, ("127.0.0.1",))
    (service,) = fleet_of(f"http://chat.test:{server.port}").services
    plain = tuple(check for check in service.checks if check.name == "liveness")
    fleet = replace(fleet_of(""), services=(replace(service, checks=plain),))
    try:
        async with running(fleet) as agent:
            await until(lambda: verdict(agent) is Verdict.HEALTHY, 20.0)
            names.records["chat.test"] = (0, ("127.0.0.1", "127.0.0.9"))
            vote = await told(agent, Verdict.DEGRADED, "liveness")
            assert (vote.layer, vote.reason) == (Layer.LIVENESS, "1 of 2 addresses: connection refused")
            names.records["chat.test"] = (0, ("127.0.0.9",))
            vote = await told(agent, Verdict.UNHEALTHY, "liveness")
            assert (vote.reason, vote.transport) == ("connection refused", True)
            names.records["chat.test"] = (0, ("127.0.0.1",))
            await told(agent, Verdict.HEALTHY)
    finally:
        transport.close()
