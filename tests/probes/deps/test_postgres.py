"""`postgres` against a primary and a standby that streams from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.deps.postgres_probe import PostgresProbe
from probes.outcome import Outcome, Status
from probes.registry import make
from probes.target import Target
from tests.support.looking import Look
from tests.support.postgres_server import PASSWORD, Postgres, postgres_home
from tests.support.servers import free_port
from tests.support.wait import until

pytestmark = pytest.mark.server("postgres")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with postgres_home() as path:
        yield path


@pytest.fixture(scope="module")
def primary(home: Path) -> Iterator[Postgres]:
    with Postgres(home / "primary") as server:
        yield server


@pytest.fixture(scope="module")
def standby(home: Path, primary: Postgres) -> Iterator[Postgres]:
    with Postgres(home / "standby", primary=primary) as server:
        yield server


async def ask(look: Look, dsn: str, within_s: float = 5.0, **settings: Any) -> Outcome:
    """By a reference that is the same every time, so that the probe remembers earlier looks."""
    return await look("postgres", "", {"dsn": ("ref", dsn), **settings}, within_s=within_s, resolve=lambda _: dsn)


async def test_a_primary_passes_in_every_form(look: Look, primary: Postgres) -> None:
    pairs = f"host=127.0.0.1 port={primary.port} user=boss password='{PASSWORD}' dbname=postgres sslmode=disable"
    for dsn in (primary.dsn(), pairs, f"host={primary.directory} port={primary.port} user=boss password={PASSWORD}"):
        outcome = await ask(look, dsn + (" dbname=postgres" if "=/" in dsn else ""))
        assert (outcome.status, outcome.readings) == (Status.PASS, {"lag_s": 0.0}), outcome
    settings = {"user": "boss", "password": ("ref",)}
    url = f"postgresql://127.0.0.1:{primary.port}/postgres"
    outcome = await look("postgres", url, settings, within_s=5, resolve=lambda _: PASSWORD)
    assert outcome.status is Status.PASS, outcome
    assert (await ask(look, primary.dsn(), slow=1e-9)).status is Status.SLOW


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"password": "wrong-word"}, "credentials refused"),
        ({"user": "nobody-here", "password": "wrong-word"}, "credentials refused"),
        ({"database": "no-such-base"}, "query or database"),
    ],
)
async def test_a_login_that_is_refused_blames_nobody(
    look: Look, primary: Postgres, change: dict[str, str], needle: str
) -> None:
    outcome = await ask(look, primary.dsn(**change))
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)
    assert needle in (outcome.reason or "")
    assert "wrong-word" not in f"{outcome.reason} {outcome.detail}"


async def test_a_query_that_cannot_be_and_one_that_may_not(look: Look, primary: Postgres) -> None:
    primary.sql(
        "CREATE USER app PASSWORD 'app-word'",
        "CREATE TABLE secret (a int)",
        "CREATE TABLE open (a int)",
        "GRANT ALL ON open TO app",
    )
    for query, status, needle in (
        ("SELEC 1", Status.ERROR, "query"),
        ("SELECT * FROM nowhere", Status.ERROR, "query"),
        ("SELECT * FROM secret", Status.ERROR, "may not ask"),
        ("SELECT 1/0", Status.FAIL, "22012"),
        ("INSERT INTO open VALUES (1)", Status.ERROR, "query"),
        ("SELECT 1;", Status.PASS, ""),
        ("SELECT count(*) FROM generate_series(1, 3)", Status.PASS, ""),
    ):
        outcome = await ask(look, primary.dsn("app", "app-word"), query=query)
        assert outcome.status is status, (query, outcome)
        assert needle in (outcome.reason or "")


async def test_tls_is_wanted_unless_told_otherwise(look: Look, primary: Postgres) -> None:
    url = primary.dsn()
    for more, status, needle in (
        ("?sslmode=verify-full", Status.ERROR, "offers no TLS"),
        ("?sslmode=require", Status.ERROR, "offers no TLS"),
        ("?sslmode=prefer", Status.PASS, ""),
        ("?sslmode=perhaps", Status.ERROR, "sslmode"),
        ("?sslmod=disable", Status.ERROR, "sslmod"),
    ):
        outcome = await ask(look, url + more)
        assert outcome.status is status, (more, outcome)
        assert needle in f"{outcome.reason} {outcome.detail}"
    # To another host by name, TLS is verified although nobody asked for it.
    outcome = await look(
        "postgres", f"postgresql://127.0.0.2:{primary.port}", {"user": "u"}, within_s=5, resolve=lambda _: "x"
    )
    assert (outcome.status, outcome.reason) == (Status.FAIL, "connection refused")


@pytest.mark.parametrize(
    "dsn", ["hide-me", "mysql://u:hide-me@h", "postgresql://u:hide-me@h:x", "host=h,g user=u password=hide-me"]
)
async def test_a_dsn_that_cannot_be_read_is_not_repeated(look: Look, dsn: str) -> None:
    outcome = await ask(look, dsn)
    assert outcome.status is Status.ERROR, outcome
    assert "dsn" in (outcome.reason or "")
    assert "hide-me" not in f"{outcome.reason} {outcome.detail}"


async def test_tls_is_verified(look: Look, home: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    cert = authority.issue_cert("127.0.0.1")
    extra = f"ssl = on\nssl_cert_file = '{home}/cert.pem'\nssl_key_file = '{home}/key.pem'"
    server = Postgres(home / "tls", extra=extra)
    server.lend(home / "cert.pem", cert.cert_chain_pems[0].bytes())
    server.lend(home / "key.pem", cert.private_key_pem.bytes())
    with server:
        dsn = f"host=localhost port={server.port} user=boss password={PASSWORD} dbname=postgres sslmode=verify-full"
        for url, ca, status, needle in (
            (server.dsn(), "ca.pem", Status.PASS, ""),
            (server.dsn(), "other.pem", Status.ERROR, "not trusted"),
            (dsn, "ca.pem", Status.FAIL, "another name"),
            (dsn.replace("full", "ca"), "ca.pem", Status.PASS, ""),
            (dsn.replace("full", "ca"), "other.pem", Status.ERROR, "not trusted"),
            (server.dsn() + "?sslmode=require", "other.pem", Status.PASS, ""),
            (server.dsn() + "?sslmode=verify-full", "none.pem", Status.ERROR, "none.pem"),
        ):
            outcome = await ask(look, url, ca=str(tmp_path / ca))
            assert outcome.status is status, (url, ca, outcome)
            assert needle in (outcome.reason or "")


async def test_nobody_there_and_nobody_answering(look: Look, primary: Postgres) -> None:
    outcome = await ask(look, f"postgresql://u:p@127.0.0.1:{free_port()}/x")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
    # A query that never ends: the connection is cut, and no second one asks the server to give up.
    outcome = await ask(look, primary.dsn(), within_s=0.5, query="SELECT pg_sleep(60)")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True)
    assert outcome.duration_s < 3
    # ... and the server does not carry it on.
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    await until(lambda: primary.sql(running) == "0", 10)
    with primary.process.paused():
        outcome = await ask(look, primary.dsn(), within_s=0.3)
        assert (outcome.status, outcome.transport) == (Status.FAIL, True), outcome
        assert outcome.duration_s < 3


async def test_all_connections_are_taken(look: Look, home: Path) -> None:
    with Postgres(
        home / "full", extra="max_connections = 1\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0"
    ) as server:
        server.sql("CREATE USER app PASSWORD 'app-word'", "ALTER ROLE app CONNECTION LIMIT 0")
        outcome = await ask(look, server.dsn("app", "app-word"))
        assert (outcome.status, outcome.reason) == (Status.SATURATED, "no connection is free"), outcome


async def test_lag_of_a_standby(look: Look, primary: Postgres, standby: Postgres) -> None:
    async def lag() -> Outcome:
        outcome = await ask(look, standby.dsn())
        assert outcome.status is Status.PASS, outcome  # replication never fails a look
        return outcome

    primary.sql("CREATE TABLE lagged (a int)", "SELECT pg_switch_wal()")
    await until(lambda: standby.sql("SELECT count(*) FROM pg_class WHERE relname = 'lagged'") == "1", 10)
    await until(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", 10)
    # Idle: the last transaction gets older, and nothing is missing.
    await until(
        lambda: float(standby.sql("SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())")) > 1.0, 10
    )
    outcome = await lag()
    assert outcome.readings == {"lag_s": 0.0, "replication_link": 1.0}

    # Received and not replayed.
    standby.sql("SELECT pg_wal_replay_pause()")
    primary.sql("INSERT INTO lagged VALUES (1)")
    unplayed = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
    await until(lambda: standby.sql(unplayed) == "t", 10)
    first = (await lag()).readings["lag_s"]
    second = (await lag()).readings["lag_s"]
    assert 0 < first < second < 60
    standby.sql("SELECT pg_wal_replay_resume()")
    await until(lambda: standby.sql(unplayed) == "f", 10)
    assert (await lag()).readings["lag_s"] == 0

    # The receiver is broken while the primary is well: received equals replayed, and yet nobody knows what is missing.
    link = standby.sql("SHOW primary_conninfo")
    standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'", "SELECT pg_reload_conf()")
    await until(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "0", 15)
    first_look = await lag()
    assert first_look.readings["replication_link"] == 0
    assert "receiver" in (first_look.detail or "")
    assert 0 < first_look.readings["lag_s"] < (await lag()).readings["lag_s"] < 60

    standby.sql("ALTER SYSTEM SET primary_conninfo = $$" + link + "$$", "SELECT pg_reload_conf()")
    await until(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", 15)
    await until(lambda: standby.sql(unplayed) == "f", 10)
    assert (await lag()).readings == {"lag_s": 0.0, "replication_link": 1.0}


async def test_a_user_without_rights_is_told_which(look: Look, primary: Postgres, standby: Postgres) -> None:
    primary.sql("CREATE USER guest PASSWORD 'guest-word'")
    await until(lambda: standby.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'guest'") == "1", 10)
    outcome = await ask(look, standby.dsn("guest", "guest-word"))
    assert (outcome.status, outcome.readings["lag_s"]) == (Status.PASS, 0.0)
    assert "pg_read_all_stats" in (outcome.detail or "")


async def test_the_primary_dies(look: Look, home: Path) -> None:
    with Postgres(home / "dying") as primary, Postgres(home / "left", primary=primary) as standby:
        await until(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", 10)
        assert (await ask(look, standby.dsn())).readings["lag_s"] == 0
        primary.process.kill()
        await until(
            lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "0", 15
        )
        outcome = await ask(look, standby.dsn())
        assert (outcome.status, outcome.readings["replication_link"]) == (Status.PASS, 0.0)
        assert 0 < outcome.readings["lag_s"] < 30
        outcome = await ask(look, primary.dsn())
        assert (outcome.status, outcome.reason) == (Status.FAIL, "connection refused")


@pytest.mark.parametrize(
    ("row", "lag_s", "link"),
    [
        ({}, 0.0, 1.0),
        ({"silent_s": 20.0}, 0.0, 1.0),  # an idle primary is asked for a sign of life after 30 s
        ({"silent_s": 45.0}, 45.0, 0.0),  # hangs, or the network between the two does
        ({"silent_s": 45.0, "patience_s": 120.0}, 0.0, 1.0),
        ({"status": "starting"}, 0.0, 0.0),
        ({"receiver": False, "status": None, "silent_s": None}, 900.0, 0.0),
        ({"receiver": False, "status": None, "silent_s": None, "replayed_age_s": None}, None, 0.0),
        ({"behind": True, "replayed_age_s": 12.0}, 12.0, 1.0),
        ({"status": None, "silent_s": None, "patience_s": None}, 0.0, 1.0),
        ({"standby": False}, 0.0, None),
    ],
)
def test_what_a_standby_says_of_itself(row: dict[str, Any], lag_s: float | None, link: float | None) -> None:
    """States that take minutes to come about, at the first look."""
    usual = {"standby": True, "receiver": True, "status": "streaming", "behind": False, "silent_s": 0.0}
    usual |= {"replayed_age_s": 900.0, "patience_s": 60.0}
    probe = make("postgres", "dependency", {"dsn": ("ref",)}, str)
    assert isinstance(probe, PostgresProbe)
    readings, detail = probe._replication(Target("db", ""), {**usual, **row})
    assert (readings.get("lag_s"), readings.get("replication_link")) == (lag_s, link)
    shown = {**usual, **row}["status"] is not None
    assert (detail is None) == (link is None or (link == 1.0 and shown))
