"""The envoy provider under a real Envoy, by REST and by file; the contract suite holds the rest."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from steerd.model.fleet import Fleet, ProviderSpec
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Change, Conflict, Context, Misconfigured, Provider, Refused
from steerd.providers.envoy.client import Envoy as Steering
from steerd.providers.envoy.server import newer
from tests.support.envoy import Envoy
from tests.support.model_row import Load, ModelRow
from tests.support.servers import free_port
from tests.support.wait import until

ZONES = ("za", "zb", "zc")
SEQ = itertools.count(1)


def make(**settings: Any) -> Provider:
    return registry.build(Context(Fleet(name="acme"), ProviderSpec("edge", "envoy", settings=settings), lambda _: ""))


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Provider]:
    provider = make(**settings)
    await provider.open()
    yield provider
    await provider.close()


@pytest.fixture
def row() -> Iterator[ModelRow]:
    with ModelRow("za1", "za2", "zb1", "zc1") as made:
        yield made


def route(row: ModelRow, per: str = "zone") -> Route:
    names = {z: tuple(n for n in row.address if n.startswith(z)) for z in ZONES}
    if per == "endpoint":
        names = {n: (n,) for n in row.address}
    targets = tuple(Target(t, ns, {n: (row.address[n],) for n in ns}) for t, ns in names.items())
    return Route(key="edge/chat", service="chat", provider="edge", name="chat", per=per, targets=targets)  # type: ignore[arg-type]  # checked by its test


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


def desired(where: Route, weights: dict[str, int], without: tuple[str, ...] = ()) -> Desired:
    members = []
    for target in where.targets:
        weight = weights.get(target.key, 0)
        values = tuple(v for n, vs in target.values.items() for v in vs if n not in without)
        members.append(Member(target.key, weight, values if weight else ()))
    return Desired(tuple(members))


async def prepare(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    observed = await provider.read(where, deadline())
    return provider.translate(where, wanted, observed, Fence("acme", epoch, next(SEQ), "p"))


async def write(provider: Provider, where: Route, wanted: Desired, epoch: int = 1) -> Change:
    change = await prepare(provider, where, wanted, epoch)
    await provider.apply(change, deadline())
    return change


async def in_sync(provider: Provider, where: Route, change: Change) -> None:
    """As the coordinator does: verify until it is so."""
    while not (verified := await provider.verify(where, change, deadline())).in_sync:
        assert asyncio.get_running_loop().time() < change_end(change), verified.text
        await asyncio.sleep(0.02)


_ENDS: dict[int, float] = {}


def change_end(change: Change) -> float:
    return _ENDS.setdefault(id(change), deadline(10))


@asynccontextmanager
async def steered(form: str) -> AsyncIterator[tuple[Provider, Envoy]]:
    """A provider and a real Envoy that takes its assignments by REST or from a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        settings = {"listen": f"127.0.0.1:{port}"} if form == "rest" else {"path": str(folder / "eds-{name}.json")}
        eds = Envoy.rest(port) if form == "rest" else Envoy.file(folder / "eds-chat.json")
        async with opened(**settings) as provider:
            yield provider, Envoy(folder, eds)


@pytest.mark.parametrize("form", ["rest", "file"])
async def test_envoy_takes_zones_with_their_weights_and_drains(row: ModelRow, form: str) -> None:
    where = route(row)
    async with steered(form) as (provider, envoy):
        # An Envoy that waits for its first assignment is not serving yet: written before it starts.
        await write(provider, where, desired(where, {"za": 50, "zb": 30, "zc": 20}))
        await asyncio.to_thread(envoy.start)
        try:
            await until(lambda: len(envoy.hosts()) == 4)
            with Load(envoy.port) as load:
                for weights in ({"za": 50, "zb": 30, "zc": 20}, {"zb": 60, "zc": 40}, {"za": 1, "zb": 60, "zc": 39}):
                    change = await write(provider, where, desired(where, weights))
                    out = {z for z in ZONES if not weights.get(z)}
                    await until(lambda out=out: {h["zone"] for h in envoy.hosts().values() if h["draining"]} == out)
                    await in_sync(provider, where, change)
                    counted = load.since_now()
                    await until(lambda: load.total >= 600)
                    total = sum(counted.values())
                    for zone in ZONES:
                        share = sum(n for name, n in counted.items() if name.startswith(zone)) / total
                        assert abs(share - weights.get(zone, 0) / sum(weights.values())) < 0.02, counted
                assert load.failed == []
        finally:
            envoy.stop()
        assert envoy.tail().count("rejected") == 0, envoy.tail()


async def test_endpoints_by_their_own_weights_and_one_of_a_zone_out(row: ModelRow) -> None:
    async with steered("rest") as (provider, envoy):
        where = route(row, "endpoint")
        await write(provider, where, desired(where, {"za1": 40, "za2": 10, "zb1": 50}))
        await asyncio.to_thread(envoy.start)
        try:
            await until(lambda: len(envoy.hosts()) == 4)
            hosts = {n: envoy.hosts()[row.address[n]] for n in row.address}
            assert {n: h["weight"] for n, h in hosts.items() if not h["draining"]} == {"za1": 40, "za2": 10, "zb1": 50}
            assert hosts["zc1"]["draining"]
            zones = route(row)
            change = await write(provider, zones, desired(zones, {"za": 70, "zb": 30}, without=("za1",)))
            await in_sync(provider, zones, change)
            await until(lambda: envoy.hosts()[row.address["za1"]]["draining"])
            with Load(envoy.port) as load:
                counted = load.since_now()
                await until(lambda: load.total >= 300)
            assert set(counted) == {"za2", "zb1"}
            assert abs(counted["za2"] / sum(counted.values()) - 0.7) < 0.02, (
                "half of a zone out leaves the zone its share"
            )
        finally:
            envoy.stop()


async def test_a_steerd_that_is_gone_changes_nothing(row: ModelRow) -> None:
    where = route(row)
    async with steered("rest") as (provider, envoy):
        await write(provider, where, desired(where, {"zb": 60, "zc": 40}))
        await asyncio.to_thread(envoy.start)
        try:
            await until(lambda: len(envoy.hosts()) == 4)
            with Load(envoy.port) as load:
                failures = int(envoy.stat("update_failure"))
                await provider.close()
                await until(lambda: int(envoy.stat("update_failure")) >= failures + 3)
                # Back without any memory of it (another process): nothing is answered that would empty Envoy.
                assert isinstance(provider, Steering)
                async with opened(listen=str(provider._listen)) as fresh:
                    failures = int(envoy.stat("update_failure"))
                    await until(lambda: int(envoy.stat("update_failure")) >= failures + 3)
                    assert sum(h["draining"] for h in envoy.hosts().values()) == 2
                    change = await write(fresh, where, desired(where, {"za": 1}), epoch=2)
                    await in_sync(fresh, where, change)
                counted = load.since_now()
                await until(lambda: load.total >= 100)
                assert set(counted) == {"za1", "za2"}
                assert load.failed == []
        finally:
            envoy.stop()


# -- the discovery service -------------------------------------------------------------------------------------------


async def poll(provider: Provider, version: str = "", node: str = "e9", name: str = "chat") -> tuple[int, Any]:
    assert isinstance(provider, Steering)
    body = {"version_info": version, "node": {"id": node, "cluster": "edge"}, "resource_names": [name]}
    url = f"http://{provider.address}/v3/discovery:endpoints"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.status == 200 else text


async def test_a_poll_waits_for_news_and_never_goes_back(row: ModelRow) -> None:
    where = route(row)
    async with opened(listen="127.0.0.1:0", hold=30.0) as provider:
        assert (await poll(provider))[0] == 503, "an empty assignment would take everything out"
        first = await write(provider, where, desired(where, {"za": 1}), epoch=5)
        status, told = await poll(provider)
        version = f"5.{first.fence.seq}"
        assert (status, told["version_info"]) == (200, version)
        assert told["control_plane"]["identifier"] == first.fence.text
        waiting = asyncio.create_task(poll(provider, version))
        newest = asyncio.create_task(poll(provider, "6.1", node="e10"))
        await until(lambda: "e10 has 6.1" in " ".join(provider._served.behind("chat")))  # type: ignore[attr-defined]  # of this kind
        assert not waiting.done()
        second = await write(provider, where, desired(where, {"zb": 1}), epoch=5)
        assert (await waiting)[1]["version_info"] == f"5.{second.fence.seq}"
        verified = await provider.verify(where, second, deadline())
        assert not verified.in_sync
        assert f"Envoy e9 still has {version} of chat, not 5.{second.fence.seq}" in verified.text
        assert "Envoy e10 has 6.1 of chat, newer than" in verified.text
        assert not newest.done(), "an Envoy that another coordinator has moved on is not taken back"
        await provider.close()
        assert (await newest)[0] == 503, "closing lets polls go"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("nonsense", 400),
        ('{"node": 5}', 400),
        ('{"type_url": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}', 404),
    ],
)
async def test_what_is_no_discovery_of_endpoints(row: ModelRow, body: str, status: int) -> None:
    async with opened(listen="127.0.0.1:0") as provider:
        assert isinstance(provider, Steering)
        url = f"http://{provider.address}/v3/discovery:endpoints"
        async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
            assert answer.status == status


def test_versions_are_compared_as_numbers() -> None:
    assert newer("10.1", "9.99")
    assert newer("9.100", "9.99")
    assert not newer("9.99", "9.99")
    assert not any(newer(v, "1.1") for v in ("", "nonsense", "5", "5.1.1", "٣.x"))


async def test_only_envoys_with_a_certificate_of_ours(row: ModelRow, tmp_path: Path) -> None:
    ca, where = trustme.CA(), route(row)
    pair, client = ca.issue_cert("127.0.0.1"), ca.issue_cert("envoy")
    (tmp_path / "cert.pem").write_bytes(b"".join(b.bytes() for b in pair.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(pair.private_key_pem.bytes())
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = {
        "cert": str(tmp_path / "cert.pem"),
        "key": str(tmp_path / "key.pem"),
        "client_ca": str(tmp_path / "ca.pem"),
    }
    async with opened(listen="127.0.0.1:0", **files) as provider:
        await write(provider, where, desired(where, {"za": 1}))
        assert isinstance(provider, Steering)
        url = f"https://{provider.address}/v3/discovery:endpoints"
        anonymous, known = ssl.create_default_context(), ssl.create_default_context()
        for context in (anonymous, known):
            ca.configure_trust(context)
        client.configure_cert(known)
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json={}, ssl=known) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await session.post(url, json={}, ssl=anonymous)
    with pytest.raises(Misconfigured, match="cannot use cert"):
        await make(listen="127.0.0.1:0", cert="/nowhere", key="/nowhere").open()


# -- files -----------------------------------------------------------------------------------------------------------


async def test_a_file_is_what_a_restart_begins_with_and_two_writers_take_turns(row: ModelRow, tmp_path: Path) -> None:
    where, settings = route(row), {"path": str(tmp_path / "eds.json"), "listen": "127.0.0.1:0"}
    fleet = Fleet(name="acme")
    async with opened(**settings) as provider, opened(path=settings["path"]) as other:
        await write(provider, where, desired(where, {"za": 1, "zb": 1}), epoch=3)
        paused = await prepare(provider, where, desired(where, {"za": 1}), epoch=3)
        await write(other, where, desired(where, {"za": 1, "zb": 1}), epoch=4)
        with pytest.raises(Conflict, match="newer"):
            await provider.apply(paused, deadline())
        assert (await poll(provider))[1]["version_info"].startswith("3."), "as it was last told"
        assert (await provider.read(where, deadline())).fence.epoch == 4  # type: ignore[union-attr]  # it has one
        assert (await poll(provider))[1]["version_info"].startswith("4."), "both forms serve the same"
    with pytest.raises(Misconfigured, match="not about cluster embed"):
        async with opened(path=settings["path"]) as provider:
            await provider.read(replace(where, name="embed"), deadline())
    (tmp_path / "eds.json").write_text("{}")
    with pytest.raises(Misconfigured, match="no discovery response"):
        async with opened(path=settings["path"]) as provider:
            await provider.read(where, deadline())
    assert fleet.services == ()


async def test_a_folder_that_is_gone_is_refused(row: ModelRow, tmp_path: Path) -> None:
    where = route(row)
    async with opened(path=str(tmp_path / "gone/eds.json")) as provider:
        with pytest.raises(Refused, match="cannot be written"):
            await write(provider, where, desired(where, {"za": 1}))


async def test_settings_and_addresses_that_cannot_work(row: ModelRow) -> None:
    for settings, words in (({}, "is required"), ({"listen": "127.0.0.1:x"}, "is not HOST")):
        with pytest.raises(Misconfigured, match=words):
            make(**settings)
    where = route(row)
    fence = Fence("acme", 1, 1, "p")
    async with opened(listen="127.0.0.1:0") as provider:
        with pytest.raises(Misconfigured, match="cannot listen"):
            await make(listen=str(provider.address)).open()  # type: ignore[attr-defined]  # of this kind
        observed = await provider.read(where, deadline())
        for value in ("model.internal:8000", "127.0.0.1", "nonsense"):
            with pytest.raises(Misconfigured, match="is not IP:PORT"):
                provider.translate(where, Desired((Member("za", 1, (value,)),)), observed, fence)
        await write(provider, where, desired(where, {"za": 1}))
        observed = await provider.read(where, deadline())
        with pytest.raises(Misconfigured, match="steered by fleet 'acme'"):
            provider.translate(where, desired(where, {"za": 1}), observed, Fence("other", 9, 9, "p"))
