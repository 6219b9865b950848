"""The haproxy provider on a real HAProxy; the contract suite holds the rest."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import (
    Change,
    ChecksRights,
    Conflict,
    Context,
    Misconfigured,
    Provider,
    Refused,
    Unreachable,
    Untold,
)
from steerd.providers.haproxy.client import _lines
from steerd.providers.haproxy.translate import Server, observed_from, parse_state, translate
from tests.support.gate import Gate
from tests.support.haproxy import HAProxy
from tests.support.servers import free_port
from tests.support.wait import until

SEQ = itertools.count(1)
ENDPOINTS = ("e1", "e2", "e3")
SERVERS = {f"s{i}": (f"127.0.0.1:{9100 + i}", 10) for i in (1, 2, 3)}
BIG = {f"server-with-a-long-name-{i:04}": (f"127.0.0.1:{9200 + i}", 1) for i in range(400)}


@pytest.fixture(scope="module")
def haproxy() -> Iterator[HAProxy]:
    backends = dict.fromkeys(
        ("chat", "overtaken", "maint", "fixed", "hash", "operator", "partial", "edited", "drained"), SERVERS
    )
    with tempfile.TemporaryDirectory(prefix="ha") as directory:
        made = HAProxy(
            Path(directory),
            {**backends, "big": BIG},
            {"fixed": ("balance static-rr",), "hash": ("balance uri", "hash-type consistent")},
        )
        with made:
            yield made


def make(haproxy: HAProxy, **settings: Any) -> Provider:
    spec = ProviderSpec("edge", "haproxy", settings={"socket": f"unix:{haproxy.admin}", **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: ""))


def route(backend: str, servers: dict[str, str] | None = None) -> Route:
    names = servers or {e: f"s{e[1:]}" for e in ENDPOINTS}
    targets = tuple(Target(e, (e,), server=s) for e, s in names.items())
    return Route(key=f"edge/{backend}", service="chat", provider="edge", name=backend, per="endpoint", targets=targets)


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(**weights: int) -> Desired:
    return Desired(tuple(Member(e, w) for e, w in sorted(weights.items())))


async def write(provider: Provider, where: Route, wanted: Desired) -> Change:
    observed = await provider.read(where, deadline())
    change = provider.translate(where, wanted, observed, Fence("acme", 1, next(SEQ), "p"))
    await provider.apply(change, deadline())
    return change


async def test_weights_go_from_0_to_256_and_0_is_a_drain(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("chat")
    change = await write(provider, where, desired(e1=256, e2=1, e3=0))
    assert haproxy.weights("chat") == {"s1": 256, "s2": 1, "s3": 0}
    assert "chat/s3 state drain" in change.summary
    states = parse_state(haproxy.command("show servers state chat"), "chat")
    assert states["s3"] == Server(weight=10, drained=True), "a drained server keeps its weight"
    await write(provider, where, desired(e1=10, e2=10, e3=5))
    assert haproxy.weights("chat") == {"s1": 10, "s2": 10, "s3": 5}


async def test_over_tcp(haproxy: HAProxy) -> None:
    provider, where = make(haproxy, socket=f"127.0.0.1:{haproxy.stats_port}"), route("hash")
    change = await write(provider, where, desired(e1=1, e2=2, e3=3))
    assert (await provider.verify(where, change, deadline())).in_sync


async def test_a_server_in_maintenance_stays_there_and_is_named(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("maint")
    haproxy.command("set server maint/s1 state maint")
    change = await write(provider, where, desired(e1=40, e2=60, e3=0))
    assert haproxy.weights("maint") == {"s1": 0, "s2": 60, "s3": 0}
    verified = await provider.verify(where, change, deadline())
    assert not verified.in_sync
    assert "maint/s1 is in maintenance" in verified.text
    # s2 is now the last one that serves: taking it out in favour of s1 would leave nobody.
    observed = await provider.read(where, deadline())
    with pytest.raises(Refused, match="in maintenance"):
        provider.translate(where, desired(e1=100, e2=0, e3=0), observed, Fence("acme", 1, next(SEQ), "p"))
    haproxy.command("set server maint/s1 state ready")
    assert (await provider.verify(where, change, deadline())).in_sync


async def test_a_static_algorithm_takes_no_weights_and_nothing_is_drained(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("fixed")
    with pytest.raises(Misconfigured) as caught:
        await write(provider, where, desired(e1=0, e2=50, e3=50))
    assert "balance roundrobin" in caught.value.action
    assert set(haproxy.weights("fixed").values()) == {10}, "what takes away comes only after what adds has worked"


async def test_the_operator_level_is_not_enough(haproxy: HAProxy) -> None:
    provider, where = make(haproxy, socket=f"unix:{haproxy.operator}"), route("operator")
    with pytest.raises(Misconfigured) as caught:
        await write(provider, where, desired(e1=0, e2=50, e3=50))
    assert "Permission denied" in caught.value.text
    assert "level admin" in caught.value.action


async def test_the_level_of_the_socket_is_told(haproxy: HAProxy) -> None:
    for socket, lacks in ((haproxy.admin, 0), (haproxy.operator, 1)):
        provider = make(haproxy, socket=f"unix:{socket}")
        assert isinstance(provider, ChecksRights)
        told = await provider.missing_rights([route("chat")], deadline())
        assert len(told) == lacks
        assert all("`level admin`" in t and "`level operator`" in t and not isinstance(t, Untold) for t in told)


async def test_a_server_that_does_not_exist(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("partial", {"e1": "s1", "e2": "s9"})
    with pytest.raises(Misconfigured, match="has no server 's9'; it has s1, s2, s3"):
        await write(provider, where, desired(e1=1, e2=1))
    change = await write(provider, where, desired(e1=7, e2=0))
    assert (await provider.verify(where, change, deadline())).in_sync, "out is out"


async def test_a_backend_that_does_not_exist(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("nowhere")
    with pytest.raises(Misconfigured, match="no backend 'nowhere'"):
        await write(provider, where, desired(e1=1, e2=1))


@pytest.mark.parametrize("name", ["", "chat; shutdown sessions server chat/s1", "chat\nset", "chat/s1"])
async def test_a_backend_name_cannot_smuggle_a_command(haproxy: HAProxy, name: str) -> None:
    with pytest.raises(Misconfigured, match="is no backend name"):
        await make(haproxy).read(route(name), deadline())


@pytest.mark.parametrize("server", ["s1;disable frontend front", "s1 weight", "s1\n"])
async def test_a_server_name_cannot_smuggle_a_command(haproxy: HAProxy, server: str) -> None:
    """Only servers HAProxy listed are ever named in a command."""
    provider, where = make(haproxy), route("partial", {"e1": server})
    with pytest.raises(Misconfigured, match="has no server"):
        await write(provider, where, desired(e1=1))


async def test_an_edit_between_read_and_write_is_noticed(haproxy: HAProxy) -> None:
    provider, where = make(haproxy), route("edited")
    observed = await provider.read(where, deadline())
    change = provider.translate(where, desired(e1=50, e2=50, e3=0), observed, Fence("acme", 1, next(SEQ), "p"))
    haproxy.command("set server edited/s3 weight 99")
    with pytest.raises(Conflict, match="changed since"):
        await provider.apply(change, deadline())
    assert haproxy.weights("edited") == {"s1": 10, "s2": 10, "s3": 99}


async def test_a_stale_write_that_slips_through_is_seen_and_set_right(haproxy: HAProxy) -> None:
    """No compare-and-set: a writer paused between its comparison and its commands lands late. The next look shows it."""
    where, wanted = route("overtaken"), desired(e1=0, e2=20, e3=20)
    with Gate("127.0.0.1", haproxy.stats_port, hold=b"set server") as gate:
        paused, current = make(haproxy, socket=f"127.0.0.1:{gate.port}", timeout=20), make(haproxy)
        observed = await paused.read(where, deadline())
        stale = paused.translate(where, desired(e1=99, e2=0, e3=0), observed, Fence("acme", 1, next(SEQ), "p"))
        late = asyncio.create_task(paused.apply(stale, deadline(20)))
        await until(lambda: gate.holding)
        change = await write(current, where, wanted)
        assert (await current.verify(where, change, deadline())).in_sync
        gate.release()
        # It looks again before it takes anything away: two writers together could leave nothing in service.
        with pytest.raises(Conflict, match="s1 left service meanwhile"):
            await late
        assert (await current.verify(where, change, deadline())).in_sync
    with Gate("127.0.0.1", haproxy.stats_port, hold=b"state drain") as gate:
        paused = make(haproxy, socket=f"127.0.0.1:{gate.port}", timeout=20)
        observed = await paused.read(where, deadline())
        stale = paused.translate(where, desired(e1=99, e2=0, e3=20), observed, Fence("acme", 1, next(SEQ), "p"))
        late = asyncio.create_task(paused.apply(stale, deadline(20)))
        await until(lambda: gate.holding)
        change = await write(current, where, wanted)
        gate.release()
        await late
    verified = await current.verify(where, change, deadline())
    assert not verified.in_sync
    assert "overtaken/s2 carries weight 0, not 20" in verified.text
    repaired = await write(current, where, wanted)
    assert (await current.verify(where, repaired, deadline())).in_sync
    assert current.capabilities.volatile, "so the coordinator sets a difference right without asking"


async def test_hundreds_of_servers_take_several_lines(haproxy: HAProxy) -> None:
    provider = make(haproxy)
    where = route("big", {s: s for s in BIG})
    weights = {s: 2 + i % 200 for i, s in enumerate(BIG)} | {"server-with-a-long-name-0007": 0}
    change = await write(provider, where, Desired(tuple(Member(s, w) for s, w in weights.items())))
    assert len(list(_lines(change.payload.more))) > 1
    assert haproxy.weights("big") == weights
    assert (await provider.verify(where, change, deadline())).in_sync


async def test_a_stopped_haproxy_is_unreachable_and_forgets() -> None:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ha"))
        haproxy = stack.enter_context(HAProxy(Path(directory), {"chat": SERVERS}))
        provider, where = make(haproxy), route("chat")
        change = await write(provider, where, desired(e1=0, e2=50, e3=50))
        haproxy.stop()
        with pytest.raises(Unreachable):
            await provider.read(where, deadline())
        haproxy.start()
        verified = await provider.verify(where, change, deadline())
        assert not verified.in_sync, "a restart brings back haproxy.cfg's weights"
        change = await write(provider, where, desired(e1=0, e2=50, e3=50))
        assert (await provider.verify(where, change, deadline())).in_sync


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
async def test_a_socket_of_others(haproxy: HAProxy) -> None:
    haproxy.admin.chmod(0)
    try:
        with pytest.raises(Misconfigured, match="permission denied"):
            await make(haproxy).read(route("chat"), deadline())
    finally:
        haproxy.admin.chmod(0o600)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", Unreachable, "without an answer"),
        (b"Permission denied\n\n", Misconfigured, "Permission denied"),
        (b"Unknown command. Please enter one of ...\n", Misconfigured, "Unknown command"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Refused, "no column line"),
        (b"1\n# be_id srv_id\n\n", Refused, "no column be_name"),
        (b"\xff\xfe\x00" * 50, Refused, "no column line"),
    ],
)
async def test_what_is_not_a_stats_socket(answer: bytes, error: type[Exception], words: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(respond, "127.0.0.1", port)
    spec = ProviderSpec("edge", "haproxy", settings={"socket": f"127.0.0.1:{port}"})
    provider = registry.build(Context(Fleet(name="acme"), spec, lambda _: ""))
    with pytest.raises(error, match=words):
        await provider.read(route("chat"), deadline())
    server.close()
    await server.wait_closed()


# -- real traffic ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def model_servers() -> AsyncIterator[dict[str, tuple[str, int]]]:
    """Three HTTP servers that answer with their own name."""
    servers, found = [], {}
    for name in ("s1", "s2", "s3"):

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n{name}".encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        servers.append(server)
        found[name] = (f"127.0.0.1:{server.sockets[0].getsockname()[1]}", 10)
    yield found
    for server in servers:
        server.close()
        await server.wait_closed()


async def get(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith("HTTP/1.1 200"), answer
    return answer.rpartition("\r\n\r\n")[2]


PLANS = ({"e1": 30, "e2": 20, "e3": 10}, {"e1": 0, "e2": 20, "e3": 10}, {"e1": 60, "e2": 0, "e3": 0})


async def test_traffic_leaves_and_comes_back_without_an_error() -> None:
    async with model_servers() as servers:
        with (
            tempfile.TemporaryDirectory(prefix="ha") as directory,
            HAProxy(Path(directory), {"chat": servers}) as haproxy,
        ):
            provider, where = make(haproxy), route("chat")
            for weights in PLANS:
                await write(provider, where, desired(**weights))
                counted = Counter([await get(haproxy.port) for _ in range(60)])
                for endpoint, weight in weights.items():
                    # Round robin over two threads: exact up to a request or two per thread.
                    wanted = 60 * weight / sum(weights.values())
                    assert abs(counted[f"s{endpoint[1:]}"] - wanted) <= (4 if weight else 0), counted


# -- the translation, for any backend --------------------------------------------------------------------------------

states = st.builds(Server, weight=st.integers(0, 256), drained=st.booleans(), maint=st.booleans())
backends = st.fixed_dictionaries({f"s{i}": states for i in (1, 2, 3)} | {"foreign": states})
plans = st.fixed_dictionaries({e: st.sampled_from([0, 1, 50, 256]) for e in ENDPOINTS}).filter(
    lambda w: any(w.values())
)


def obey(servers: dict[str, Server], command: str) -> None:
    """What HAProxy does with one command."""
    _, _, where, verb, value = command.split()
    name = where.partition("/")[2]
    old = servers[name]
    if verb == "weight":
        servers[name] = Server(int(value), old.drained, old.maint)
    elif value == "drain":
        servers[name] = Server(old.weight, True, old.maint)
    else:
        servers[name] = Server(old.weight)


@settings(max_examples=1000, deadline=None)
@given(before=backends, weights=plans)
def test_any_plan_ends_as_desired_and_never_empties(before: dict[str, Server], weights: dict[str, int]) -> None:
    where, wanted, fence = route("chat"), desired(**weights), Fence("acme", 1, 1, "p")
    serving = [e for e in ENDPOINTS if weights[e] and not before[f"s{e[1:]}"].maint]
    if not serving:
        with pytest.raises(Refused):
            translate(where, wanted, observed_from(where, before, None), fence)
        return
    change = translate(where, wanted, observed_from(where, before, None), fence)
    servers = dict(before)
    was_empty = not any(servers[f"s{e[1:]}"].carries for e in ENDPOINTS)
    for command in (*change.payload.more, *change.payload.less):
        obey(servers, command)
        now_empty = not any(servers[f"s{e[1:]}"].carries for e in ENDPOINTS)
        assert was_empty or not now_empty
        was_empty = now_empty
    for endpoint, weight in weights.items():
        server = servers[f"s{endpoint[1:]}"]
        assert server.maint == before[f"s{endpoint[1:]}"].maint
        assert server.maint or server.carries == weight
    assert servers["foreign"] == before["foreign"]
    assert translate(where, wanted, observed_from(where, servers, None), fence).nothing
