"""`nats-jetstream` against nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
import trustme
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

from probes.outcome import Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.nats_server import NatsServer
from tests.support.servers import free_port
from tests.support.wait import until

pytestmark = pytest.mark.server("nats-server")

LIMITS = """
accounts {
  A { jetstream: enabled, users: [{user: app, password: app-word},
      {user: narrow, password: narrow-word, permissions: {publish: ["other"]}}] }
  B { users: [{user: plain, password: plain-word}] }
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as one:
        yield one


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A user of the server, with nothing stored before and after."""
    one = await nats.connect(server.url)
    yield one
    manager = one.jetstream()
    for stream in await manager.streams_info():
        await manager.delete_stream(stream.config.name)
    await one.close()


async def test_jetstream_answers(look: Look, server: NatsServer) -> None:
    outcome = await look("nats-jetstream", server.url)
    assert (outcome.status, outcome.readings) == (Status.PASS, {}), outcome
    assert (await look("nats-jetstream", server.url, {"slow": 1e-9})).status is Status.SLOW


async def test_a_stream_that_nobody_works_off(look: Look, server: NatsServer, client: Client) -> None:
    jetstream = client.jetstream()
    await jetstream.add_stream(StreamConfig(name="jobs", subjects=["jobs.*"], retention=RetentionPolicy.WORK_QUEUE))
    settings = {"stream": "jobs", "max_depth": 2, "max_age": 0.5}
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.readings) == (Status.PASS, {"depth": 0, "oldest_age_s": 0}), outcome
    for _ in range(3):
        await jetstream.publish("jobs.a", b"x")
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.readings["depth"]) == (Status.SATURATED, 3), outcome
    for _ in range(2000):
        outcome = await look("nats-jetstream", server.url, settings)
        if outcome.status is Status.FAIL:
            break
    assert (outcome.status, outcome.reason) == (Status.FAIL, "the oldest message waits too long"), outcome
    assert 0.5 < outcome.readings["oldest_age_s"] < 30


async def test_what_a_consumer_has_not_done_yet(look: Look, server: NatsServer, client: Client) -> None:
    jetstream = client.jetstream()
    await jetstream.add_stream(StreamConfig(name="log", subjects=["log.*"]))
    await jetstream.add_consumer(
        "log", ConsumerConfig(durable_name="writer", ack_policy="explicit", filter_subject="log.b")
    )
    for subject in ("log.a", "log.b", "log.a", "log.b"):
        await jetstream.publish(subject, b"x")
    settings = {"stream": "log", "consumer": "writer", "max_age": 60.0}
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.readings["depth"]) == (Status.PASS, 2), outcome
    assert 0 <= outcome.readings["oldest_age_s"] < 60
    subscription = await jetstream.pull_subscribe("log.b", "writer", stream="log")
    taken = await subscription.fetch(2)
    assert (await look("nats-jetstream", server.url, settings)).readings["depth"] == 2  # taken, not acknowledged
    for message in taken:
        await message.ack_sync()
    assert (await look("nats-jetstream", server.url, settings)).readings == {"depth": 0, "oldest_age_s": 0}


async def test_dead_letters_that_grow(look: Look, server: NatsServer, client: Client) -> None:
    jetstream = client.jetstream()
    await jetstream.add_stream(StreamConfig(name="dead", subjects=["dead"]))
    await jetstream.publish("dead", b"old")
    settings = {"dead_letters": "dead", "dead_letters_for": 60.0}
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.readings["dead_letters"]) == (Status.PASS, 1), outcome
    await jetstream.publish("dead", b"new")
    for _ in range(2):
        outcome = await look("nats-jetstream", server.url, settings)
        assert (outcome.status, outcome.reason) == (Status.FAIL, "dead letters grow"), outcome
    await jetstream.purge_stream("dead")
    assert (await look("nats-jetstream", server.url, settings)).status is Status.PASS


async def test_what_never_was_blames_nobody_and_what_is_gone_fails(
    look: Look, server: NatsServer, client: Client
) -> None:
    jetstream = client.jetstream()
    settings = {"stream": "later", "consumer": "one"}
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no stream 'later'"), outcome
    await jetstream.add_stream(StreamConfig(name="later", subjects=["later"]))
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no consumer 'one'"), outcome
    await jetstream.delete_stream("later")
    outcome = await look("nats-jetstream", server.url, settings)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "stream 'later' is gone"), outcome


async def test_nobody_there_and_nobody_answering(look: Look, server: NatsServer) -> None:
    outcome = await look("nats-jetstream", f"nats://127.0.0.1:{free_port()}")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
    with server.process.paused():
        outcome = await look("nats-jetstream", server.url, within_s=0.3)
        assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True), outcome
        assert outcome.duration_s < 2
    assert (await look("nats-jetstream", server.url)).status is Status.PASS


async def test_it_dies_while_it_is_asked(look: Look, tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server, server.process.paused():
        looking = asyncio.ensure_future(look("nats-jetstream", server.url, within_s=10))
        established = Path("/proc/net/tcp")
        port = f":{server.port:04X} "
        await until(lambda: sum(port in line for line in established.read_text().splitlines()) >= 3)
        server.process.kill_paused()
        outcome = await looking
    assert (outcome.status, outcome.transport) == (Status.FAIL, True), outcome


async def test_rights(look: Look, tmp_path: Path) -> None:
    with NatsServer(tmp_path, LIMITS) as server:
        for user, word, status, needle in (
            ("app", "app-word", Status.PASS, ""),
            ("app", "wrong-word", Status.ERROR, "credentials refused"),
            ("narrow", "narrow-word", Status.ERROR, "credentials refused"),
            ("plain", "plain-word", Status.ERROR, "not enabled"),
            (None, "none", Status.ERROR, "credentials refused"),
        ):
            settings = {"user": user, "password": ("ref", word)} if user else {}
            outcome = await look("nats-jetstream", server.url, settings, resolve=lambda ref: str(ref[1]), within_s=3)
            assert outcome.status is status, (user, word, outcome)
            assert needle in (outcome.reason or "")
            assert word not in f"{outcome.reason} {outcome.detail}"


async def test_a_server_without_jetstream_and_one_with_a_token(look: Look, tmp_path: Path) -> None:
    with NatsServer(tmp_path, "authorization {token: t0ken-word}", jetstream=False) as server:
        outcome = await look("nats-jetstream", server.url, {"token": ("t0ken-word",)}, resolve=lambda ref: str(ref[0]))
        assert (outcome.status, "JetStream is not enabled" in (outcome.reason or "")) == (Status.ERROR, True), outcome


async def test_tls_is_verified(look: Look, tmp_path: Path) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("nats.test")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    cert.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    cert.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    config = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    with NatsServer(tmp_path / "n", config) as server:
        for ca, name, status, needle in (
            ("ca.pem", "nats.test", Status.PASS, ""),
            ("other.pem", "nats.test", Status.ERROR, "not trusted"),
            ("ca.pem", "other.test", Status.FAIL, "another name"),
        ):
            settings = {"ca": str(tmp_path / ca), "server_name": name}
            outcome = await look("nats-jetstream", server.url, settings, within_s=3)
            assert outcome.status is status, (ca, name, outcome)
            assert needle in (outcome.reason or "")
    with NatsServer(tmp_path / "plain") as server:
        outcome = await look("nats-jetstream", server.url, {"ca": str(tmp_path / "ca.pem")}, within_s=3)
        assert (outcome.status, outcome.reason) == (Status.ERROR, "the server offers no TLS"), outcome


def test_settings_that_need_a_stream() -> None:
    with pytest.raises(ValueError, match="stream"):
        make("nats-jetstream", "dependency", {"max_depth": 3}, str)
