"""The powerdns provider on a real PowerDNS; the contract suite holds the rest."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.message
import dns.opcode
import dns.query
import dns.rdata
import pytest

from steerd.model.fleet import Fleet, ProviderSpec, Secret
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
    Throttled,
    Unreachable,
)
from steerd.providers.powerdns import lua
from tests.support.dnsclient import ask
from tests.support.gate import Gate
from tests.support.pdns import Pdns
from tests.support.servers import free_port
from tests.support.wait import until

ZONES = ("za", "zb", "zc")
VALUES = {
    "za": ("192.0.2.1", "192.0.2.11", "2001:db8::1"),
    "zb": ("192.0.2.2", "2001:db8::2"),
    "zc": ("192.0.2.3", "2001:db8::3"),
}
NAMES = itertools.count(1)
SEQ = itertools.count(1)


def make(pdns: Pdns, key: str | None = None, **settings: Any) -> Provider:
    base = {"url": pdns.url, "zone": pdns.zone, "api_key": Secret("env", "PDNS"), "verify": (pdns.server,)}
    spec = ProviderSpec("it", "powerdns", settings={**base, **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: key or pdns.api_key))


def route(types: tuple[str, ...] = ("A",), name: str | None = None) -> Route:
    name = name or f"t{next(NAMES)}.acme.example"
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": VALUES[z]}) for z in ZONES)
    return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets, types=types)


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(**weights: int) -> Desired:
    return Desired(tuple(Member(z, weights.get(z, 0), VALUES[z] if weights.get(z) else ()) for z in ZONES))


async def prepare(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    observed = await provider.read(where, deadline())
    return provider.translate(where, wanted, observed, Fence("acme", epoch, next(SEQ), "p"))


async def write(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    change = await prepare(provider, where, wanted, epoch)
    await provider.apply(change, deadline())
    return change


async def when_it_can(call: Callable[[], Awaitable[Change]], within_s: float = 10.0) -> Change:
    """A server that has just started may hold its database for its own writes, and answers 500: again, as steerd does."""
    end = deadline(within_s)
    while True:
        try:
            return await call()
        except Unreachable:
            if deadline(0.0) > end:
                raise
            await asyncio.sleep(0.1)


async def test_answers_follow_the_weights_of_targets_not_of_addresses(pdns: Pdns) -> None:
    provider, where = make(pdns), route(("A", "AAAA"))
    change = await write(provider, where, desired(za=60, zb=30, zc=10))
    assert (await provider.verify(where, change, deadline())).in_sync
    counted = Counter(pdns.query(where.name)[0] for _ in range(2000))
    za = counted["192.0.2.1"] + counted["192.0.2.11"]
    assert counted["192.0.2.1"] > 400, "both addresses of a target serve"
    assert counted["192.0.2.11"] > 400
    assert abs(za / 2000 - 0.6) < 0.05  # four standard deviations
    assert abs(counted["192.0.2.3"] / 2000 - 0.1) < 0.03
    assert pdns.query(where.name, "AAAA")[0] in {"2001:db8::1", "2001:db8::2", "2001:db8::3"}
    await provider.close()


async def test_plain_addresses_of_ours_become_weighted_in_one_write_and_those_of_others_stop_it(pdns: Pdns) -> None:
    provider, where, shared = make(pdns), route(), route()
    pdns.put(where.name, "A", ["192.0.2.1", "192.0.2.2"])
    pdns.put(shared.name, "A", ["192.0.2.1", "198.51.100.7"])
    observed = await provider.read(where, deadline())
    assert observed.weights == {"za": 1, "zb": 1, "zc": 0}
    await write(provider, where, desired(za=1, zb=3))
    assert pdns.contents(where.name, "A") == []
    assert len(pdns.query(where.name)) == 1
    with pytest.raises(Refused, match=r"198\.51\.100\.7"):
        await write(provider, shared, desired(za=1, zb=3))
    assert pdns.query(shared.name) == ["192.0.2.1", "198.51.100.7"]
    # Beside a weighted answer a plain one is told, and does not keep a zone from being drained.
    pdns.put(where.name, "A", ["198.51.100.8"])
    assert (await provider.read(where, deadline())).foreign == ("198.51.100.8",)
    await write(provider, where, desired(zb=1))
    assert pdns.query(where.name) == ["192.0.2.2", "198.51.100.8"]
    await provider.close()


async def test_scripts_of_others_are_not_replaced(pdns: Pdns) -> None:
    provider, where = make(pdns), route()
    pdns.put(where.name, "LUA", ["A \"ifportup(443, {'192.0.2.1'})\"", 'TXT "os.date()"'])
    with pytest.raises(Misconfigured, match="ifportup"):
        await provider.read(where, deadline())
    pdns.put(where.name, "LUA", ['TXT "os.date()"'])
    await write(provider, where, desired(za=1))
    assert pdns.contents(where.name, "LUA") == [
        "A \"pickwrandom({{1,pickrandom({'192.0.2.1','192.0.2.11'})}})\"",
        'TXT "os.date()"',
    ]
    plain = make(pdns, lua=False)
    with pytest.raises(Misconfigured, match="holds a LUA record for A") as caught:
        await plain.read(where, deadline())
    assert "`lua: true`" in caught.value.action
    await provider.close()
    await plain.close()


async def test_disabled_records_and_a_changed_ttl(pdns: Pdns) -> None:
    provider, where = make(pdns, lua=False), route()
    rows = [{"content": "192.0.2.1", "disabled": False}, {"content": "192.0.2.50", "disabled": True}]
    rrset = {"name": f"{where.name}.", "type": "A", "ttl": 300, "changetype": "REPLACE", "records": rows}
    pdns.api("PATCH", f"/zones/{pdns.zone}.", {"rrsets": [rrset]})
    assert (await provider.read(where, deadline())).foreign == (), "what is disabled is not served"
    change = await write(provider, replace(where, ttl_s=5.0), desired(za=1, zb=1))
    assert pdns.contents(where.name, "A") == ["192.0.2.1", "192.0.2.11", "192.0.2.2"]
    rows = pdns.api("GET", f"/search-data?q={where.name}&object_type=record")
    assert [r["content"] for r in rows if r["disabled"]] == ["192.0.2.50"]
    assert pdns.query(where.name) == ["192.0.2.1", "192.0.2.11", "192.0.2.2"]
    assert ask(pdns.host, pdns.port, where.name, "A").answer[0].ttl == 5
    assert (await provider.verify(replace(where, ttl_s=5.0), change, deadline())).in_sync
    await provider.close()


async def test_names_by_weight(pdns: Pdns) -> None:
    names = {"za": ("a.cdn.example",), "zb": ("b.cdn.example",)}
    where = replace(route(("CNAME",)), targets=tuple(Target(z, (), {z: names[z]}) for z in names))
    provider = make(pdns)
    wanted = Desired((Member("za", 1, names["za"]), Member("zb", 1, names["zb"])))
    change = await write(provider, where, wanted)
    answered = {pdns.query(where.name, "CNAME")[0] for _ in range(60)}
    assert answered == {"a.cdn.example", "b.cdn.example"}
    assert (await provider.verify(where, change, deadline())).in_sync
    pdns.put(f"x{where.name}", "A", ["192.0.2.1"])
    with pytest.raises(Misconfigured, match="exclude type"):
        await provider.read(replace(where, name=f"x{where.name}"), deadline())
    await provider.close()


async def test_a_long_choice_survives_a_transfer(pdns: Pdns) -> None:
    """A secondary joins the strings of a record by blanks: none may be cut inside of a number or an address."""
    addresses = {f"e{i:03}": (f"192.0.2.{i}",) for i in range(1, 121)}
    where = replace(route(), per="endpoint", targets=tuple(Target(e, (e,), {e: v}) for e, v in addresses.items()))
    provider = make(pdns)
    wanted = Desired(tuple(Member(e, 1000 + i, v) for i, (e, v) in enumerate(addresses.items())))
    await write(provider, where, wanted)
    assert pdns.query(where.name)[0].startswith("192.0.2.")
    found = []
    for message in dns.query.xfr(pdns.host, pdns.zone, port=pdns.port, relativize=False):
        for rrset in message.answer:
            if rrset.name.to_text() == f"{where.name}.":
                found += [r for r in rrset if isinstance(r, dns.rdata.GenericRdata)]
    [rdata] = found
    strings, at = [], 2  # the type it answers for, then strings with their lengths
    while at < len(rdata.data):
        strings.append(rdata.data[at + 1 : at + 1 + rdata.data[at]].decode())
        at += 1 + rdata.data[at]
    assert len(strings) > 10
    assert lua.parse(" ".join(f'"{s}"' for s in strings)) == lua.parse(pdns.contents(where.name, "LUA")[0])
    assert all(s.startswith(("{", ",{", "pickwrandom", "})")) for s in strings), strings
    await provider.close()


async def test_a_stale_write_that_slips_through_is_seen_and_set_right(pdns: Pdns) -> None:
    """No compare-and-set: a writer paused between its comparison and its PATCH lands late. The next look shows it."""
    where = route()
    with Gate("127.0.0.1", pdns.api_port, hold=b"PATCH ") as gate:
        paused, current = make(pdns, url=gate.url), make(pdns)
        await write(current, where, desired(za=1, zb=1, zc=1), epoch=3)
        stale = await prepare(paused, where, desired(za=1), epoch=3)
        late = asyncio.create_task(paused.apply(stale, deadline(20)))
        await until(lambda: gate.holding)
        change = await write(current, where, desired(zb=1, zc=1), epoch=4)
        assert (await current.verify(where, change, deadline())).in_sync
        gate.release()
        await late
    verified = await current.verify(where, change, deadline())
    assert not verified.in_sync
    assert verified.observed.weights == {"za": 1, "zb": 0, "zc": 0}
    assert verified.observed.fence is not None
    assert verified.observed.fence.epoch == 3
    repaired = await write(current, where, desired(zb=1, zc=1), epoch=4)
    assert (await current.verify(where, repaired, deadline())).in_sync
    # A writer that is paused any earlier is refused by its own comparison.
    stale = await prepare(paused_free := make(pdns), where, desired(za=1), epoch=4)
    await write(current, where, desired(zc=1), epoch=5)
    with pytest.raises(Conflict, match="newer"):
        await paused_free.apply(stale, deadline())
    assert "no compare-and-set" in current.capabilities.fence_note
    for provider in (paused, current, paused_free):
        await provider.close()


async def test_a_server_that_lags_or_is_down_is_named(pdns: Pdns, tmp_path: Path) -> None:
    with Pdns(tmp_path) as other:
        silent = f"127.0.0.1:{free_port()}"
        provider, where = make(pdns, verify=(pdns.server, other.server, silent), timeout=1.5), route()
        change = await write(provider, where, desired(za=1))
        verified = await provider.verify(where, change, deadline())
        assert not verified.in_sync
        assert f"{other.server} over UDP answers A with nothing" in verified.text
        assert f"{silent} " in verified.text
        assert f"{pdns.server} " not in verified.text
        await provider.close()


async def test_name_servers_come_from_the_zone(pdns: Pdns) -> None:
    provider, where = make(pdns, verify=(), timeout=0.3), route()
    change = await write(provider, where, desired(za=1))
    verified = await provider.verify(where, change, deadline())
    assert not verified.in_sync, "nothing listens on port 53 of this host"
    assert "127.0.0.1:53 " in verified.text
    await provider.close()


async def test_secondaries_are_notified_of_each_write(tmp_path: Path) -> None:
    with Pdns(tmp_path) as pdns, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as secondary:
        secondary.bind(("127.0.0.1", 0))
        secondary.settimeout(10)
        place = f"127.0.0.1:{secondary.getsockname()[1]}"
        body = {"type": "Metadata", "kind": "ALSO-NOTIFY", "metadata": [place]}
        pdns.api("POST", f"/zones/{pdns.zone}./metadata", body)
        provider, where = make(pdns), route()
        change = await prepare(provider, where, desired(za=1))
        receipt = await provider.apply(change, deadline())
        assert receipt.text == "zone acme.example was written", "flushing and notifying worked"
        told = dns.message.from_wire(await asyncio.to_thread(secondary.recv, 4096))
        assert told.opcode() == dns.opcode.NOTIFY
        assert told.question[0].name.to_text() == "acme.example."
        await provider.close()


async def test_a_server_without_lua_records_is_told_before_anything_is_lost(tmp_path: Path) -> None:
    with Pdns(tmp_path, lua=False) as pdns:
        provider, where = make(pdns), route()
        pdns.put(where.name, "A", ["192.0.2.1"])
        with pytest.raises(Misconfigured, match="does not answer from LUA") as caught:
            await provider.read(where, deadline())
        assert "enable-lua-records=yes" in caught.value.action
        await provider.close()
        pdns.stop()  # a running server keeps a zone's metadata for a minute
        pdns.util("set-meta", pdns.zone, "ENABLE-LUA-RECORDS", "1")
        pdns.start()
        change = await when_it_can(lambda: write(provider, where, desired(za=1, zb=1)))
        assert (await provider.verify(where, change, deadline())).in_sync
        await provider.close()


async def test_the_api_key_may_all_or_nothing(pdns: Pdns) -> None:
    provider = make(pdns)
    assert isinstance(provider, ChecksRights)
    assert await provider.missing_rights([route()], deadline()) == []
    await provider.close()
    wrong = make(pdns, key="wrong")
    assert isinstance(wrong, ChecksRights)
    with pytest.raises(Misconfigured, match="401"):
        await wrong.missing_rights([route()], deadline())
    await wrong.close()


async def test_what_is_wrong_with_the_settings_is_named(pdns: Pdns) -> None:
    for provider, words in (
        (make(pdns, key="hunter2"), "answers 401"),
        (make(pdns, zone="nowhere.example"), "no zone nowhere.example"),
        (make(pdns, server_id="other"), "answers 404"),
    ):
        where = route(name="www.nowhere.example") if "nowhere" in words else route()
        with pytest.raises(Misconfigured, match=words) as caught:
            await provider.read(where, deadline())
        assert "hunter2" not in f"{caught.value.text}{caught.value.action}"
        await provider.close()
    with pytest.raises(Misconfigured, match="not in zone"):
        await make(pdns).read(route(name="www.elsewhere.example"), deadline())
    with pytest.raises(Misconfigured, match="holds no certificates"):
        await make(pdns, ca="/nowhere.pem").open()


async def test_another_fleet_keeps_its_record(pdns: Pdns) -> None:
    provider, where = make(pdns), route()
    await write(provider, where, desired(za=1))
    observed = await provider.read(where, deadline())
    with pytest.raises(Misconfigured, match="steered by fleet 'acme'"):
        provider.translate(where, desired(zb=1), observed, Fence("other", 9, 9, "p"))
    await provider.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", Throttled, "429"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Unreachable, "500"),
        (b'HTTP/1.1 422 No\r\nContent-Length: 20\r\n\r\n{"error": "RRset x"}', Refused, "RRset x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Refused, "does not speak"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Refused, "does not speak"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Refused, "302"),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", Conflict, "409"),
        (b"", Unreachable, "127.0.0.1"),
    ],
)
async def test_what_the_api_may_answer(pdns: Pdns, answer: bytes, error: type[Exception], words: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    provider = make(pdns, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(error, match=words) as caught:
        await provider.read(route(), deadline())
    if error is Throttled:
        assert caught.value.retry_after_s == 7.0  # type: ignore[attr-defined]  # of a ProviderError
    await provider.close()
    server.close()
    await server.wait_closed()
