"""1000 random plans through each provider's translate, carried out on its local server: what is sent is valid by the service's
model, what stands after it is what was planned, within the error of whole numbers, and what was read before it is refused."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steerd.core.quantize import realised
from steerd.model.route import Capabilities, Desired, Member, Observed, Route, Target
from steerd.providers import registry
from steerd.providers.base import Change
from steerd.providers.elbv2 import translate as elb
from steerd.providers.global_accelerator import translate as accelerator
from steerd.providers.route53 import translate as route53
from steerd.providers.route53_arc import translate as arc
from steerd.providers.zonal_shift import translate as shift
from tests.support.aws.accelerator import LocalAccelerator
from tests.support.aws.arc import PANEL, LocalCluster, control_arn
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.model import AwsError
from tests.support.aws.route53 import ZONE_ID, LocalRoute53
from tests.support.aws.shift import LocalZonalShift
from tests.support.aws.steer import fence
from tests.support.plain_split import plainly

pytestmark = pytest.mark.slow

ZONES = tuple(f"z{n}" for n in range(5))
SEQUENCES, PLANS = 125, 8
"""1000 plans."""


class Bench(ABC):
    """One route on one local server, without a network between."""

    kind: str

    def __init__(self) -> None:
        values = {z: {f"e-{z}": (f"192.0.2.{n + 1}", f"2001:db8::{n + 1}")} for n, z in enumerate(ZONES)}
        targets = tuple(Target(z, (f"e-{z}",), values[z]) for z in ZONES)
        self.route = Route(
            key="it/r",
            service="chat",
            provider="it",
            name="chat.acme.example",
            per="zone",
            targets=targets,
            **self.begin(),
        )

    @property
    def caps(self) -> Capabilities:
        return registry.CAPABILITIES[self.kind]

    @abstractmethod
    def begin(self) -> dict[str, Any]:
        """Sets the server up; returns what the route has beyond its targets."""

    @abstractmethod
    def read(self) -> Observed: ...

    @abstractmethod
    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change: ...

    @abstractmethod
    def carry_out(self, change: Change) -> None: ...

    @abstractmethod
    def served(self) -> Mapping[str, int]:
        """Target -> weight, asked of the server."""


class Route53Bench(Bench):
    kind = "route53"

    def begin(self) -> dict[str, Any]:
        self.server = LocalRoute53()
        return {"types": ("A", "AAAA"), "ttl_s": 30.0}

    def read(self) -> Observed:
        records = tuple(r for k, r in self.server.records.items() if k[1] != "TXT")
        txt = next((r for k, r in self.server.records.items() if k[1] == "TXT"), None)
        return route53.observed_from(self.route, route53.Seen(records, txt))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return route53.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        params = {"HostedZoneId": ZONE_ID, "ChangeBatch": {"Changes": list(change.payload.changes)}}
        self.server.wire.check("ChangeResourceRecordSets", params)
        self.server.ChangeResourceRecordSets(**params)

    def served(self) -> Mapping[str, int]:
        weights = self.server.weights(self.route.name, "A")
        assert weights == self.server.weights(self.route.name, "AAAA"), "both types carry the same split"
        return weights


class ElbBench(Bench):
    kind = "elbv2"

    def begin(self) -> dict[str, Any]:
        self.server = LocalElb()
        self.rule = self.server.add_rule({"z0": 1})
        self.server.groups |= {group_arn(z) for z in ZONES}
        return {"types": (), "settings": {"rule": self.rule, "target_groups": {z: group_arn(z) for z in ZONES}}}

    def read(self) -> Observed:
        rule = self.server.DescribeRules([self.rule])["Rules"][0]
        return elb.observed_from(self.route, elb.Seen(self.rule, rule["IsDefault"], tuple(rule["Actions"])), None)

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return elb.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        params = {"RuleArn": self.rule, "Actions": list(change.payload.actions)}
        self.server.wire.check("ModifyRule", params)
        self.server.ModifyRule(**params)

    def served(self) -> Mapping[str, int]:
        return self.server.weights(self.rule)


class AcceleratorBench(Bench):
    kind = "global-accelerator"

    def begin(self) -> dict[str, Any]:
        self.server = LocalAccelerator()
        self.group = self.server.add_group({"z0": 1})
        return {"types": (), "settings": {"group": self.group, "endpoints": {z: z for z in ZONES}}}

    def read(self) -> Observed:
        seen = accelerator.seen_from(self.server.DescribeEndpointGroup(self.group)["EndpointGroup"])
        return accelerator.observed_from(self.route, seen, None)

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return accelerator.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        params = {"EndpointGroupArn": self.group, "EndpointConfigurations": list(change.payload.configurations)}
        self.server.wire.check("UpdateEndpointGroup", params)
        self.server.UpdateEndpointGroup(**params)

    def served(self) -> Mapping[str, int]:
        return self.server.weights(self.group)


class ArcBench(Bench):
    kind = "route53-arc"

    def begin(self) -> dict[str, Any]:
        self.server = LocalCluster()
        self.server.least_on = 1
        self.server.put({control_arn(z): "On" if z == "z0" else "Off" for z in ZONES})
        return {"types": (), "settings": {"controls": {z: control_arn(z) for z in ZONES}}}

    def read(self) -> Observed:
        listed = self.server.endpoints[0].ListRoutingControls(PANEL)["RoutingControls"]
        states = {c["RoutingControlArn"]: c["RoutingControlState"] for c in listed}
        return arc.observed_from(self.route, states, None)

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return arc.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        entries = [{"RoutingControlArn": a, "RoutingControlState": s} for a, s in change.payload.update.items()]
        params = {"UpdateRoutingControlStateEntries": entries}
        self.server.endpoints[0].wire.check("UpdateRoutingControlStates", params)
        self.server.endpoints[0].UpdateRoutingControlStates(**params)

    def served(self) -> Mapping[str, int]:
        return {z: int(s == "On") for z, s in self.server.states().items()}


class ShiftBench(Bench):
    kind = "aws-zonal-shift"

    def begin(self) -> dict[str, Any]:
        self.server = LocalZonalShift()
        self.zones = {z: f"euw1-{z}" for z in ZONES}
        self.arn = self.server.add_resource("lb", tuple(self.zones.values()))
        return {"types": (), "settings": {"resource": self.arn}}

    def read(self) -> Observed:
        answer = self.server.GetManagedResource(self.arn)
        shifts = tuple(
            shift.Shift(s["zonalShiftId"], s["awayFrom"], s["comment"], s["appliedStatus"] == "APPLIED")
            for s in answer["zonalShifts"]
        )
        return shift.observed_from(self.route, self.zones, shift.Seen(self.arn, answer["appliedWeights"], shifts))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return shift.translate(self.route, self.zones, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        comment = shift.comment_of(change.fence)
        for call in change.payload.calls:
            start = {"resourceIdentifier": self.arn, "awayFrom": call.zone_id}
            name, params = {
                "start": ("StartZonalShift", {**start, "expiresIn": shift.expires_text(14_400), "comment": comment}),
                "renew": ("UpdateZonalShift", {"zonalShiftId": call.shift, "comment": comment}),
                "cancel": ("CancelZonalShift", {"zonalShiftId": call.shift}),
            }[call.what]
            self.server.wire.check(name, params)
            getattr(self.server, name)(**params)

    def served(self) -> Mapping[str, int]:
        out = self.server.out(self.arn)
        return {z: int(i not in out) for z, i in self.zones.items()}


BENCHES = (Route53Bench, ElbBench, AcceleratorBench, ArcBench, ShiftBench)

share = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.1, 0.25, 1 / 3, 0.5, 1.0]) | st.floats(0.0, 1.0)
split = st.lists(share, min_size=len(ZONES), max_size=len(ZONES)).filter(lambda s: sum(s) > 0.01)


@pytest.mark.parametrize("make", BENCHES, ids=lambda b: b.kind)
@settings(
    max_examples=SEQUENCES,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(splits=st.lists(split, min_size=PLANS, max_size=PLANS))
def test_a_thousand_plans(make: type[Bench], splits: list[list[float]]) -> None:
    bench = make()
    endpoints = [f"e-{z}" for z in ZONES]
    fair = dict.fromkeys(endpoints, 1 / len(endpoints))
    for seq, drawn in enumerate(splits, 1):
        parts = _one_out(drawn) if bench.kind == "aws-zonal-shift" else drawn
        shares = {e: p / sum(parts) for e, p in zip(endpoints, parts, strict=True)}
        stale = bench.read()
        desired = plainly(bench.route, shares, fair, bench.caps, stale.weights)
        change = bench.translate(desired, stale, seq)
        assert change == bench.translate(desired, stale, seq), "the same again"
        if not change.nothing:
            bench.carry_out(change)
        served = {z: w for z, w in bench.served().items() if z in desired.weights}
        assert {z: served.get(z, 0) for z in ZONES} == desired.weights, "weight by weight, zeros among them"
        assert sum(served.values()) > 0
        after = bench.read()
        assert after.weights == desired.weights
        assert bench.translate(desired, after, seq).nothing, "idempotent"
        assert_close(bench, desired, shares)
        assert_stale_is_refused(bench, change)


def _one_out(drawn: list[float]) -> list[float]:
    """All in, or all but one: a resource has one shift at a time."""
    out = int(drawn[0] * 1000) % (len(ZONES) + 1)
    return [0.0 if n == out else 1.0 for n in range(len(ZONES))]


def assert_close(bench: Bench, desired: Desired, shares: Mapping[str, float]) -> None:
    """Whole numbers: each weight is off by less than 1, of a sum of at least the largest weight."""
    if bench.caps.membership:
        return
    given = realised(desired, bench.caps)
    assert sum(given.values()) == pytest.approx(1)
    for zone in ZONES:
        exact = shares[f"e-{zone}"]
        assert abs(given[zone] - exact) <= (1 + len(ZONES) * exact) / bench.caps.weight_max
        if exact > 1e-9:
            assert given[zone] > 0, "what carries is not rounded away"


def assert_stale_is_refused(bench: Bench, change: Change) -> None:
    """Sent once more, as a delayed writer would: the system itself must refuse it, where it can."""
    if bench.caps.compare_and_set and not change.nothing:
        with pytest.raises(AwsError, match="InvalidChangeBatch"):
            bench.carry_out(change)


def test_a_stale_batch_is_refused_whatever_came_between() -> None:
    """Two writers from one reading, in any order: the second always fails whole."""
    chance = random.Random(3)
    for _ in range(200):
        bench = Route53Bench()
        weights = [{z: chance.randint(0, 3) for z in ZONES} | {"z4": 1} for _ in range(3)]
        plans = [_desired(w) for w in weights]
        bench.carry_out(bench.translate(plans[0], bench.read(), 1))
        seen = bench.read()
        first, second = (bench.translate(p, seen, 2 + n) for n, p in enumerate(plans[1:]))
        if first.nothing or second.nothing:
            continue
        bench.carry_out(first)
        before = dict(bench.server.records)
        with pytest.raises(AwsError, match="InvalidChangeBatch"):
            bench.carry_out(second)
        assert bench.server.records == before


def _desired(weights: Mapping[str, int]) -> Desired:
    values = {z: (f"192.0.2.{n + 1}", f"2001:db8::{n + 1}") for n, z in enumerate(ZONES)}
    return Desired(tuple(Member(z, w, values[z] if w else ()) for z, w in sorted(weights.items())))
