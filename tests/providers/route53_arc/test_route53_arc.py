"""Routing controls: five endpoints of which some may be gone, and safety rules that nobody overrides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Throttled, Unreachable
from tests.support.aws.arc import CLUSTER, LocalCluster, LocalControl, control_arn
from tests.support.aws.model import AwsError
from tests.support.aws.steer import build, deadline, fence, prepare, route, write

CONTROLS = {z: control_arn(z) for z in ("za", "zb", "zc")}
OF = route("chat", dict.fromkeys(CONTROLS, ()), settings={"controls": CONTROLS})
ALL = {"za": 1, "zb": 1, "zc": 1}
WITHOUT_A = {"za": 0, "zb": 1, "zc": 1}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    made = LocalCluster().start()
    made.put(dict.fromkeys(CONTROLS.values(), "On"))
    yield made
    made.stop()


@pytest.fixture
async def provider(cluster: LocalCluster) -> Any:
    made = build("route53-arc", {"cluster": CLUSTER, "endpoints": cluster.listed, "timeout": 1.5})
    yield made
    await made.close()


async def test_all_that_differ_change_in_one_call(cluster: LocalCluster, provider: Provider) -> None:
    cluster.put({CONTROLS["zc"]: "Off"})
    await write(provider, OF, {"za": 0, "zb": 1, "zc": 1}, fence())
    assert cluster.operations.count("UpdateRoutingControlStates") == 1
    assert cluster.states() == {"za": "Off", "zb": "On", "zc": "On"}


async def test_endpoints_that_are_gone_are_passed_over(cluster: LocalCluster, provider: Provider) -> None:
    dead, refusing = cluster.endpoints[0], cluster.endpoints[1]
    dead.stop()
    gone = AwsError("EndpointTemporarilyUnavailableException", "region is down", status=503)
    refusing.faults.append(("ListRoutingControls", gone))
    change = await write(provider, OF, WITHOUT_A, fence())
    assert cluster.states()["za"] == "Off"
    assert refusing.operations == ["ListRoutingControls"], "one that failed is asked last from then on"
    verified = await provider.verify(OF, change, deadline())
    assert verified.in_sync, verified.text
    assert f"{dead.region}: " in verified.text


async def test_an_endpoint_that_throttles_holds_back_no_other(cluster: LocalCluster, provider: Provider) -> None:
    fault = AwsError("ThrottlingException", "Rate exceeded", headers={"Retry-After": "30"})
    first = cluster.endpoints[0]
    first.faults.append(("ListRoutingControls", fault))
    await write(provider, OF, WITHOUT_A, fence())
    assert cluster.states()["za"] == "Off"
    assert first.operations == ["ListRoutingControls"]


async def test_where_all_endpoints_throttle_nothing_was_done(cluster: LocalCluster, provider: Provider) -> None:
    for n, endpoint in enumerate(cluster.endpoints):
        fault = AwsError("ThrottlingException", "Rate exceeded", headers={"Retry-After": str(30 - n)})
        endpoint.faults.append(("ListRoutingControls", fault))
    with pytest.raises(Throttled) as caught:
        await provider.read(OF, deadline())
    assert caught.value.retry_after_s == 26.0


async def test_an_endpoint_that_hangs_does_not_use_up_the_time(cluster: LocalCluster, provider: Provider) -> None:
    gate = threading.Event()
    cluster.endpoints[0].faults.append(("ListRoutingControls", lambda: gate.wait(10)))
    observed = await provider.read(OF, deadline(3.0))
    gate.set()
    assert observed.weights == ALL


async def test_every_endpoint_is_asked_after_a_write(cluster: LocalCluster, provider: Provider) -> None:
    cluster.endpoints[3].lags = True
    change = await write(provider, OF, WITHOUT_A, fence())
    verified = await provider.verify(OF, change, deadline())
    assert not verified.in_sync
    assert f"{cluster.endpoints[3].region}: za is On, not Off" in verified.text
    assert verified.observed.weights["za"] == 1, "told as bad as it is anywhere"


async def test_less_than_half_of_the_cluster_proves_nothing(cluster: LocalCluster, provider: Provider) -> None:
    change = await write(provider, OF, WITHOUT_A, fence())
    for endpoint in cluster.endpoints[:3]:
        endpoint.stop()
    verified = await provider.verify(OF, change, deadline())
    assert not verified.in_sync
    assert "only 2 of 5 cluster endpoints answer" in verified.text
    for endpoint in cluster.endpoints[3:]:
        endpoint.stop()
    with pytest.raises(Unreachable, match="no endpoint of the cluster answers"):
        await provider.verify(OF, change, deadline())
    with pytest.raises(Unreachable, match="no endpoint of the cluster answers"):
        await provider.read(OF, deadline())


async def test_a_safety_rule_binds_and_is_never_overridden(cluster: LocalCluster, provider: Provider) -> None:
    cluster.least_on = 3
    with pytest.raises(Refused, match=r"[Ss]afety rule") as caught:
        await write(provider, OF, WITHOUT_A, fence())
    assert "override it yourself" in caught.value.action
    assert cluster.states()["za"] == "On"
    assert not any("SafetyRulesToOverride" in a.params for e in cluster.endpoints for a in e.asked)


async def test_a_paused_writer_is_stopped_and_what_slips_through_is_repaired(
    cluster: LocalCluster, provider: Provider
) -> None:
    paused = await prepare(provider, OF, WITHOUT_A, fence(1, 2))
    other = build("route53-arc", {"cluster": CLUSTER, "endpoints": cluster.listed})
    change = await write(other, OF, {"za": 1, "zb": 0, "zc": 1}, fence(2, 1))
    with pytest.raises(Conflict, match="changed since they were read"):
        await provider.apply(paused, deadline())
    cluster.put({CONTROLS["za"]: "Off"})  # one that was paused inside its call
    assert not (await other.verify(OF, change, deadline())).in_sync
    repaired = await write(other, OF, {"za": 1, "zb": 0, "zc": 1}, fence(2, 2))
    assert (await other.verify(OF, repaired, deadline())).in_sync
    await other.close()


async def test_the_control_plane_is_asked_once_and_only_where_it_must_be(cluster: LocalCluster) -> None:
    control = LocalControl(cluster)
    control.start()
    provider = build("route53-arc", {"cluster": CLUSTER, "endpoint_url": control.url})
    for _ in range(2):
        assert (await provider.read(OF, deadline())).weights == ALL
    assert control.operations == ["DescribeCluster"]
    await provider.close()
    control.stop()
    without = build("route53-arc", {"cluster": CLUSTER, "endpoint_url": "http://127.0.0.1:9", "timeout": 0.5})
    with pytest.raises(Unreachable):
        await without.read(OF, deadline())
    await without.close()


async def test_pages(cluster: LocalCluster, provider: Provider) -> None:
    for endpoint in cluster.endpoints:
        endpoint.page = 2
    cluster.put({control_arn("theirs"): "On"})
    observed = await provider.read(OF, deadline())
    assert observed.weights == ALL
    assert observed.foreign == (control_arn("theirs"),)


async def test_what_cannot_be_written_says_what_to_do(provider: Provider) -> None:
    with pytest.raises(Misconfigured, match="no ARN of a routing control"):
        await provider.read(route("chat", {"za": ()}, settings={"controls": {"za": "arn:x"}}), deadline())
    unknown = route("chat", {"za": ()}, settings={"controls": {"za": control_arn("nowhere")}})
    with pytest.raises(Misconfigured, match="no routing control in this cluster"):
        await prepare(provider, unknown, {"za": 1}, fence())
    other = {"za": control_arn("za").replace("/0123456bb", "/9999999bb")}
    elsewhere = route("chat", {"za": ()}, settings={"controls": other})
    with pytest.raises(Misconfigured, match="no such panel"):
        await provider.read(elsewhere, deadline())
