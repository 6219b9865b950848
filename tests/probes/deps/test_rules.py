"""What the looks at dependencies share: limits of backlogs, growth of dead letters, lag of replicas, logins, farewells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from probes import registry
from probes.deps.backlog import Backlog, BacklogLimits, DeadLetters
from probes.deps.base import ended
from probes.deps.icmp_probe import checksum
from probes.deps.postgres_dsn import keywords
from probes.deps.replica import Replicas, ReplicaState
from probes.errors import MisconfiguredError
from probes.outcome import Status
from probes.probe import look_safely
from probes.registry import KINDS, ProbeUnavailableError, make
from probes.target import Target
from tests.support.looking import Look


def test_old_messages_are_worse_than_many() -> None:
    limits = BacklogLimits.of({"max_depth": 10, "max_age": 60.0})
    assert limits.wrong(Backlog(10, 60.0)) is None
    assert limits.wrong(Backlog(11, None)) == (Status.SATURATED, "too many messages wait", "11 messages wait, over 10")
    found = limits.wrong(Backlog(11, 61.0, at_least=True))
    assert found is not None
    assert (found[0], "at least 61 s" in found[2]) == (Status.FAIL, True)
    assert BacklogLimits(None, None).wrong(Backlog(10**9, 1e9)) is None


def test_dead_letters_count_within_their_window() -> None:
    letters = DeadLetters(60.0)
    assert letters.grown("a", 5, 0.0) == 0  # what lay there before is no news
    assert letters.grown("a", 7, 10.0) == 2
    assert letters.grown("a", 7, 50.0) == 2
    assert letters.grown("a", 7, 61.0) == 0  # the 5 was last seen 61 s ago
    assert letters.grown("a", 8, 70.0) == 1
    assert letters.grown("a", 0, 80.0) == 0  # taken out
    assert letters.grown("a", 1, 90.0) == 1
    assert letters.grown("a", None, 91.0) == 0
    assert letters.grown("b", 100, 91.0) == 0


def test_lag_grows_from_when_the_replica_was_last_whole() -> None:
    replicas = Replicas()
    # Broken since before the first look: only its own bounds are known.
    assert replicas.lag_s("r", ReplicaState(False), 0.0) is None
    assert replicas.lag_s("r", ReplicaState(False, bound_s=3600.0), 0.0) == 3600.0
    assert replicas.lag_s("r", ReplicaState(True), 100.0) == 0.0
    # Broken now: nothing that was committed before 100 can be missing, however long the primary was idle.
    assert replicas.lag_s("r", ReplicaState(False, bound_s=3600.0), 130.0) == 30.0
    # Linked and behind: the age of the last transaction replayed is the tighter bound.
    assert replicas.lag_s("r", ReplicaState(True, behind=True, bound_s=2.0), 140.0) == 2.0
    # Silent since a moment that the replica knows itself.
    assert replicas.lag_s("r", ReplicaState(False, silent_s=5.0, bound_s=50.0), 150.0) == 5.0
    replicas.forget("r")
    assert replicas.lag_s("r", ReplicaState(False), 160.0) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.booleans(), st.floats(0, 1000)), max_size=20))
def test_lag_is_never_more_than_the_time_since_it_was_whole(steps: list[tuple[float, bool, bool, float]]) -> None:
    replicas, now, whole = Replicas(), 0.0, None
    for gap, linked, behind, bound in steps:
        now += gap
        lag = replicas.lag_s("r", ReplicaState(linked, behind, bound_s=bound), now)
        if linked and not behind:
            whole = now
        assert lag is not None
        assert 0 <= lag <= bound if whole is None else 0 <= lag <= now - whole


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [
        ("postgresql://u:p%40w@h:5/d?sslmode=disable", {"user": "u", "password": "p@w", "host": "h", "port": "5"}),
        ("postgres://h", {"host": "h"}),
        ("postgresql://u@[::1]:5433/d", {"host": "::1", "port": "5433"}),
        ("host=h user=u password='a b\\'c' dbname=d", {"password": "a b'c", "dbname": "d"}),
        ("host = h  user=u password=''", {"host": "h", "password": ""}),
        ("host=/run/postgresql user=u", {"host": "/run/postgresql"}),
    ],
)
def test_dsns(dsn: str, wanted: dict[str, str]) -> None:
    found = keywords(dsn)
    assert {key: found[key] for key in wanted} == wanted


@given(st.text(max_size=60))
def test_no_value_of_a_dsn_is_ever_repeated(text: str) -> None:
    for dsn in (f"{text}=hide-me", f"postgresql://u:{text}hide-me@h/d"):
        said = ""
        try:
            keywords(dsn)
        except MisconfiguredError as error:
            said = str(error)
        assert "hide-me" not in said


async def test_a_farewell_is_not_waited_for() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise OSError("gone")

    await asyncio.wait_for(ended(never()), 5)
    await ended(fails())


async def test_an_agent_that_stops_takes_its_look_with_it(serve: Callable[..., Any]) -> None:
    came, gone = asyncio.Semaphore(0), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        if await reader.read(1):  # a connection that only asks whether somebody listens says nothing
            came.release()
        await reader.read()
        gone.set()

    for kind in ("redis", "postgres", "grpc", "rabbitmq"):
        gone.clear()
        where = f"127.0.0.1:{await serve(silent)}"
        url = {"redis": "redis", "postgres": "postgresql", "grpc": "grpc"}.get(kind, "http")
        probe = make(kind, "dependency", {"user": "u"} if kind == "postgres" else {}, str)
        deadline = asyncio.get_running_loop().time() + 3
        task = asyncio.ensure_future(look_safely(probe, Target("d", f"{url}://{where}"), deadline))
        await asyncio.wait_for(came.acquire(), 5)
        gone.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 10)  # gRPC holds on until the deadline
        await probe.close()


@pytest.mark.parametrize("kind", ["qdrant", "milvus", "weaviate"])
async def test_vector_stores(look: Look, site: Callable[..., Any], kind: str) -> None:
    path = KINDS[kind].setting("path")
    assert path is not None
    ready = True

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=200 if ready else 503)

    url = await site({path.default: answer})
    assert (await look(kind, url, {"path": path.default})).status is Status.PASS
    ready = False
    outcome = await look(kind, url, {"path": path.default})
    assert (outcome.status, outcome.reason) == (Status.FAIL, "HTTP 503")


async def test_icmp_echo(look: Look) -> None:
    assert checksum(bytes.fromhex("0800000000010001")) == 0xF7FD
    for host in ("127.0.0.1", "localhost"):
        outcome = await look("icmp", "", {"host": host})
        if outcome.status is Status.ERROR:
            # Not a privilege of every machine: then it says which it is.
            assert "ping_group_range" in (outcome.detail or "")
            assert "CAP_NET_RAW" in (outcome.detail or "")
        else:
            assert outcome.status is Status.PASS, outcome
            assert 0 < outcome.readings["round_trip_s"] < 1
    assert (await look("icmp", "http://127.0.0.1:80/x")).status in (Status.PASS, Status.ERROR)


@pytest.mark.parametrize("kind", sorted(kind.name for kind in KINDS.values() if kind.extra))
def test_a_missing_client_names_its_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] in KINDS[kind].modules]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, registry._MODULES[kind], raising=False)
    for module in KINDS[kind].modules:
        monkeypatch.setitem(sys.modules, module, None)
    if kind in ("sqs", "s3"):
        monkeypatch.delitem(sys.modules, "probes.deps.aws", raising=False)
    required = {s.name: "x" for s in KINDS[kind].settings if s.required}
    with pytest.raises(ProbeUnavailableError, match=rf"'\.\[{KINDS[kind].extra}\]'"):
        make(kind, "dependency", required, str)
