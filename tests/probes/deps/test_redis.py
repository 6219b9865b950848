"""`redis` against redis-server: masters, replicas, logins, TLS, and everything that can be wrong with them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from probes.outcome import Outcome, Status
from tests.support.looking import Look
from tests.support.redis_server import RedisServer
from tests.support.servers import free_port
from tests.support.wait import until

pytestmark = pytest.mark.server("redis-server")


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), "--maxmemory", "100mb") as server:
        yield server


async def test_a_master_passes_and_lags_nobody(look: Look, master: RedisServer) -> None:
    for url in (master.url, f"{master.url}/3"):
        outcome = await look("redis", url, layer="dependency")
        assert (outcome.status, outcome.layer) == (Status.PASS, "dependency"), outcome
        assert outcome.readings["lag_s"] == 0
        assert 0 < outcome.readings["used_memory_ratio"] < 1
        assert outcome.stages.connect_s is not None
    assert (await look("redis", master.url, {"slow": 1e-9})).status is Status.SLOW
    assert (await look("redis", "", {"host": "127.0.0.1", "port": master.port})).status is Status.PASS


async def test_nobody_there_and_nobody_answering(look: Look, master: RedisServer) -> None:
    outcome = await look("redis", f"redis://127.0.0.1:{free_port()}")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
    with master.process.paused():
        outcome = await look("redis", master.url, within_s=0.3)
        assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True)
        assert outcome.duration_s < 2
    assert (await look("redis", master.url)).status is Status.PASS


async def test_logins(look: Look, tmp_path: Path) -> None:
    users = (
        "user default on >s3cret-word ~* +@all",
        "user narrow on >narrow-word ~* +ping",
        "user nothing on >nothing-word",
    )
    acl = tmp_path / "users.acl"
    acl.write_text("\n".join(users))
    with RedisServer(tmp_path / "r", "--aclfile", str(acl)) as server:

        async def ask(user: str | None, password: str | None) -> Outcome:
            settings = {"user": user, "password": ("ref", password) if password else None}
            return await look(
                "redis", server.url, {k: v for k, v in settings.items() if v}, resolve=lambda _: str(password)
            )

        assert (await ask(None, "s3cret-word")).status is Status.PASS
        dsn = f"redis://default:s3cret-word@127.0.0.1:{server.port}/0"
        assert (await look("redis", "", {"dsn": ("ref",)}, resolve=lambda _: dsn)).status is Status.PASS
        for user, password, needle in (
            (None, None, "credentials refused"),
            ("default", "wrong-word", "credentials refused"),
            ("narrow", "narrow-word", "the user may not ask"),
        ):
            outcome = await ask(user, password)
            assert (outcome.status, outcome.reason, outcome.host_error) == (Status.ERROR, needle, False), outcome
            assert str(password) not in f"{outcome.reason} {outcome.detail}"


async def test_what_a_dsn_may_be(look: Look) -> None:
    for dsn, needle in (("http://u:hide-me@h", "cannot be read"), ("redis://:hide-me@", "host"), ("hide-me", "cannot")):
        outcome = await look("redis", "", {"dsn": ("ref", dsn)}, resolve=lambda _, dsn=dsn: dsn)
        assert (outcome.status, needle in (outcome.reason or "")) == (Status.ERROR, True), outcome
        assert "hide-me" not in f"{outcome.reason} {outcome.detail}"
    for settings, needle in (
        ({"url": "redis://:pw@h"}, "password"),
        ({"url": "http://h"}, "redis://"),
        ({"url": "redis://h", "dsn": "x"}, "dsn"),
        ({"port": 0}, "port"),
    ):
        with pytest.raises(ValueError, match=needle):
            await look("redis", "", settings)
    outcome = await look("redis", "redis://127.0.0.1:1/jobs")
    assert outcome.status is Status.FAIL  # refused comes before what is asked for


async def test_there_is_no_such_database(look: Look, master: RedisServer) -> None:
    for path in ("99", "jobs"):
        outcome = await look("redis", f"{master.url}/{path}")
        assert outcome.status is Status.ERROR, outcome
        assert "database" in (outcome.reason or "")


async def test_loading_its_data_set_is_no_answer(look: Look, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "r") as server:
        server.command("DEBUG", "POPULATE", "1") or server.command("SET", "a", "1")
        for batch in range(20):
            server.command("MSET", *[f"k{batch}-{n} v" for n in range(50)])
        assert server.command("SAVE").startswith("+OK")
    # A millisecond a key, and events in between.
    slow = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
    with RedisServer(tmp_path / "r", *slow) as server:
        outcome = await look("redis", server.url)
        assert (outcome.status, outcome.reason) == (Status.FAIL, "loading its data set"), outcome
        assert not outcome.transport


async def test_a_replica_that_follows_and_one_whose_link_broke(look: Look, tmp_path: Path) -> None:
    primary = RedisServer(tmp_path / "m")
    with primary, RedisServer(tmp_path / "r", "--replicaof", "127.0.0.1", str(primary.port)) as replica:
        await until(lambda: "master_link_status:up" in replica.command("INFO", "replication"), 10)
        outcome = await look("redis", replica.url)
        assert (outcome.status, outcome.readings["lag_s"]) == (Status.PASS, 0), outcome
        assert outcome.readings["replication_link"] == 1
        primary.process.kill()
        await until(lambda: "master_link_status:down" in replica.command("INFO", "replication"), 10)
        outcome = await look("redis", replica.url)
        assert outcome.status is Status.PASS  # replication never fails a look
        assert outcome.readings["replication_link"] == 0
        assert 0 < outcome.readings["lag_s"] < 30
        assert "no link" in (outcome.detail or "")
        replica.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        outcome = await look("redis", replica.url)
        assert (outcome.status, outcome.reason) == (Status.FAIL, "refuses commands: its master is gone"), outcome


async def test_tls_is_verified(look: Look, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    cert = authority.issue_cert("redis.test")
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("other.pem", other.cert_pem),
        ("cert.pem", cert.cert_chain_pems[0]),
        ("key.pem", cert.private_key_pem),
    ):
        blob.write_to_path(str(tmp_path / name))
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-auth-clients", "no")
    options += ("--tls-key-file", str(tmp_path / "key.pem"), "--tls-ca-cert-file", str(tmp_path / "ca.pem"))
    with RedisServer(tmp_path / "r", *options):
        url = f"rediss://127.0.0.1:{port}"
        good = {"ca": str(tmp_path / "ca.pem"), "server_name": "redis.test"}
        outcome = await look("redis", url, good)
        assert outcome.status is Status.PASS, outcome
        assert outcome.stages.tls_s is not None
        outcome = await look("redis", url, {"ca": str(tmp_path / "other.pem"), "server_name": "redis.test"})
        assert outcome.status is Status.ERROR
        assert "not trusted here" in (outcome.reason or "")
        outcome = await look("redis", url, {"ca": str(tmp_path / "ca.pem")})
        assert (outcome.status, outcome.reason) == (Status.FAIL, "TLS certificate is for another name")


async def test_somebody_else_answers(look: Look) -> None:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        link.listen(5)
        outcome = await look("redis", f"redis://127.0.0.1:{link.getsockname()[1]}", within_s=0.2)
    assert (outcome.status, outcome.transport) == (Status.FAIL, True)
