"""The embedded provider with its sockets and its state file; the contract suite holds the rest."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from steerd.model.fleet import Fleet, ProviderSpec, Service
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers.base import Change, Conflict, Context, Misconfigured, Refused
from steerd.providers.embedded import client as client_module
from steerd.providers.embedded import server as server_module
from steerd.providers.embedded import state as state_module
from steerd.providers.embedded.client import Embedded
from tests.support.dnsclient import texts
from tests.support.wait import until

HOST = "127.0.0.1"
ADDRESSES = {"za": "192.0.2.1", "zb": "192.0.2.2"}


def route(name: str = "chat.acme.example", types: tuple[str, ...] = ("A",), ttl_s: float = 30.0) -> Route:
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": (a,)}) for z, a in ADDRESSES.items())
    return Route(
        key=f"it/{name}",
        service="chat",
        provider="it",
        name=name,
        per="zone",
        targets=targets,
        types=types,
        ttl_s=ttl_s,
    )


def make(routes: tuple[Route, ...] = (), **settings: Any) -> Embedded:
    fleet = Fleet(name="acme", services=(Service(name="chat", routes=routes),))
    spec = ProviderSpec("it", "embedded", settings={"zone": "acme.example", "listen": f"{HOST}:0", **settings})
    return Embedded(Context(fleet, spec, lambda _: ""), random.Random(5), lambda: 1_700_000_000.0)


@asynccontextmanager
async def running(routes: tuple[Route, ...] = (), **settings: Any) -> AsyncIterator[Embedded]:
    provider = make(routes, **settings)
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


def deadline() -> float:
    return asyncio.get_running_loop().time() + 5


async def put(
    provider: Embedded, where: Route, members: dict[str, tuple[int, tuple[str, ...]]], seq: int = 1
) -> Change:
    observed = await provider.read(where, deadline())
    desired = Desired(tuple(Member(t, w, v) for t, (w, v) in sorted(members.items())))
    change = provider.translate(where, desired, observed, Fence("acme", 1, seq, "p"))
    await provider.apply(change, deadline())
    return change


BOTH: dict[str, tuple[int, tuple[str, ...]]] = {z: (50, (a,)) for z, a in ADDRESSES.items()}


async def ask(
    provider: Embedded, name: str = "chat.acme.example", kind: str = "A", *, tcp: bool = False
) -> dns.message.Message:
    where = provider.address
    assert where is not None
    send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await send(dns.message.make_query(name, kind), where.host, timeout=2, port=where.port)


async def test_half_and_half_over_both_transports() -> None:
    async with running() as provider:
        await put(provider, route(), BOTH)
        for tcp in (False, True):
            counted = Counter([texts(await ask(provider, tcp=tcp), "A")[0] for _ in range(60)])
            # 60 draws of a half: fewer than 10 of one is beyond five standard deviations.
            assert set(counted) == set(ADDRESSES.values())
            assert min(counted.values()) >= 10


async def test_the_serial_follows_the_clock_and_never_stands_still() -> None:
    async with running() as provider:
        await put(provider, route(), BOTH)
        assert texts(await ask(provider, "acme.example", "SOA"), "SOA")[0].split()[2] == "1700000000"
        await put(provider, route(), {**BOTH, "za": (0, ())}, seq=2)
        assert texts(await ask(provider, "acme.example", "SOA"), "SOA")[0].split()[2] == "1700000001"


async def test_both_families_are_written_together() -> None:
    where = route(types=("A", "AAAA"))
    async with running() as provider:
        await put(provider, where, {"za": (1, ("192.0.2.1", "2001:DB8:0::1"))})
        assert texts(await ask(provider), "A") == ["192.0.2.1"]
        assert texts(await ask(provider, kind="AAAA"), "AAAA") == ["2001:db8::1"]
        observed = await provider.read(where, deadline())
        v4_only = Desired((Member("za", 0, ()), Member("zb", 1, ("192.0.2.2",))))
        with pytest.raises(Refused, match="without any AAAA"):
            provider.translate(where, v4_only, observed, Fence("acme", 1, 2, "p"))


async def test_cnames_are_weighted_too() -> None:
    where = route("alias.acme.example", ("CNAME",))
    async with running() as provider:
        change = await put(provider, where, {"za": (1, ("A.cdn.example.",)), "zb": (1, ("b.cdn.example",))})
        assert (await provider.verify(where, change, deadline())).in_sync
        found = {texts(await ask(provider, "alias.acme.example"), "CNAME")[0] for _ in range(40)}
        assert found == {"a.cdn.example", "b.cdn.example"}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (route("chat.other.example"), "is not in zone acme.example"),
        (route("chatacme.example"), "is not in zone acme.example"),
        (route(types=("ALIAS",)), "has no type ALIAS"),
        (route("acme.example", ("CNAME",)), "nor at the top of the zone"),
        (route(types=("A", "CNAME")), "cannot stand beside"),
    ],
)
async def test_routes_it_cannot_hold(where: Route, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        make((where,))
    async with running() as provider:
        with pytest.raises(Misconfigured, match=words):
            await provider.read(where, deadline())


async def test_two_routes_on_one_name() -> None:
    with pytest.raises(Misconfigured, match=r"both written at chat\.acme\.example"):
        make((route(), route("Chat.acme.example.", ("AAAA",))))


async def test_a_target_without_a_fitting_address() -> None:
    async with running() as provider:
        with pytest.raises(Misconfigured, match="target za has no value for A"):
            await put(provider, route(), {"za": (1, ("2001:db8::1",))})


async def test_another_fleets_record_is_left_alone() -> None:
    async with running() as provider:
        await put(provider, route(), BOTH)
        observed = await provider.read(route(), deadline())
        with pytest.raises(Misconfigured, match="steered by fleet 'acme'"):
            provider.translate(route(), Desired((Member("za", 1, ("192.0.2.1",)),)), observed, Fence("beta", 9, 9, "p"))


async def test_a_ttl_alone_is_a_change() -> None:
    async with running() as provider:
        await put(provider, route(), BOTH)
        await put(provider, route(ttl_s=5), BOTH, seq=2)
        assert (await ask(provider)).answer[0].ttl == 5


async def test_a_port_in_use_says_so() -> None:
    async with running() as provider:
        with pytest.raises(Misconfigured) as caught:
            async with running(listen=str(provider.address)):
                pass
        assert "cannot listen" in caught.value.text
        assert "listen" in caught.value.action


# -- the state file --------------------------------------------------------------------------------------------------


async def test_a_restart_serves_the_last_state_at_once(tmp_path: Path) -> None:
    state = tmp_path / "dns.json"
    async with running(state=str(state)) as provider:
        await put(provider, route(), BOTH)
        last = await put(provider, route(), {**BOTH, "za": (0, ())}, seq=2)
    async with running((route(),), state=str(state)) as provider:
        assert texts(await ask(provider), "A") == ["192.0.2.2"]
        observed = await provider.read(route(), deadline())
        assert observed.fence == last.fence
        assert observed.weights == {"za": 0, "zb": 50}
        again = provider.translate(route(), last.desired, observed, last.fence)
        assert again.nothing
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == [state], "no temporary file is left"


async def test_without_a_state_file_a_restart_denies_nothing() -> None:
    async with running((route(),)) as provider:
        assert (await ask(provider)).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"zone":"acme.example","serial":1,"records":[{}]}', b"\xff\xfe", b'{"v":1}']
)
async def test_a_broken_state_file_stops_with_advice(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "dns.json"
    state.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        async with running(state=str(state)):
            pass
    assert str(state) in caught.value.text
    assert "move it away" in caught.value.action


async def test_the_state_of_another_zone_is_not_served(tmp_path: Path) -> None:
    state = tmp_path / "dns.json"
    async with running(state=str(state)) as provider:
        await put(provider, route(), BOTH)
    with pytest.raises(Misconfigured, match=r"holds zone acme\.example"):
        async with running(state=str(state), zone="beta.example"):
            pass


async def test_what_cannot_be_kept_is_not_served(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    async with running(state=str(directory / "dns.json")) as provider:
        await put(provider, route(), BOTH)
        (directory / "dns.json").unlink()
        directory.rmdir()
        with pytest.raises(Refused, match="cannot be written"):
            await put(provider, route(), {**BOTH, "za": (0, ())}, seq=2)
        assert (await provider.read(route(), deadline())).weights == {"za": 50, "zb": 50}


async def test_a_slow_disk_never_keeps_another_state_than_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that outlives its deadline must not land on the disk behind a later one."""
    state, slow, waits = tmp_path / "dns.json", threading.Event(), [True]

    def save(path: Path, kept: state_module.Kept) -> None:
        if waits and waits.pop():
            slow.wait(10)
        state_module.save(path, kept)

    monkeypatch.setattr(client_module, "save", save)
    async with running(state=str(state)) as provider:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await put(provider, route(), BOTH)
        later = asyncio.ensure_future(put(provider, route(), {**BOTH, "za": (0, ())}, seq=2))
        await asyncio.sleep(0.1)
        slow.set()
        with pytest.raises(Conflict, match="written since"):
            await later  # what it read was overtaken by the first write: read again, as the coordinator does
        await put(provider, route(), {**BOTH, "za": (0, ())}, seq=2)
        kept = await asyncio.to_thread(state_module.load, state)
        assert kept is not None
        assert kept.records[0].fence.seq == 2
        assert texts(await ask(provider), "A") == ["192.0.2.2"]


# -- the sockets -----------------------------------------------------------------------------------------------------


async def connect(provider: Embedded) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert provider.address is not None
    return await asyncio.open_connection(provider.address.host, provider.address.port)


def framed(name: str = "chat.acme.example") -> bytes:
    wire = dns.message.make_query(name, "A").to_wire()
    return struct.pack("!H", len(wire)) + wire


async def test_tcp_clients_may_send_several_queries_at_once() -> None:
    async with running() as provider:
        await put(provider, route(), BOTH)
        reader, writer = await connect(provider)
        writer.write(framed() * 50)
        for _ in range(50):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            assert dns.message.from_wire(await reader.readexactly(length)).answer
        writer.close()
        await writer.wait_closed()


async def test_a_tcp_client_that_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_S", 0.05)
    async with running() as provider:
        reader, writer = await connect(provider)
        writer.write(b"\x00")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
    async with running() as provider:
        await put(provider, route(), BOTH)
        held = []
        for _ in range(3):
            reader, writer = await connect(provider)
            writer.write(framed())
            await reader.readexactly(2)
            held.append(writer)
        reader, refused = await connect(provider)
        assert await reader.read(1) == b""
        refused.close()
        held.pop().close()
        await until(lambda: len(provider._server._clients) < 3)
        assert (await ask(provider, tcp=True)).answer
        for writer in held:
            writer.close()


async def test_garbage_on_both_sockets_is_survived() -> None:
    random_bytes = random.Random(3).randbytes
    async with running() as provider:
        await put(provider, route(), BOTH)
        assert provider.address is not None
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(provider.address.host, provider.address.port)
        )
        for size in range(0, 600, 7):
            transport.sendto(random_bytes(size))
        transport.close()
        for size in (0, 1, 11, 12, 40):
            reader, writer = await connect(provider)
            writer.write(struct.pack("!H", size) + random_bytes(size))
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert (await ask(provider)).answer
        assert (await ask(provider, tcp=True)).answer


async def test_close_drops_open_connections() -> None:
    async with running() as provider:
        reader, writer = await connect(provider)
        writer.write(framed())
        await reader.readexactly(2)
        await provider.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(65536), 5)
        writer.close()


async def test_verify_asks_its_own_sockets() -> None:
    async with running() as provider:
        change = await put(provider, route(), BOTH)
        assert (await provider.verify(route(), change, deadline())).in_sync
        udp = provider._server._udp
        assert udp is not None
        udp.close()
        verified = await provider.verify(route(), change, deadline())
        assert not verified.in_sync
        assert "UDP" in verified.text
