"""The rfc2136 provider on a real Knot; the contract suite runs on it too, and what is the same everywhere is in test_bind.py."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry, rfc2136
from steerd.providers.base import Change, ChecksRights, Conflict, Context, Misconfigured, Provider, Refused, Unreachable
from tests.support.dnsclient import ask
from tests.support.knot import Knot

ZONES = ("za", "zb")
VALUES = {"za": ("192.0.2.1", "2001:db8::1"), "zb": ("192.0.2.2", "2001:db8::2")}
NAMES = itertools.count(1)
SEQ = itertools.count(1)


def make(knot: Knot, key_text: str | None = None, **settings: Any) -> Provider:
    base = {"server": knot.server, "zone": knot.zone, "key": knot.key, "secret": Secret("env", "TSIG")}
    spec = ProviderSpec("it", "rfc2136", settings={**base, **settings})
    return registry.build(Context(Fleet(name="acme"), spec, lambda _: key_text or knot.secret))


def route(types: tuple[str, ...] = ("A",), name: str | None = None) -> Route:
    name = name or f"k{next(NAMES)}.acme.example"
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": VALUES[z]}) for z in ZONES)
    return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets, types=types)


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(**values: tuple[str, ...]) -> Desired:
    return Desired(tuple(Member(z, 1 if values.get(z) else 0, values.get(z, ())) for z in ZONES))


BOTH, ONLY_B = desired(**VALUES), desired(zb=VALUES["zb"])


async def prepare(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    observed = await provider.read(where, deadline())
    return provider.translate(where, wanted, observed, Fence("acme", epoch, next(SEQ), "p"))


async def write(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    change = await prepare(provider, where, wanted, epoch)
    await provider.apply(change, deadline())
    return change


async def test_both_families_and_the_ttl_in_one_update(knot: Knot) -> None:
    provider, where = make(knot), route(("A", "AAAA"))
    serial = int(knot.query(knot.zone, "SOA")[0].split()[2])
    await write(provider, where, BOTH)
    assert int(knot.query(knot.zone, "SOA")[0].split()[2]) == serial + 1
    change = await write(provider, replace(where, ttl_s=5.0), ONLY_B)
    assert knot.query(where.name, "A") == ["192.0.2.2"]
    assert knot.query(where.name, "AAAA") == ["2001:db8::2"]
    assert ask(knot.host, knot.port, where.name, "A").answer[0].ttl == 5
    assert (await provider.verify(replace(where, ttl_s=5.0), change, deadline())).in_sync


async def test_a_cname_is_replaced(knot: Knot) -> None:
    names = {"za": ("a.cdn.example",), "zb": ("b.cdn.example",)}
    where = replace(route(("CNAME",)), targets=tuple(Target(z, (), {z: names[z]}) for z in ZONES))
    provider = make(knot)
    await write(provider, where, desired(za=names["za"]))
    change = await write(provider, where, desired(zb=names["zb"]))
    assert knot.query(where.name, "CNAME") == ["b.cdn.example"]
    assert (await provider.verify(where, change, deadline())).in_sync


async def test_a_paused_writer_of_an_older_epoch_is_refused_by_the_server(knot: Knot) -> None:
    """The new leader only moves the fence; the values a paused writer read are still there, and its update fails all the same."""
    old, new, where = make(knot), make(knot), route()
    await write(old, where, BOTH, epoch=3)
    paused = await prepare(old, where, ONLY_B, epoch=3)
    await write(new, where, BOTH, epoch=4)
    with pytest.raises(Conflict, match="NXRRSET"):
        await old.apply(paused, deadline())
    assert knot.query(where.name) == ["192.0.2.1", "192.0.2.2"]


async def test_wrong_keys_are_named(knot: Knot) -> None:
    where = route()
    with pytest.raises(Misconfigured, match="rejects our signature"):
        await make(knot, key_text="AAAA" * 8).read(where, deadline())
    with pytest.raises(Misconfigured, match="does not know the TSIG key"):
        await make(knot, key="nobody").read(where, deadline())
    with pytest.raises((Refused, Misconfigured)) as caught:
        await write(make(knot, key="reader"), where, BOTH)
    assert "acl" in caught.value.action or "key" in caught.value.action


async def test_a_killed_server_comes_back_with_what_was_written(tmp_path: Path) -> None:
    with Knot(tmp_path) as knot:
        provider, where = make(knot, timeout=0.5), route()
        change = await write(provider, where, BOTH)
        knot.kill()
        with pytest.raises(Unreachable):
            await provider.read(where, deadline())
        knot.start()
        assert (await provider.verify(where, change, deadline())).in_sync, "an accepted update survives SIGKILL"


async def test_the_acl_of_the_readme_is_enough_and_no_more(tmp_path: Path) -> None:
    readme = (Path(rfc2136.__file__).parent / "README.md").read_text()
    rules = re.search(r"action: update\n((?:    update-.*\n)+)", readme)
    assert rules is not None
    with Knot(tmp_path, updates=rules.group(1)) as knot:
        provider, where = make(knot), route(("A", "AAAA"), "chat.acme.example")
        change = await write(provider, where, BOTH)
        assert (await provider.verify(where, change, deadline())).in_sync
        with pytest.raises((Refused, Misconfigured)):
            await write(provider, route(), BOTH)
        assert isinstance(provider, ChecksRights)
        assert await provider.missing_rights([where], deadline()) == []
        told = await provider.missing_rights([route(("A",), "mail.acme.example")], deadline())
        assert [t.split(" (")[0] for t in told] == [
            "update of mail.acme.example A",
            "update of _steerd.mail.acme.example TXT",
        ]


async def test_asking_for_rights_changes_nothing(knot: Knot) -> None:
    provider, empty, full = make(knot), route(("A", "AAAA")), route(("A", "AAAA"))
    await write(provider, full, BOTH)
    assert isinstance(provider, ChecksRights)
    serial, before = knot.query(knot.zone, "SOA"), [knot.query(full.name, k) for k in ("A", "AAAA")]
    assert await provider.missing_rights([empty, full], deadline()) == []
    assert [knot.query(full.name, k) for k in ("A", "AAAA")] == before
    assert knot.query(empty.name) == []
    assert knot.query(knot.zone, "SOA") == serial
    reader = make(knot, key="reader")
    assert isinstance(reader, ChecksRights)
    with pytest.raises(Misconfigured, match="does not know the TSIG key"):
        await reader.missing_rights([full], deadline())  # Knot lets a key that no ACL names not even read
