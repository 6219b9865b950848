"""The clouddns provider against a local Cloud DNS that holds Google's discovery document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Unreachable
from tests.support.aws.route53 import NameServer
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.google import give_credentials, google_error
from tests.support.cloud.steer import build, deadline, desired, fence, prepare, route, stands_common_faults, write

NAME = "chat.acme.example"
ALL = {"za": 5, "zb": 3, "zc": 2}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCloudDns]:
    made = LocalCloudDns()
    made.start()
    give_credentials(monkeypatch, tmp_path, made)
    yield made
    made.stop()


def provider(server: LocalCloudDns, **settings: Any) -> Provider:
    base = {"project": "acme", "managed_zone": "main", "endpoint_url": server.url, "verify": []}
    return build("clouddns", {**base, **settings})


async def test_faults(server: LocalCloudDns) -> None:
    made = provider(server)
    await stands_common_faults(server, made, route(NAME), "POST", renews=True)
    assert server.grants == 1, "one token for all calls"
    await made.close()


async def test_a_writer_paused_before_its_write_is_refused_by_the_zone(server: LocalCloudDns) -> None:
    old, new, of = provider(server), provider(server), route(NAME)
    await write(old, of, ALL, fence(1, 1))
    paused = await prepare(old, of, {"za": 1, "zb": 0, "zc": 0}, fence(1, 2))
    await write(new, of, {"za": 0, "zb": 1, "zc": 1}, fence(2, 1))
    with pytest.raises(Conflict, match="412"):
        await old.apply(paused, deadline())
    assert [i["rrdatas"] for i in server.items(NAME)] == [["192.0.2.2"], ["192.0.2.3"]]
    await old.close()
    await new.close()


@pytest.mark.parametrize(("status", "reason"), [(412, "conditionNotMet"), (409, "alreadyExists")])
async def test_conflicts_as_documented(server: LocalCloudDns, status: int, reason: str) -> None:
    made = provider(server)
    change = await prepare(made, route(NAME), ALL, fence())
    server.faults.append(("POST", google_error(status, reason, "said so")))
    with pytest.raises(Conflict, match=reason):
        await made.apply(change, deadline())
    await made.close()


async def test_a_record_set_gone_meanwhile_is_a_conflict(server: LocalCloudDns) -> None:
    made, of = provider(server), route(NAME)
    await write(made, of, ALL, fence(1, 1))
    change = await prepare(made, of, {"za": 1, "zb": 0, "zc": 0}, fence(1, 2))
    del server.records[f"{NAME}.", "A"]
    with pytest.raises(Conflict, match="does not exist"):
        await made.apply(change, deadline())
    await made.close()


async def test_a_pending_change_is_waited_for_and_every_name_server_asked(server: LocalCloudDns) -> None:
    names = NameServer(server).start()  # type: ignore[arg-type]  # it has what that asks for
    made, of = provider(server, verify=[names.address]), route(NAME)
    try:
        server.looks = 2
        change = await write(made, of, ALL, fence())
        assert (await made.verify(of, change, deadline())).in_sync
        server.looks = 1000
        change = await write(made, of, {"za": 0, "zb": 1, "zc": 1}, fence(1, 2))
        found = await made.verify(of, change, deadline(1.6))
        assert not found.in_sync
        assert "pending" in found.text
        later = provider(server, verify=[names.address])  # a new process: only the name servers can tell
        found = await later.verify(of, change, deadline())
        await later.close()
        assert f"{names.address} over UDP has not this batch yet" in found.text
        assert f"{names.address} over TCP has not this batch yet" in found.text
    finally:
        names.stop()
        await made.close()


async def test_a_private_zone_is_not_asked_from_outside(server: LocalCloudDns) -> None:
    server.visibility = "private"
    made, of = provider(server, verify=None), route(NAME)
    change = await write(made, of, ALL, fence())
    found = await made.verify(of, change, deadline())
    assert found.in_sync
    assert "private zone" in found.text
    await made.close()


async def test_both_types_and_pages(server: LocalCloudDns) -> None:
    server.put({"name": f"{NAME}.", "type": "MX", "ttl": 60, "rrdatas": ["10 mx.acme.example."]})
    server.put({"name": f"{NAME}.", "type": "CAA", "ttl": 60, "rrdatas": ['0 issue "ca.example"']})
    values = {z: (f"192.0.2.{n}", f"2001:db8::{n}") for n, z in enumerate(("za", "zb", "zc"), 1)}
    of = route(NAME, values, types=("A", "AAAA"))
    made = provider(server)
    await write(made, of, ALL, fence())
    assert [i["weight"] for i in server.items(NAME, "AAAA")] == [5, 3, 2]
    observed = await made.read(of, deadline())
    assert observed.weights == ALL
    assert made.translate(of, desired(of, ALL), observed, fence()).nothing
    await made.close()


async def test_a_simple_record_of_our_own_becomes_weighted(server: LocalCloudDns) -> None:
    server.put({"name": f"{NAME}.", "type": "A", "ttl": 300, "rrdatas": ["192.0.2.1", "192.0.2.2"]})
    made, of = provider(server), route(NAME)
    assert (await made.read(of, deadline())).weights == {"za": 1, "zb": 1, "zc": 0}
    await write(made, of, ALL, fence())
    assert (await made.read(of, deadline())).weights == ALL
    await made.close()


async def test_what_is_not_ours_to_weigh(server: LocalCloudDns) -> None:
    made, of = provider(server), route(NAME)
    server.put({"name": f"{NAME}.", "type": "A", "ttl": 300, "rrdatas": ["192.0.2.1", "198.51.100.9"]})
    with pytest.raises(Refused, match=r"198\.51\.100\.9"):
        await prepare(made, of, ALL, fence())
    geo = {"geo": {"items": [{"location": "us-east1", "rrdatas": ["192.0.2.1"]}]}}
    server.put({"name": f"{NAME}.", "type": "A", "ttl": 300, "routingPolicy": geo})
    with pytest.raises(Misconfigured, match="geo"):
        await made.read(of, deadline())
    del server.records[f"{NAME}.", "A"]
    server.put({"name": f"{NAME}.", "type": "CNAME", "ttl": 300, "rrdatas": ["x.example."]})
    with pytest.raises(Misconfigured, match="exclude"):
        await made.read(of, deadline())
    with pytest.raises(Misconfigured, match="geolocation"):
        await made.read(replace(of, settings={"set": "us"}), deadline())
    await made.close()


async def test_a_zone_that_is_none_and_an_identity_that_is_none(
    server: LocalCloudDns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = provider(server, managed_zone="other")
    with pytest.raises(Misconfigured, match="'other' does not exist"):
        await made.read(route(NAME), deadline())
    await made.close()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    made = provider(server)
    with pytest.raises(Misconfigured) as caught:
        await made.read(route(NAME), deadline())
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.action
    await made.close()


async def test_a_quota_is_a_throttle_and_a_right_that_lacks_is_not(server: LocalCloudDns) -> None:
    made = provider(server)
    server.faults.append(("GET", google_error(403, "forbidden", "no dns.resourceRecordSets.list")))
    with pytest.raises(Misconfigured) as caught:
        await made.read(route(NAME), deadline())
    assert "packaging/gcp/steerd-clouddns.yaml" in caught.value.action
    server.faults.append(("GET", google_error(403, "rateLimitExceeded", "Quota exceeded")))
    with pytest.raises(Exception, match="rateLimitExceeded") as throttled:
        await made.read(route(NAME), deadline())
    assert throttled.value.retry_after_s == 1.0  # type: ignore[attr-defined]
    await made.close()


async def test_nobody_there(server: LocalCloudDns) -> None:
    made = provider(server, timeout=0.5)
    await made.read(route(NAME), deadline())
    server.stop()
    with pytest.raises(Unreachable):
        await made.read(route(NAME), deadline(1.0))
    await made.close()
