"""Names with several addresses, each a target of its own, against a real DNS server on loopback."""

from __future__ import annotations

import asyncio

import pytest

from probes.fold import fold
from probes.http_probe import HttpProbe
from probes.outcome import Layer, Outcome, Status
from probes.target import Target
from probes.wire import AVAILABLE
from probes.wire.resolver import Resolver
from tests.support.names import Names, Site

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the wire engine needs Linux and httptools")


async def looked(probe: HttpProbe, url: str, within_s: float = 2.0, *, fresh: bool = True) -> Outcome:
    return await probe.look(Target("e1", url), asyncio.get_running_loop().time() + within_s, fresh=fresh)


async def test_every_address_is_looked_at_with_the_names_host(names: Names) -> None:
    site, probe = Site(), HttpProbe(Layer.LIVENESS, {}, str)
    await site.open("127.0.0.1", "127.0.0.2")
    names.records["chat.test"] = (60, ("127.0.0.1", "127.0.0.2"))
    url = f"http://chat.test:{site.port}"
    well = await looked(probe, url)
    assert (well.status, well.stages.dns_s is not None) == (Status.PASS, True)
    assert sorted(site.hosts) == [(a, f"chat.test:{site.port}") for a in ("127.0.0.1", "127.0.0.2")]
    names.records["chat.test"] = (60, ("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    names.records["half.test"] = (60, ("127.0.0.1", "127.0.0.3"))
    names.records["dead.test"] = (60, ("127.0.0.3", "127.0.0.4"))
    half = await looked(probe, f"http://half.test:{site.port}")
    assert (half.status, half.reason, half.transport) == (Status.SLOW, "1 of 2 addresses: connection refused", False)
    assert half.detail == "127.0.0.3: connection refused"
    dead = await looked(probe, f"http://dead.test:{site.port}")
    assert (dead.status, dead.reason, dead.transport) == (Status.FAIL, "connection refused", True)
    await probe.close()
    await site.close()


async def test_a_ttl_is_respected_and_a_change_seen_after_it(names: Names) -> None:
    resolver = Resolver.of(asyncio.get_running_loop())
    names.records["long.test"] = (60, ("127.0.0.1",))
    names.records["short.test"] = (1, ("127.0.0.1",))
    for _ in range(3):
        assert await resolver.resolve("long.test") == ("127.0.0.1",)
    assert names.asked == ["long.test."]
    assert await resolver.resolve("short.test") == ("127.0.0.1",)
    names.records["short.test"] = names.records["long.test"] = (1, ("127.0.0.2",))
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 5.0
    while await resolver.resolve("short.test") != ("127.0.0.2",):
        assert loop.time() < until_s
        await asyncio.sleep(0.05)
    assert await resolver.resolve("long.test") == ("127.0.0.1",)


async def test_looks_that_wait_for_one_name_ask_once(names: Names) -> None:
    names.records["many.test"] = (60, ("127.0.0.1",))
    resolver = Resolver.of(asyncio.get_running_loop())
    await asyncio.gather(*(resolver.resolve("many.test") for _ in range(20)))
    assert names.asked == ["many.test."]


async def test_a_resolver_that_fails_is_this_hosts_trouble_and_a_name_that_is_not_there_nobodys(names: Names) -> None:
    probe, resolver = HttpProbe(Layer.LIVENESS, {}, str), Resolver.of(asyncio.get_running_loop())
    names.mute = True
    silent = await looked(probe, "http://silent.test:1", 0.2)
    assert (silent.status, silent.host_error) == (Status.ERROR, True)
    assert silent.reason == "name resolution timed out on this host"
    names.mute, names.broken = False, True
    broken = await looked(probe, "http://broken.test:1", 6.0)
    assert (broken.status, broken.host_error) == (Status.ERROR, True)
    assert broken.reason == "name resolution failed on this host"
    assert resolver.trouble is not None
    names.broken = False
    gone = await looked(probe, "http://gone.test:1")
    assert (gone.status, gone.host_error, gone.reason) == (Status.ERROR, False, "the endpoint's name does not resolve")
    await probe.close()


async def test_a_name_that_alone_gets_no_answer_is_not_this_hosts_trouble(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = HttpProbe(Layer.LIVENESS, {}, str)
    names.failing, names.silent = {"broken.test"}, {"silent.test"}
    first = await looked(probe, "http://broken.test:1")
    assert first.host_error, "nothing else tells that the resolver is well"
    names.records["well.test"] = (60, ("127.0.0.1",))
    await Resolver.of(asyncio.get_running_loop()).resolve("well.test")
    for name in ("broken", "silent"):
        found = await looked(probe, f"http://{name}.test:1", 0.3)
        assert (found.status, found.host_error, found.transport) == (Status.ERROR, False, False)
        assert found.reason == "the endpoint's name gets no answer"
    # An old answer is asked for again: the resolver may have died since.
    monkeypatch.setattr("probes.wire.resolver._LATELY_S", 0.0)
    for _ in range(3):
        assert not (await looked(probe, "http://broken.test:1")).host_error
    assert names.asked.count("well.test.") > 1
    names.broken = True
    deadline = asyncio.get_running_loop().time() + 10.0
    while not (await looked(probe, "http://broken.test:1")).host_error:
        assert asyncio.get_running_loop().time() < deadline
    await probe.close()


async def test_an_answer_for_ipv6_that_never_comes_does_not_hold_up_the_one_for_ipv4(names: Names) -> None:
    names.drops_aaaa = True
    names.records["four.test"] = (600, ("127.0.0.1",))
    site, probe = Site(), HttpProbe(Layer.LIVENESS, {}, str)
    await site.open("127.0.0.1")
    assert (await looked(probe, f"http://four.test:{site.port}")).status is Status.PASS
    await probe.close()
    await site.close()


def outcome(status: Status, seconds: float = 0.1) -> Outcome:
    return Outcome(status, Layer.LIVENESS, None if status is Status.PASS else status.value, duration_s=seconds)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ("PASS PASS", "PASS"),
        ("PASS FAIL", "SLOW"),
        ("FAIL FAIL", "FAIL"),
        ("FAIL ERROR", "FAIL"),
        ("PASS ERROR", "PASS"),
        ("ERROR ERROR", "ERROR"),
        ("SATURATED FAIL", "SLOW"),
        ("SATURATED SLOW", "SLOW"),
        ("SATURATED PASS", "SATURATED"),
    ],
)
def test_how_addresses_become_one(parts: str, whole: str) -> None:
    found = fold({f"10.0.0.{n}": outcome(Status(word)) for n, word in enumerate(parts.split())})
    assert found.status == whole
