"""Endpoint groups: the whole list of endpoints is replaced, so all of it must survive; edges take their time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Throttled
from tests.support.aws.accelerator import LocalAccelerator
from tests.support.aws.model import AwsError
from tests.support.aws.steer import build, deadline, fence, prepare, route, write

ALL = {"za": 128, "zb": 64}
WITHOUT_A = {"za": 0, "zb": 255}
ENDPOINTS = {"za": "lb-a", "zb": "lb-b"}
OF = route("ga", {"za": (), "zb": ()}, settings={"endpoints": ENDPOINTS})


@pytest.fixture
def accelerator() -> Iterator[LocalAccelerator]:
    server = LocalAccelerator()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def group(accelerator: LocalAccelerator) -> str:
    return accelerator.add_group({"lb-a": 1, "lb-b": 1, "theirs": 7})


@pytest.fixture
async def provider(accelerator: LocalAccelerator, group: str) -> Any:
    made = build("global-accelerator", {"endpoint_url": accelerator.url, "endpoint_group": group})
    yield made
    await made.close()


async def test_what_is_not_ours_to_change_stays(accelerator: LocalAccelerator, group: str, provider: Provider) -> None:
    await write(provider, OF, WITHOUT_A, fence())
    assert accelerator.weights(group) == {"lb-a": 0, "lb-b": 255, "theirs": 7}
    assert all(e["ClientIPPreservationEnabled"] for e in accelerator.groups[group].values())
    assert "TrafficDialPercentage" not in accelerator.asked[-1].params, "the dial is a person's"


async def test_in_sync_when_the_edges_have_it(accelerator: LocalAccelerator, provider: Provider) -> None:
    change = await write(provider, OF, ALL, fence())
    accelerator.status = "IN_PROGRESS"
    verified = await provider.verify(OF, change, deadline())
    assert not verified.in_sync
    assert "still IN_PROGRESS" in verified.text
    accelerator.status = "DEPLOYED"
    assert (await provider.verify(OF, change, deadline())).in_sync


async def test_health_that_changes_by_itself_is_no_conflict(
    accelerator: LocalAccelerator, group: str, provider: Provider
) -> None:
    change = await prepare(provider, OF, WITHOUT_A, fence())
    accelerator.health = "UNHEALTHY"
    await provider.apply(change, deadline())
    assert accelerator.weights(group)["lb-b"] == 255


async def test_a_paused_writer_is_stopped_and_what_slips_through_is_repaired(
    accelerator: LocalAccelerator, group: str, provider: Provider
) -> None:
    paused = await prepare(provider, OF, WITHOUT_A, fence(1, 2))
    other = build("global-accelerator", {"endpoint_url": accelerator.url, "endpoint_group": group})
    change = await write(other, OF, ALL, fence(2, 1))
    with pytest.raises(Conflict, match="changed since they were read"):
        await provider.apply(paused, deadline())
    accelerator.set_weight(group, "lb-a", 0)  # one that was paused inside its call
    verified = await other.verify(OF, change, deadline())
    assert "za has weight 0, not 128" in verified.text
    repaired = await write(other, OF, ALL, fence(2, 2))
    assert (await other.verify(OF, repaired, deadline())).in_sync
    await other.close()


async def test_another_account_s_endpoint_is_sent_with_its_attachment(
    accelerator: LocalAccelerator, provider: Provider
) -> None:
    accelerator.shared = {"lb-b"}
    with pytest.raises(Misconfigured, match="cross-account attachment") as caught:
        await write(provider, OF, ALL, fence())
    assert "attachments" in caught.value.action
    of = route(
        "ga", {"za": (), "zb": ()}, settings={"endpoints": ENDPOINTS, "attachments": {"zb": "arn:aws:ga::1:att"}}
    )
    await write(provider, of, ALL, fence())


async def test_what_cannot_be_written_says_what_to_do(accelerator: LocalAccelerator, provider: Provider) -> None:
    full = accelerator.add_group({f"e{n}": 1 for n in range(10)})
    of = route("ga", {"za": ()}, settings={"endpoints": {"za": "lb-a"}, "group": full})
    with pytest.raises(Refused, match="11 endpoints"):
        await prepare(provider, of, {"za": 1}, fence())
    with pytest.raises(Misconfigured, match="has no endpoint id"):
        await prepare(provider, OF, {"za": 1, "zz": 1}, fence())
    with pytest.raises(ValueError, match="not from 0 to 255"):
        await prepare(provider, OF, {"za": 256}, fence())
    with pytest.raises(Misconfigured, match="no ARN of an endpoint group"):
        await provider.read(route("ga", {"za": ()}, settings={"group": "arn:x"}), deadline())
    nowhere = route(
        "ga", {"za": ()}, settings={"endpoints": {"za": "lb-a"}, "group": full.replace("group/0", "group/f")}
    )
    with pytest.raises(Misconfigured, match="no such endpoint group"):
        await prepare(provider, nowhere, {"za": 1}, fence())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("LimitExceededException", Refused),
        ("TransactionInProgressException", Throttled),
        ("AccessDeniedException", Misconfigured),
    ],
)
async def test_refusals(
    accelerator: LocalAccelerator, group: str, provider: Provider, code: str, kind: type[Exception]
) -> None:
    fault = AwsError(code, "said so")
    accelerator.faults.append(("UpdateEndpointGroup", fault))
    with pytest.raises(kind, match="said so"):
        await write(provider, OF, ALL, fence())
    assert accelerator.weights(group)["lb-a"] == 1
