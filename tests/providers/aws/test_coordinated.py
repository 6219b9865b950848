"""A write as the coordinator makes it: read, translate, apply, verify; and what it makes of lost answers, throttles and
paused writers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from steerd.coordinator.calls import Calls
from steerd.coordinator.clock import SystemClock
from steerd.core.effects import Apply, Verify
from steerd.model.route import Route
from steerd.providers.base import Conflict, Provider
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.model import AwsError
from tests.support.aws.route53 import LocalRoute53, NameServer
from tests.support.aws.server import AwsServer, LoseAnswer
from tests.support.aws.shift import LocalZonalShift
from tests.support.aws.steer import build, desired, fence, route

WEIGHTS = {"za": 1, "zb": 1, "zc": 0}


class Bench:
    """One provider on its local server, with a route of it. `write` is the operation that changes something."""

    def __init__(self, server: AwsServer, kind: str, settings: dict[str, Any], of: Route, write: str) -> None:
        self.server, self.of, self.write = server, of, write
        self.settings = {"endpoint_url": server.url, "aws_region": "eu-west-1", **settings}
        self.kind = kind

    def provider(self) -> Provider:
        return build(self.kind, self.settings)

    def calls(self, provider: Provider) -> Calls:
        return Calls({"it": provider}.__getitem__, lambda: 10.0, SystemClock())

    def apply(self, weights: dict[str, int], epoch: int = 1, seq: int = 1) -> Apply:
        return Apply(self.of.key, f"{epoch}.{seq}", desired(self.of, weights), fence(epoch, seq))

    def verify(self, weights: dict[str, int], epoch: int = 1, seq: int = 1) -> Verify:
        return Verify(self.of.key, f"{epoch}.{seq}", desired(self.of, weights), fence(epoch, seq))


@pytest.fixture(params=["route53", "elbv2", "aws-zonal-shift"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    zones = {z: (f"192.0.2.{n}",) for n, z in enumerate(WEIGHTS, 1)}
    if request.param == "route53":
        zone = LocalRoute53()
        zone.start()
        names = NameServer(zone).start()
        settings = {"hosted_zone": zone.zone_id, "verify": [names.address]}
        yield Bench(zone, "route53", settings, route("chat.acme.example", zones), "ChangeResourceRecordSets")
        names.stop()
        zone.stop()
    elif request.param == "elbv2":
        balancer = LocalElb()
        rule = balancer.add_rule(dict.fromkeys(WEIGHTS, 5))
        balancer.start()
        given = {"rule": rule, "target_groups": {z: group_arn(z) for z in WEIGHTS}}
        yield Bench(balancer, "elbv2", {}, route("lb", zones, settings=given), "ModifyRule")
        balancer.stop()
    else:
        shifts = LocalZonalShift()
        arn = shifts.add_resource("lb", ("z-1", "z-2", "z-3"))
        shifts.start()
        settings = {"zone_ids": {"za": "z-1", "zb": "z-2", "zc": "z-3"}}
        yield Bench(shifts, request.param, settings, route("lb", zones, settings={"resource": arn}), "StartZonalShift")
        shifts.stop()


async def test_applied_verified_and_unchanged_after(bench: Bench) -> None:
    provider = bench.provider()
    calls = bench.calls(provider)
    assert (await calls.apply(bench.of, bench.apply(WEIGHTS))).result == "applied"
    verified = await calls.verify(bench.of, bench.verify(WEIGHTS))
    assert verified.in_sync, verified.text
    assert (await calls.apply(bench.of, bench.apply(WEIGHTS, seq=2))).result == "unchanged"
    await provider.close()


async def test_after_a_lost_answer_the_write_is_found_by_reading_back(bench: Bench) -> None:
    provider = bench.provider()
    bench.server.faults.append((bench.write, LoseAnswer()))
    done = await bench.calls(provider).apply(bench.of, bench.apply(WEIGHTS))
    assert done.result == "applied"
    assert "reading back shows the write" in done.text
    assert bench.server.operations.count(bench.write) == 1, "nothing is written twice"
    await provider.close()


async def test_a_throttle_says_when_to_come_again_and_nothing_has_changed(bench: Bench) -> None:
    provider = bench.provider()
    fault = AwsError("ThrottlingException", "Rate exceeded", headers={"Retry-After": "2"})
    bench.server.faults.append((bench.write, fault))
    done = await bench.calls(provider).apply(bench.of, bench.apply(WEIGHTS))
    assert (done.result, done.retry_after_s) == ("throttled", 2.0)
    await provider.close()


async def test_a_leader_paused_between_reading_and_writing_writes_nothing(bench: Bench) -> None:
    """It read; while its write is on its way another leader takes over and writes; then it goes on."""
    paused, other = bench.provider(), bench.provider()
    observed = await paused.read(bench.of, SystemClock().loop_time() + 5)
    change = paused.translate(bench.of, desired(bench.of, {"za": 0, "zb": 1, "zc": 1}), observed, fence(1, 7))
    taken = bench.calls(other)
    assert (await taken.apply(bench.of, bench.apply(WEIGHTS, epoch=2))).result == "applied"
    with pytest.raises(Conflict, match=r"newer|changed since|in between"):
        await paused.apply(change, SystemClock().loop_time() + 5)
    assert (await taken.verify(bench.of, bench.verify(WEIGHTS, epoch=2))).in_sync
    await paused.close()
    await other.close()
