"""Route 53 on a local server that refuses what AWS documents, with name servers that learn of a batch when it is INSYNC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from steerd.model.route import Fence, Observed, Route
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Throttled
from steerd.providers.batch import fence_in, txt_value
from tests.support.aws.model import AwsError
from tests.support.aws.route53 import LocalRoute53, NameServer
from tests.support.aws.steer import build, deadline, desired, fence, prepare, route, write
from tests.support.servers import free_port
from tests.support.wait import until

NAME = "chat.acme.example"
CHAT = route(NAME)
ALL = {"za": 40, "zb": 30, "zc": 30}
WITHOUT_A = {"za": 0, "zb": 50, "zc": 50}


@pytest.fixture
def zone() -> Iterator[LocalRoute53]:
    server = LocalRoute53()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def names(zone: LocalRoute53) -> Iterator[NameServer]:
    server = NameServer(zone).start()
    yield server
    server.stop()


@pytest.fixture
def provider(zone: LocalRoute53, names: NameServer) -> Provider:
    return made(zone, verify=[names.address])


def made(zone: LocalRoute53, **settings: Any) -> Provider:
    return build("route53", {"hosted_zone": zone.zone_id, "endpoint_url": zone.url, "timeout": 2.0, **settings})


def record(weight: int | None, *values: str, identifier: str = "theirs", ttl: int = 30, **more: Any) -> dict[str, Any]:
    weighted = {} if weight is None else {"SetIdentifier": identifier, "Weight": weight}
    listed = {"TTL": ttl, "ResourceRecords": [{"Value": v} for v in values]} if values else {}
    return {"Name": f"{NAME}.", "Type": "A", **weighted, **listed, **more}


async def test_a_batch_is_one_call_that_deletes_exactly_and_creates(zone: LocalRoute53, provider: Provider) -> None:
    await write(provider, CHAT, ALL, fence(1, 1))
    await write(provider, CHAT, WITHOUT_A, fence(1, 2))
    batches = [a for a in zone.asked if a.operation == "ChangeResourceRecordSets"]
    assert len(batches) == 2
    changes = batches[1].params["ChangeBatch"]["Changes"]
    assert [c["Action"] for c in changes] == ["DELETE"] * 3 + ["CREATE"] * 3 + ["DELETE", "CREATE"]
    assert [c["ResourceRecordSet"]["Type"] for c in changes[-2:]] == ["TXT", "TXT"]
    assert zone.weights(NAME) == WITHOUT_A
    await provider.close()


async def test_a_paused_writer_fails_whole_even_where_it_touches_other_records(
    zone: LocalRoute53, provider: Provider
) -> None:
    """It read, another wrote a record it would not have touched, it goes on: the fence in its batch is not exact any more."""
    await write(provider, CHAT, ALL, fence(7, 1))
    paused = await prepare(provider, CHAT, {**ALL, "za": 41}, fence(7, 2))
    other = made(zone)
    await write(other, CHAT, {**ALL, "zb": 0}, fence(8, 1))
    with pytest.raises(Conflict, match="somebody else wrote in between"):
        await provider.apply(paused, deadline())
    assert zone.weights(NAME) == {**ALL, "zb": 0}
    await other.close()
    await provider.close()


async def test_a_write_between_the_two_readings_is_noticed(zone: LocalRoute53, provider: Provider) -> None:
    await write(provider, CHAT, ALL, fence(1, 1))
    other = made(zone)
    change = await prepare(other, CHAT, {**ALL, "zb": 0}, fence(1, 2))
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(other.apply(change, loop.time() + 5), loop).result(10)

    zone.faults.append(("ListResourceRecordSets", lambda: None))  # the fence is read before, the records after
    zone.faults.append(("ListResourceRecordSets", meanwhile))
    # What it wants of zb is what stood there before: read the other way round, its batch would not touch zb at all.
    mixed = await prepare(provider, CHAT, {**ALL, "zc": 9}, fence(1, 3))
    with pytest.raises(Conflict):
        await provider.apply(mixed, deadline())
    assert zone.weights(NAME) == {**ALL, "zb": 0}
    await other.close()
    await provider.close()


async def test_a_human_s_edit_of_a_record_we_change_is_noticed(zone: LocalRoute53, provider: Provider) -> None:
    await write(provider, CHAT, ALL, fence(1, 1))
    ours = await prepare(provider, CHAT, WITHOUT_A, fence(1, 2))
    zone.put(record(77, "192.0.2.1", identifier="za"))
    with pytest.raises(Conflict):
        await provider.apply(ours, deadline())
    assert zone.weights(NAME)["za"] == 77
    await provider.close()


async def test_in_sync_only_when_pending_is_over_and_every_server_has_it(
    zone: LocalRoute53, provider: Provider
) -> None:
    await write(provider, CHAT, ALL, fence(1, 1))
    zone.hold_pending = True
    change = await write(provider, CHAT, WITHOUT_A, fence(1, 2))
    verified = await provider.verify(CHAT, change, deadline(2.0))
    assert not verified.in_sync
    assert "is still PENDING" in verified.text
    assert verified.observed.weights == WITHOUT_A, "accepted already"
    waiting = asyncio.create_task(provider.verify(CHAT, change, deadline(10.0)))
    asked = zone.operations.count("GetChange")
    await until(lambda: zone.operations.count("GetChange") > asked)
    zone.settle()
    verified = await waiting
    assert verified.in_sync, verified.text
    await provider.close()


async def test_a_change_that_route_53_has_forgotten_is_done(zone: LocalRoute53, provider: Provider) -> None:
    change = await write(provider, CHAT, ALL, fence())
    zone.changes.clear()
    verified = await provider.verify(CHAT, change, deadline())
    assert verified.in_sync, verified.text
    await provider.close()


async def test_a_name_server_that_lags_is_named(zone: LocalRoute53, names: NameServer, provider: Provider) -> None:
    await write(provider, CHAT, ALL, fence(1, 1))
    behind = dict(zone.served)
    change = await write(provider, CHAT, WITHOUT_A, fence(1, 2))
    zone.served = behind
    verified = await provider.verify(CHAT, change, deadline())
    assert not verified.in_sync
    for transport in ("UDP", "TCP"):
        assert f"{names.address} over {transport} has not this batch yet" in verified.text
    # A server with the fence and still an answer that should be gone.
    zone.served = {**zone.records, (f"{NAME}.", "A", "zb"): record(9, "192.0.2.1", identifier="zb")}
    zone.served = {k: r for k, r in zone.served.items() if k[2] in ("", "zb")}
    verified = await provider.verify(CHAT, change, deadline())
    assert "still serves 192.0.2.1" in verified.text
    await provider.close()


async def test_a_dead_name_server_is_named(zone: LocalRoute53) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    provider = made(zone, verify=[nobody], timeout=0.3)
    change = await write(provider, CHAT, ALL, fence())
    verified = await provider.verify(CHAT, change, deadline())
    assert not verified.in_sync
    assert f"{nobody} did not answer over UDP" in verified.text
    assert f"{nobody} over TCP" in verified.text
    await provider.close()


@pytest.mark.parametrize("private", [True, False])
async def test_by_default_the_hosted_zone_s_own_name_servers_are_asked(zone: LocalRoute53, private: bool) -> None:
    zone.private = private
    zone.name_servers = ["127.0.0.2"]  # nothing listens on its port 53
    provider = made(zone, timeout=1.0)
    change = await write(provider, CHAT, ALL, fence())
    verified = await provider.verify(CHAT, change, deadline())
    assert verified.in_sync == private
    assert ("private zone" if private else "127.0.0.2:53") in verified.text
    again = await provider.verify(CHAT, change, deadline())
    assert again.in_sync == private
    assert zone.operations.count("GetHostedZone") == 1, "what does not change is asked once"
    await provider.close()


async def test_a_name_server_without_an_address_is_mentioned(
    zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.name_servers = ["ns-1.invalid"]
    provider = made(zone)
    change = await write(provider, CHAT, ALL, fence())

    async def unknown(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)  # no resolver is asked by tests
    verified = await provider.verify(CHAT, change, deadline())
    assert not verified.in_sync, "nobody was asked"
    assert "name server ns-1.invalid was not asked" in verified.text
    assert "verify: []" in verified.text
    await provider.close()


async def test_no_name_server_is_asked_where_the_config_says_so(zone: LocalRoute53) -> None:
    provider = made(zone, verify=[])
    change = await write(provider, CHAT, ALL, fence())
    assert (await provider.verify(CHAT, change, deadline())).in_sync
    assert "GetHostedZone" not in zone.operations
    await provider.close()


async def test_another_pending_batch_of_the_zone_says_when_to_come_again(
    zone: LocalRoute53, provider: Provider
) -> None:
    zone.hold_pending = True
    await write(provider, CHAT, ALL, fence(1, 1))
    with pytest.raises(Throttled) as caught:
        await write(provider, CHAT, WITHOUT_A, fence(1, 2))
    assert caught.value.retry_after_s == 3.0
    await provider.read(CHAT, deadline(0.5))  # the account is not held back: only this zone is busy
    await provider.close()


async def test_a_hundred_records_over_many_pages(zone: LocalRoute53, provider: Provider) -> None:
    zone.page = 7
    many = route(NAME, {f"z{n:02d}": (f"192.0.2.{n}",) for n in range(100)})
    weights = {t.key: n for n, t in enumerate(many.targets)}
    zone.put({**record(None, "192.0.2.9"), "Name": f"a.{NAME}."})
    await write(provider, many, weights, fence())
    assert zone.weights(NAME) == {t: w for t, w in weights.items() if w}
    observed = await provider.read(many, deadline())
    assert observed.weights == weights
    assert observed.foreign == ()
    one_more = route(NAME, {f"z{n:03d}": (f"192.0.2.{n}",) for n in range(101)})
    with pytest.raises(Refused, match="of 100 possible"):
        provider.translate(one_more, desired(one_more, dict.fromkeys(weights_of(one_more), 1)), Observed({}), fence())
    await provider.close()


def weights_of(of: Route) -> list[str]:
    return [t.key for t in of.targets]


async def test_more_values_than_a_batch_takes(provider: Provider) -> None:
    wide = route(NAME, {f"z{n}": tuple(f"10.{n}.{m // 200}.{m % 200 + 1}" for m in range(400)) for n in range(3)})
    with pytest.raises(Refused, match="one batch would hold 1201 values"):
        provider.translate(wide, desired(wide, dict.fromkeys(weights_of(wide), 1)), Observed({}), fence())


async def test_ipv6_beside_ipv4(zone: LocalRoute53, provider: Provider) -> None:
    both = route(NAME, {"za": ("192.0.2.1", "2001:DB8::1"), "zb": ("192.0.2.2", "2001:db8::2")}, types=("A", "AAAA"))
    change = await write(provider, both, {"za": 3, "zb": 5}, fence(1, 1))
    assert (await provider.verify(both, change, deadline())).in_sync
    assert zone.weights(NAME, "AAAA") == zone.weights(NAME, "A") == {"za": 3, "zb": 5}
    zone.drop(NAME, "AAAA", "zb")
    observed = await provider.read(both, deadline())
    assert observed.weights == {"za": 3, "zb": 0}, "half a target is none"
    only4 = replace(desired(both, {"za": 0, "zb": 5}), members=())
    with pytest.raises(ValueError, match="never written"):
        provider.translate(both, only4, observed, fence(1, 2))
    await provider.close()


async def test_the_last_of_a_type_stays(provider: Provider) -> None:
    """All weights 0 would not be nothing: Route 53 answers with all of them then."""
    both = route(NAME, {"za": ("192.0.2.1", "2001:db8::1"), "zb": ("192.0.2.2",)}, types=("A", "AAAA"))
    await write(provider, both, {"za": 1, "zb": 1}, fence(1, 1))
    with pytest.raises(Refused, match="without any AAAA record in service"):
        await prepare(provider, both, {"za": 0, "zb": 1}, fence(1, 2))
    await provider.close()


async def test_cnames(zone: LocalRoute53, provider: Provider) -> None:
    named = route(NAME, {"za": ("a.Example.NET.",), "zb": ("b.example.net",)}, types=("CNAME",))
    change = await write(provider, named, {"za": 1, "zb": 3}, fence())
    assert zone.weights(NAME, "CNAME") == {"za": 1, "zb": 3}
    assert (await provider.verify(named, change, deadline())).in_sync
    with pytest.raises(Misconfigured, match="which exclude type A"):
        await provider.read(CHAT, deadline())
    two = route(NAME, {"za": ("a.example.net", "b.example.net")}, types=("CNAME",))
    with pytest.raises(Misconfigured, match="exactly one name"):
        provider.translate(two, desired(two, {"za": 1}), Observed({}), fence())
    await provider.close()


async def test_aliases(zone: LocalRoute53, provider: Provider) -> None:
    values = {"za": ("lb-a.eu-west-1.elb.amazonaws.com",), "zb": ("lb-b.us-east-1.elb.amazonaws.com",)}
    zones = {"alias_zone": "Z32O12XQLNTSW2", "alias_zones": {"zb": "Z35SXDOTRQ7X7K"}}
    alias = route(NAME, values, types=("ALIAS",), settings=zones)
    change = await write(provider, alias, {"za": 2, "zb": 1}, fence(1, 1))
    stood = {k[2]: r["AliasTarget"] for k, r in zone.records.items() if k[1] == "A"}
    assert stood["za"]["HostedZoneId"] == "Z32O12XQLNTSW2"
    assert stood["zb"] == {
        "HostedZoneId": "Z35SXDOTRQ7X7K",
        "DNSName": "lb-b.us-east-1.elb.amazonaws.com.",
        "EvaluateTargetHealth": False,
    }
    assert (await provider.verify(alias, change, deadline())).in_sync
    assert (await prepare(provider, alias, {"za": 2, "zb": 1}, fence(1, 2))).nothing
    without = replace(alias, settings={})
    with pytest.raises(Misconfigured, match="hosted zone of za's ALIAS target"):
        provider.translate(without, desired(without, {"za": 1}), Observed({}), fence())
    await provider.close()


async def test_a_health_check_on_a_record_stays_on_it(zone: LocalRoute53, provider: Provider) -> None:
    zone.put(record(5, "192.0.2.1", identifier="za", HealthCheckId="abcdef11-2222-3333-4444-555555fedcba"))
    await write(provider, CHAT, ALL, fence(1, 1))
    assert zone.records[f"{NAME}.", "A", "za"]["HealthCheckId"] == "abcdef11-2222-3333-4444-555555fedcba"
    await provider.close()


async def test_a_simple_record_of_ours_becomes_weighted_in_one_batch(zone: LocalRoute53, provider: Provider) -> None:
    zone.put(record(None, "192.0.2.1", "192.0.2.2", ttl=300))
    observed = await provider.read(CHAT, deadline())
    assert observed.weights == {"za": 1, "zb": 1, "zc": 0}
    await write(provider, CHAT, ALL, fence())
    assert zone.weights(NAME) == ALL
    await provider.close()


@pytest.mark.parametrize(
    ("stands", "words"),
    [
        (record(None, "192.0.2.1", "198.51.100.9"), "simple record with 198.51.100.9"),
        (record(9, "198.51.100.9", ttl=300), "TTL 300"),
    ],
)
async def test_records_of_others_are_not_replaced(
    zone: LocalRoute53, provider: Provider, stands: Mapping[str, Any], words: str
) -> None:
    zone.put(stands)
    with pytest.raises(Refused, match=words) as caught:
        await prepare(provider, CHAT, ALL, fence())
    assert caught.value.action
    await provider.close()


async def test_another_routing_policy_on_the_name(zone: LocalRoute53, provider: Provider) -> None:
    zone.put({**record(None, "192.0.2.1"), "SetIdentifier": "x", "Region": "eu-west-1"})
    with pytest.raises(Misconfigured, match="routing policy Region"):
        await provider.read(CHAT, deadline())
    await provider.close()


async def test_the_fence_shares_its_name_with_texts_of_others(zone: LocalRoute53, provider: Provider) -> None:
    texts = {"TTL": 77, "ResourceRecords": [{"Value": '"theirs; \\"quoted\\""'}]}
    zone.put({"Name": f"_steerd.{NAME}.", "Type": "TXT", **texts})
    for seq in (1, 2):
        await write(provider, CHAT, ALL if seq == 1 else WITHOUT_A, fence(1, seq))
    stood = zone.records[f"_steerd.{NAME}.", "TXT", ""]
    assert stood["TTL"] == 77
    assert [r["Value"] for r in stood["ResourceRecords"]] == [
        '"theirs; \\"quoted\\""',
        f'"{fence(1, 2).text}"',
    ]
    assert (await provider.read(CHAT, deadline())).fence == fence(1, 2)
    await provider.close()


async def test_another_fleet_s_fence(zone: LocalRoute53, provider: Provider) -> None:
    await write(provider, CHAT, ALL, Fence("other", 1, 1, "p"))
    with pytest.raises(Misconfigured, match="steered by fleet 'other'"):
        await prepare(provider, CHAT, WITHOUT_A, fence(9, 9))
    await provider.close()


async def test_a_wildcard_name(zone: LocalRoute53, provider: Provider) -> None:
    star = route("*.acme.example")
    await write(provider, star, ALL, fence(1, 1))
    assert zone.weights("*.acme.example") == ALL
    assert (await provider.read(star, deadline())).weights == ALL
    assert (await prepare(provider, star, ALL, fence(1, 2))).nothing
    await provider.close()


async def test_a_name_outside_of_the_zone(provider: Provider) -> None:
    with pytest.raises(Misconfigured, match="not permitted in zone"):
        await write(provider, route("chat.other.example"), ALL, fence())
    await provider.close()


async def test_a_refusal_of_route_53_is_told(zone: LocalRoute53, provider: Provider) -> None:
    zone.faults.append(("ChangeResourceRecordSets", AwsError("InvalidChangeBatch", "[something else is wrong]")))
    with pytest.raises(Refused, match="something else is wrong"):
        await write(provider, CHAT, ALL, fence())
    await provider.close()


def test_two_sets_under_one_name() -> None:
    provider = build("route53", {"hosted_zone": "Z0"})
    of = replace(CHAT, settings={"set": "europe"})
    with pytest.raises(Misconfigured, match="two weighted groups") as caught:
        provider.translate(of, desired(of, ALL), Observed({}), fence())
    assert "geolocation alias" in caught.value.action


def test_a_long_fence_is_cut_into_strings() -> None:
    long = Fence("f" * 300, 1, 2, 'a"b\\c')
    assert max(len(p) for p in txt_value(long.text).split('" "')) <= 257
    assert fence_in(['"other"', txt_value(long.text), txt_value(fence(1, 1).text)]) == long
