"""The haproxy provider where HAProxy asks: a real HAProxy's agent checks, and the answers in between."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Change, Conflict, Context, Misconfigured, Provider, Unreachable
from steerd.providers.haproxy.agent import ALIVE_S, SOURCES_MOST, Board, Posted
from steerd.providers.haproxy.pull import HAProxyAgent, observed_from, translate
from tests.support.haproxy import HAProxy
from tests.support.model_row import Load, ModelRow
from tests.support.servers import free_port
from tests.support.wait import until

SEQ = itertools.count(1)
ENDPOINTS = ("e1", "e2", "e3")
SERVERS = ("s1", "s2", "s3")


def make(**keys: Any) -> Provider:
    return registry.build(Context(Fleet(name="acme"), ProviderSpec("edge", "haproxy", settings=keys), lambda _: ""))


def route(backend: str = "chat") -> Route:
    targets = tuple(Target(e, (e,), server=s) for e, s in zip(ENDPOINTS, SERVERS, strict=True))
    return Route(key=f"edge/{backend}", service="chat", provider="edge", name=backend, per="endpoint", targets=targets)


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(*weights: int) -> Desired:
    return Desired(tuple(Member(e, w) for e, w in zip(ENDPOINTS, weights, strict=True)))


async def prepare(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    observed = await provider.read(where, deadline())
    return provider.translate(where, wanted, observed, Fence("acme", epoch, next(SEQ), "p"))


async def write(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    change = await prepare(provider, where, wanted, epoch)
    await provider.apply(change, deadline())
    return change


async def in_sync(provider: Provider, where: Route, change: Change) -> None:
    end = deadline()
    while not (verified := await provider.verify(where, change, deadline())).in_sync:
        assert asyncio.get_running_loop().time() < end, verified.text
        await asyncio.sleep(0.01)


@pytest.fixture
def row() -> Iterator[ModelRow]:
    with ModelRow(*SERVERS) as made:
        yield made


@asynccontextmanager
async def pulled(row: ModelRow) -> AsyncIterator[tuple[Provider, HAProxy]]:
    port = free_port()
    provider = make(agent=f"127.0.0.1:{port}")
    await provider.open()
    with tempfile.TemporaryDirectory(prefix="ha") as folder:
        backends = {"chat": {s: (row.address[s], 100) for s in SERVERS}}
        haproxy = HAProxy(Path(folder), backends, agent_port=port)
        await asyncio.to_thread(haproxy.start)
        try:
            yield provider, haproxy
        finally:
            haproxy.stop()
            await provider.close()


async def test_haproxy_takes_the_weights_it_asks_for_and_never_stands_empty(row: ModelRow) -> None:
    where = route()
    async with pulled(row) as (provider, haproxy):
        with Load(haproxy.port) as load:
            await until(lambda: load.total >= 50)
            assert set(haproxy.weights("chat").values()) == {100}, "until something is decided haproxy.cfg counts"
            for weights in ((60, 40, 20), (0, 40, 20), (100, 0, 0), (0, 0, 100), (50, 50, 0)):
                change = await write(provider, where, desired(*weights))
                await in_sync(provider, where, change)
                await until(lambda w=weights: tuple(haproxy.weights("chat")[s] for s in SERVERS) == w)
                counted = load.since_now()
                await until(lambda: load.total >= 400)
                for server, weight in zip(SERVERS, weights, strict=True):
                    assert abs(counted[server] / sum(counted.values()) - weight / sum(weights)) < 0.02, counted
            assert load.failed == []


async def test_a_steerd_that_is_gone_and_hands_at_work_change_nothing(row: ModelRow) -> None:
    where = route()
    async with pulled(row) as (provider, haproxy):
        change = await write(provider, where, desired(100, 50, 0))
        await in_sync(provider, where, change)
        await until(lambda: haproxy.weights("chat") == {"s1": 100, "s2": 50, "s3": 0})
        haproxy.command("set server chat/s1 state maint")
        asked = provider._board._seen.copy()  # type: ignore[attr-defined]  # of this kind
        await until(lambda: all(at > asked[k] for k, at in provider._board._seen.items()))  # type: ignore[attr-defined]
        assert haproxy.weights("chat")["s1"] == 0, "a maintenance begun by hand is not ended by an answer"
        haproxy.command("set server chat/s1 state ready")
        port = provider.port  # type: ignore[attr-defined]  # of this kind
        await provider.close()
        with Load(haproxy.port) as load:
            await until(lambda: load.total >= 200)
            # Another process, which has decided nothing yet, and knows nothing of this backend.
            fresh = make(agent=f"127.0.0.1:{port}")
            await fresh.open()
            await until(lambda: load.total >= 400)
            assert haproxy.weights("chat") == {"s1": 100, "s2": 50, "s3": 0}
            assert not (await fresh.read(where, deadline())).exists
            await fresh.close()
            assert load.failed == []


async def test_a_paused_writer_is_refused_and_a_backend_nobody_asks_for_is_told() -> None:
    provider, where = make(agent="127.0.0.1:0"), route()
    with pytest.raises(Unreachable):
        await provider.read(where, deadline())
    await provider.open()
    change = await write(provider, where, desired(1, 1, 1), epoch=3)
    paused = await prepare(provider, where, desired(1, 0, 0), epoch=3)
    await write(provider, where, desired(1, 1, 1), epoch=4)
    with pytest.raises(Conflict, match="newer"):
        await provider.apply(paused, deadline())
    assert (await prepare(provider, where, desired(1, 1, 1), epoch=4)).nothing
    verified = await provider.verify(where, change, deadline())
    assert not verified.in_sync
    assert "no HAProxy asks for servers of chat" in verified.text
    with pytest.raises(Misconfigured, match="cannot listen"):
        await make(agent=f"127.0.0.1:{provider.port}").open()  # type: ignore[attr-defined]  # of this kind
    with pytest.raises(ValueError, match="never written"):
        await prepare(provider, where, desired(0, 0, 0))
    await provider.close()
    await provider.close()


@pytest.mark.parametrize("sent", [b"", b"\n", b"chat\n", b"x/y\n", b"\xff/\xfe\n", b"a" * 5000])
async def test_nonsense_gets_no_answer(sent: bytes) -> None:
    provider = make(agent="127.0.0.1:0")
    await provider.open()
    assert isinstance(provider, HAProxyAgent)
    await write(provider, route(), desired(1, 1, 1))
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(sent)
    writer.write_eof()
    try:
        assert await reader.read() == b""
    except ConnectionError:
        assert len(sent) > 1000, "only a line without an end is hung up on"
    writer.close()
    await provider.close()


def test_settings_that_cannot_work() -> None:
    for keys, words in (
        ({}, "socket: is required, or `agent`"),
        ({"agent": "127.0.0.1:x"}, "is not HOST"),
        ({"agent": "127.0.0.1:1", "socket": "unix:/x"}, "exclude each other"),
    ):
        with pytest.raises(Misconfigured, match=words):
            make(**keys)
    assert make(agent="127.0.0.1:1").capabilities == registry.capabilities_of(
        ProviderSpec("edge", "haproxy", settings={"agent": "127.0.0.1:1"})
    )


weights = st.lists(st.sampled_from([0, 0, 1, 50, 100]), min_size=3, max_size=3).filter(any)


@settings(max_examples=1000, deadline=None)
@given(sequence=st.lists(st.tuples(weights, st.lists(st.sampled_from(SERVERS), max_size=6)), min_size=1, max_size=4))
def test_any_order_of_questions_leaves_a_server_in_service_and_ends_as_desired(
    sequence: list[tuple[list[int], list[str]]],
) -> None:
    where, board, held = route(), Board(), None
    taken = dict.fromkeys(SERVERS, 100)  # as in haproxy.cfg
    for number, (plan, order) in enumerate(sequence):
        wanted = desired(*plan)
        change = translate(where, wanted, observed_from(where, held), Fence("acme", 1, number + 1, "p"))
        if not change.nothing:
            held = change.payload.new
            board.post(held)
        assert observed_from(where, held).weights == wanted.weights
        assert translate(where, wanted, observed_from(where, held), Fence("acme", 1, 99, "p")).nothing
        for server in order:
            taken[server] = asked(board, server, taken[server])
            assert any(taken.values()), "a HAProxy stands without a server"
    for server in SERVERS * 2:
        taken[server] = asked(board, server, taken[server])
        assert any(taken.values())
    assert list(taken.values()) == plan
    assert board.behind("chat", 0.0) == []


def asked(board: Board, server: str, before: int) -> int:
    """The weight HAProxy has for a server after it asked."""
    said = board.answer(f"chat/{server}\n", "10.0.0.1", 0.0)
    return int(said.rstrip("%\n")) if said else before


def test_each_haproxy_is_told_by_itself() -> None:
    board = Board()
    board.post(Posted("chat", {"s1": 100, "s2": 0}, Fence("acme", 1, 1, "p")))
    for host in ("10.0.0.1", "10.0.0.2"):
        assert [board.answer(f"chat/{s}", host, 0.0) for s in ("s1", "s2")] == ["100%\n", "0%\n"]
    board.post(Posted("chat", {"s1": 0, "s2": 100}, Fence("acme", 1, 2, "p")))
    assert board.answer("chat/s1", "10.0.0.1", 1.0) == "100%\n", "its only one stays until it knows the other"
    assert board.answer("chat/s2", "10.0.0.2", 1.0) == "100%\n"
    assert board.answer("chat/s1", "10.0.0.1", 1.0) == "100%\n", "what another HAProxy knows does not help this one"
    assert board.answer("chat/s1", "10.0.0.2", 1.0) == "0%\n"
    assert [t.split(" has ")[0] for t in board.behind("chat", 1.0)] == ["HAProxy 10.0.0.1"]
    assert board.behind("chat", 2.0 + ALIVE_S) == [], "who is gone is not waited for"
    # Two on one host tell themselves apart by a word before the server.
    assert board.answer("lb2 chat/s1", "10.0.0.2", 3.0) == "0%\n"
    assert board.asked("chat", 3.0) == 3


def test_many_askers_are_bounded() -> None:
    board = Board()
    board.post(Posted("chat", {"s1": 100}, Fence("acme", 1, 1, "p")))
    for number in range(3 * SOURCES_MOST):
        assert board.answer("chat/s1", f"10.0.{number // 250}.{number % 250}", number / 1000) == "100%\n"
    assert board.asked("chat", 3.0) == SOURCES_MOST
