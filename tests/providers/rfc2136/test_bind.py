"""The rfc2136 provider on a real BIND 9; the contract suite holds the rest."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.rcode
import dns.update
import pytest

from steerd.config.secrets import resolve
from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry, rfc2136
from steerd.providers.base import (
    Change,
    ChecksRights,
    Conflict,
    Context,
    Misconfigured,
    Provider,
    ProviderError,
    Refused,
    Unreachable,
    Untold,
)
from steerd.providers.rfc2136 import client
from tests.support.dnsclient import ask
from tests.support.named import Named
from tests.support.servers import free_port

ZONES = ("za", "zb")
VALUES = {"za": ("192.0.2.1", "2001:db8::1"), "zb": ("192.0.2.2", "2001:db8::2")}
NAMES = itertools.count(1)
SEQ = itertools.count(1)


def make(named: Named, key_text: str | None = None, **settings: Any) -> Provider:
    base = {"server": named.server, "zone": named.zone, "key": named.key, "secret": Secret("env", "TSIG")}
    spec = ProviderSpec("it", "rfc2136", settings={**base, **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: key_text or named.secret))


def route(types: tuple[str, ...] = ("A",), name: str | None = None) -> Route:
    name = name or f"t{next(NAMES)}.acme.example"
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": VALUES[z]}) for z in ZONES)
    return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets, types=types)


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(**values: tuple[str, ...]) -> Desired:
    return Desired(tuple(Member(z, 1 if values.get(z) else 0, values.get(z, ())) for z in ZONES))


BOTH = desired(**VALUES)
ONLY_B = desired(zb=VALUES["zb"])


async def write(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    observed = await provider.read(where, deadline())
    change = provider.translate(where, wanted, observed, Fence("acme", epoch, next(SEQ), "p"))
    await provider.apply(change, deadline())
    return change


async def test_both_families_go_in_one_update_and_nothing_else_moves(named: Named) -> None:
    provider, where = make(named), route(("A", "AAAA"))
    before = ask(named.host, named.port, "bystander.acme.example", "A").to_text().splitlines()[1:]
    serial = int(named.query(named.zone, "SOA")[0].split()[2])
    change = await write(provider, where, BOTH)
    assert named.query(where.name, "A") == ["192.0.2.1", "192.0.2.2"]
    assert named.query(where.name, "AAAA") == ["2001:db8::1", "2001:db8::2"]
    assert named.query(f"_steerd.{where.name}", "TXT") == [change.fence.text]
    assert int(named.query(named.zone, "SOA")[0].split()[2]) == serial + 1
    await write(provider, where, ONLY_B)
    assert named.query(where.name, "AAAA") == ["2001:db8::2"]
    assert ask(named.host, named.port, "bystander.acme.example", "A").to_text().splitlines()[1:] == before


async def test_a_changed_ttl_is_written_for_the_whole_set(named: Named) -> None:
    provider, where = make(named), route()
    await write(provider, where, BOTH)
    quicker = replace(where, ttl_s=5.0)
    change = await write(provider, quicker, BOTH)
    answer = ask(named.host, named.port, where.name, "A").answer[0]
    assert (answer.ttl, len(answer)) == (5, 2)
    assert (await provider.verify(quicker, change, deadline())).in_sync
    again = provider.translate(quicker, BOTH, await provider.read(quicker, deadline()), change.fence)
    assert again.nothing


async def test_a_cname_is_replaced(named: Named) -> None:
    names = {"za": ("a.cdn.example",), "zb": ("b.cdn.example",)}
    where = replace(route(("CNAME",)), targets=tuple(Target(z, (), {z: names[z]}) for z in ZONES))
    provider = make(named)
    await write(provider, where, desired(za=names["za"]))
    change = await write(provider, where, desired(zb=names["zb"]))
    assert named.query(where.name, "CNAME") == ["b.cdn.example"]
    assert (await provider.verify(where, change, deadline())).in_sync


async def test_records_of_others_are_not_replaced(named: Named) -> None:
    provider = make(named)
    aliased, cname = route(), route(("CNAME",))
    named.add(aliased.name, "CNAME", "elsewhere.example.")
    named.add(cname.name, "A", "198.51.100.7")
    for where in (aliased, cname):
        with pytest.raises(Misconfigured, match="exclude type"):
            await provider.read(where, deadline())
    foreign = replace(route(("CNAME",)), targets=(Target("za", (), {"za": ("a.cdn.example",)}),))
    named.add(foreign.name, "CNAME", "elsewhere.example.")
    observed = await provider.read(foreign, deadline())
    with pytest.raises(Refused, match=r"elsewhere\.example"):
        provider.translate(foreign, desired(za=("a.cdn.example",)), observed, Fence("acme", 1, 1, "p"))
    assert named.query(foreign.name, "CNAME") == ["elsewhere.example"]


async def test_other_txt_at_the_fence_stays(named: Named) -> None:
    provider, where = make(named), route()
    named.add(f"_steerd.{where.name}", "TXT", '"a note"')
    await write(provider, where, BOTH)
    change = await write(provider, where, ONLY_B)
    assert named.query(f"_steerd.{where.name}", "TXT") == sorted(["a note", change.fence.text])


async def test_of_two_writers_at_once_exactly_one_wins(named: Named) -> None:
    provider, where = make(named), route()
    await write(provider, where, BOTH)
    for round_ in range(5):
        observed = await provider.read(where, deadline())
        wanted = (desired(za=VALUES["za"]), ONLY_B) if round_ % 2 else (ONLY_B, BOTH)
        # One of them may find nothing to do: a fence of a new epoch makes both write.
        changes = [
            provider.translate(where, w, observed, Fence("acme", 10 + round_, next(SEQ), f"p{i}"))
            for i, w in enumerate(wanted)
        ]
        done = await asyncio.gather(*(provider.apply(c, deadline()) for c in changes), return_exceptions=True)
        lost = [r for r in done if isinstance(r, Exception)]
        assert [type(r) for r in lost] == [Conflict]
        won = changes[next(i for i, r in enumerate(done) if not isinstance(r, Exception))]
        assert (await provider.read(where, deadline())).fence == won.fence


async def test_a_name_that_only_a_wildcard_answers_for_says_so(named: Named) -> None:
    """Nobody wrote in between, and no retry will ever do: the prerequisites name what stands, not what a wildcard makes up."""
    named.add("*.wild.acme.example", "A", "198.51.100.9")
    where = route(name="chat.wild.acme.example")
    with pytest.raises(Conflict) as caught:
        await write(make(named), where, BOTH)
    assert "wildcard" in caught.value.action
    named.add(where.name, "A", "192.0.2.1")
    await write(make(named), where, ONLY_B)
    assert named.query(where.name) == ["192.0.2.2"]


async def test_a_repeated_update_is_refused_not_repeated(named: Named) -> None:
    """What a retry after a lost answer would do without reading back first."""
    provider, where = make(named), route()
    await write(provider, where, BOTH)
    observed = await provider.read(where, deadline())
    change = provider.translate(where, ONLY_B, observed, Fence("acme", 1, next(SEQ), "p"))
    await provider.apply(change, deadline())
    with pytest.raises(Conflict):
        await provider.apply(change, deadline())
    again = provider.translate(where, ONLY_B, await provider.read(where, deadline()), change.fence)
    assert again.nothing


@pytest.mark.parametrize(
    ("settings", "secret", "error", "words"),
    [
        ({"key": "nobody"}, None, Misconfigured, "does not know the TSIG key nobody"),
        ({}, base64.b64encode(b"x" * 32).decode(), Misconfigured, "rejects our signature"),
        ({"algorithm": "hmac-sha512"}, None, Misconfigured, "TSIG key"),
        ({"zone": "example"}, None, Misconfigured, r"does not hold zone example\."),
        ({}, "not base64 at all!", Misconfigured, "is not base64"),
    ],
)
async def test_what_is_set_up_wrongly_is_said_on_read(
    named: Named, settings: dict[str, Any], secret: str | None, error: type[Exception], words: str
) -> None:
    provider = make(named, secret, **settings)
    name = "chat.example" if "zone" in settings else None
    with pytest.raises(error, match=words) as caught:
        await provider.read(route(name=name), deadline())
    assert isinstance(caught.value, Misconfigured)
    assert caught.value.action
    assert named.secret not in f"{caught.value.text}{caught.value.action}"


async def test_a_secret_that_is_not_there_is_our_own_mistake(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as the operator's to mend, with its reference, at the start and at every use; not as a bug of steerd."""
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    settings = {"server": named.server, "zone": named.zone, "key": named.key, "secret": Secret("env", "NO_SUCH_SECRET")}
    provider = registry.build(Context(Fleet(name="acme"), ProviderSpec("it", "rfc2136", settings=settings), resolve))
    for attempt in (provider.open(), provider.read(route(), deadline())):
        with pytest.raises(Misconfigured, match=r"env: NO_SUCH_SECRET.*no such variable") as caught:
            await attempt
        assert caught.value.action
    monkeypatch.setenv("NO_SUCH_SECRET", named.secret)
    await provider.read(route(), deadline())


async def test_a_key_that_may_not_update_is_refused_with_advice(named: Named) -> None:
    provider, where = make(named, key="reader"), route()
    with pytest.raises(Refused) as caught:
        await write(provider, where, BOTH)
    assert "allow-update" in caught.value.action
    assert named.query(where.name) == []


async def test_unsigned_updates_are_refused_with_advice(named: Named) -> None:
    provider, where = make(named, key=None, secret=None), route()
    with pytest.raises(Refused) as caught:
        await write(provider, where, BOTH)
    assert "allow-update" in caught.value.action


async def test_another_zone_is_not_ours(named: Named) -> None:
    with pytest.raises(Misconfigured, match=r"not in zone acme\.example"):
        await make(named).read(route(name="chat.acme.example.net"), deadline())
    with pytest.raises(Misconfigured, match="type ALIAS"):
        await make(named).read(route(("ALIAS",)), deadline())


async def test_another_fleets_record_is_left_alone(named: Named) -> None:
    provider, where = make(named), route()
    await write(provider, where, BOTH)
    observed = await provider.read(where, deadline())
    with pytest.raises(Misconfigured, match="steered by fleet 'acme'"):
        provider.translate(where, ONLY_B, observed, Fence("beta", 99, 1, "p"))


# -- verification ----------------------------------------------------------------------------------------------------


async def test_a_name_server_that_lags_behind_is_named(named: Named, tmp_path: Path) -> None:
    with Named(tmp_path) as other:  # another authoritative server, which never hears of any update
        provider, where = make(named, verify=[named.server, other.server]), route()
        change = await write(provider, where, BOTH)
        verified = await provider.verify(where, change, deadline())
        assert not verified.in_sync
        assert f"{other.server} over UDP still serves nothing" in verified.text
        assert f"{other.server} over TCP still serves nothing" in verified.text
        assert named.server not in verified.text
        assert verified.observed.weights == {"za": 1, "zb": 1}
        for value in ("192.0.2.1", "192.0.2.2"):
            other.add(where.name, "A", value)
        assert (await provider.verify(where, change, deadline())).in_sync


async def test_a_name_server_that_is_down_is_named(named: Named) -> None:
    dead = f"127.0.0.1:{free_port()}"
    provider, where = make(named, verify=[dead], timeout=0.3), route()
    change = await write(provider, where, BOTH)
    verified = await provider.verify(where, change, deadline())
    assert not verified.in_sync
    assert f"{dead} over TCP" in verified.text


class _Deaf(asyncio.DatagramProtocol):
    """Takes datagrams and says nothing, as a firewall that drops UDP."""


async def test_a_server_without_udp_is_not_in_sync(named: Named) -> None:
    loop = asyncio.get_running_loop()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(named.host, named.port)
        here.write(await reader.read(65536))
        writer.write(await there.read(65536))
        await writer.drain()
        for side in (here, writer):
            side.close()

    port = free_port()
    tcp = await asyncio.start_server(relay, "127.0.0.1", port)
    udp, _ = await loop.create_datagram_endpoint(_Deaf, local_addr=("127.0.0.1", port))
    provider, where = make(named, verify=[f"127.0.0.1:{port}"], timeout=0.3), route()
    change = await write(provider, where, BOTH)
    verified = await provider.verify(where, change, deadline())
    assert not verified.in_sync
    assert f"127.0.0.1:{port} did not answer over UDP" in verified.text
    assert "TCP" not in verified.text
    udp.close()
    tcp.close()
    await tcp.wait_closed()


async def test_by_default_the_name_servers_of_the_zone_are_asked(named: Named) -> None:
    """ns.acme.example is the primary's own address: it is asked once, on the port it was configured with."""
    provider, where = make(named, timeout=0.3), route()
    change = await write(provider, where, BOTH)
    verified = await provider.verify(where, change, deadline())
    assert verified.in_sync, verified.text
    named.add("ns2.acme.example", "A", "127.0.0.77")  # nothing listens there
    named.add(named.zone, "NS", "ns2.acme.example.")
    verified = await provider.verify(where, change, deadline())
    named.remove(named.zone, "NS", "ns2.acme.example.")
    assert not verified.in_sync
    assert "127.0.0.77:53 did not answer over UDP" in verified.text
    assert "127.0.0.77:53 over TCP" in verified.text


async def test_a_name_server_without_an_address_is_mentioned(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    provider, where = make(named), route()
    change = await write(provider, where, BOTH)
    named.add(named.zone, "NS", "ns.elsewhere.example.")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown, raising=False)
    verified = await provider.verify(where, change, deadline())
    named.remove(named.zone, "NS", "ns.elsewhere.example.")
    assert verified.in_sync, "clients cannot ask it either"
    assert "ns.elsewhere.example. was not asked: ns.elsewhere.example. does not resolve" in verified.text


# -- a server that goes away -----------------------------------------------------------------------------------------


async def test_a_killed_server_is_unreachable_and_comes_back_with_what_was_written(tmp_path: Path) -> None:
    with Named(tmp_path) as named:
        provider, where = make(named, timeout=0.5), route()
        change = await write(provider, where, BOTH)
        observed = await provider.read(where, deadline())
        narrowing = provider.translate(where, ONLY_B, observed, Fence("acme", 1, next(SEQ), "p"))
        named.kill()
        with pytest.raises(Unreachable):
            await provider.apply(narrowing, deadline())
        with pytest.raises(Unreachable):
            await provider.verify(where, change, deadline())
        named.start()
        assert (await provider.verify(where, change, deadline())).in_sync, "an accepted update survives SIGKILL"
        await provider.apply(narrowing, deadline())
        assert named.query(where.name) == ["192.0.2.2"]


async def test_the_update_policy_of_the_readme_is_enough_and_no_more(tmp_path: Path) -> None:
    readme = (Path(rfc2136.__file__).parent / "README.md").read_text()
    policy = re.search(r"update-policy \{.*?\n  \};", readme, re.DOTALL)
    assert policy is not None
    with Named(tmp_path, updates=policy.group(0)) as named:
        provider, where = make(named), route(("A", "AAAA"), "chat.acme.example")
        change = await write(provider, where, BOTH)
        assert (await provider.verify(where, change, deadline())).in_sync
        with pytest.raises(Refused):
            await write(provider, route(), BOTH)
        assert await missing(provider, where) == []
        other = route(("A",), "mail.acme.example")
        told = [f"update of {name} (REFUSED)" for name in ("mail.acme.example A", "_steerd.mail.acme.example TXT")]
        assert await missing(provider, other) == told


async def missing(provider: Provider, *routes: Route) -> list[str]:
    assert isinstance(provider, ChecksRights)
    return list(await provider.missing_rights(routes, deadline()))


async def test_asking_for_rights_changes_nothing(named: Named) -> None:
    provider, empty, full = make(named), route(("A", "AAAA")), route(("A", "AAAA"))
    await write(provider, full, BOTH)
    serial = named.query(named.zone, "SOA")
    names = [(name, kind) for of in (empty, full) for name, kind in ((of.name, "A"), (of.name, "AAAA"))]
    names += [(f"_steerd.{of.name}", "TXT") for of in (empty, full)]
    before = {at: named.query(*at) for at in names}
    assert await missing(provider, empty, full) == []
    assert {at: named.query(*at) for at in names} == before
    assert named.query(named.zone, "SOA") == serial, "no update was carried out: secondaries have nothing to fetch"
    reader = await missing(make(named, key="reader"), full)
    assert len(reader) == 3
    assert all("REFUSED" in told or "NOTAUTH" in told for told in reader)
    assert not any(isinstance(told, Untold) for told in reader)


async def test_a_write_in_between_is_no_right_that_lacks(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition of the idle update fails; it is read and tried again, and gives up saying so."""
    provider, where = make(named), route()
    real, count = client.ask, itertools.count(10)

    async def meddling(query: Any, *rest: Any) -> Any:
        if isinstance(query, dns.update.UpdateMessage) and stubborn:
            named.add(where.name, "A", f"192.0.2.{next(count)}")
        stubborn[:] = stubborn[1:]
        return await real(query, *rest)

    stubborn = [True]
    monkeypatch.setattr(client, "ask", meddling)
    assert await missing(provider, where) == []
    stubborn = [True] * 100
    told = await missing(provider, where)
    assert all(isinstance(t, Untold) for t in told)
    assert "NXRRSET" in told[0]


@pytest.mark.parametrize(
    ("rcode", "error", "words"),
    [
        (dns.rcode.NOTIMP, Refused, "answers NOTIMP to the update"),
        (dns.rcode.FORMERR, Refused, "answers FORMERR to the update"),
        (dns.rcode.NOTZONE, Misconfigured, "takes no updates for acme.example. (NOTZONE)"),
        (dns.rcode.SERVFAIL, Unreachable, "answers SERVFAIL: see its log"),
    ],
)
async def test_a_server_that_takes_no_updates_is_no_well(
    named: Named, monkeypatch: pytest.MonkeyPatch, rcode: dns.rcode.Rcode, error: type[ProviderError], words: str
) -> None:
    """As proxies and servers without RFC 2136 answer; BIND itself would not."""
    provider, where, real = make(named), route(), client.ask

    async def proxied(query: Any, *rest: Any) -> Any:
        answer = await real(query, *rest)
        if isinstance(query, dns.update.UpdateMessage):
            answer.set_rcode(rcode)
        return answer

    monkeypatch.setattr(client, "ask", proxied)
    with pytest.raises(error, match=re.escape(words)) as caught:
        await missing(provider, where)
    assert type(caught.value) is error


async def test_a_zone_that_takes_no_updates(tmp_path: Path) -> None:
    with Named(tmp_path, updates="") as named:
        with pytest.raises(Refused) as caught:
            await write(make(named), route(), BOTH)
        assert "allow-update" in caught.value.action
