"""The AWS services under the contract: local servers that validate every request against botocore's models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers import registry
from steerd.providers.base import Provider
from tests.providers.contract.rigs import ADDRESSES, ZONE, ZONES, Rig, black_hole, context
from tests.support.aws.accelerator import LocalAccelerator
from tests.support.aws.arc import CLUSTER, LocalCluster, control_arn
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.identity import give_identity
from tests.support.aws.route53 import LocalRoute53, NameServer
from tests.support.aws.shift import resource_arn


class Route53Rig(Rig):
    kind = "route53"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalRoute53(ZONE)
        self.server.start()
        self.names = NameServer(self.server).start()

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {
            "hosted_zone": self.server.zone_id,
            "endpoint_url": self.server.url,
            "verify": [self.names.address],
            "calls_per_s": 1000.0,
            **changed,
        }

    def provider(self) -> Provider:
        return registry.build(context("route53", self.settings()))

    def serving(self, route: Route) -> set[str]:
        with self.server.lock:
            records = [r for k, r in self.server.served.items() if k[0] == f"{route.name}." and k[1] == "A"]
        found = {v["Value"] for r in records if r["Weight"] for v in r["ResourceRecords"]}
        return {z for z in ZONES if ADDRESSES[z] in found}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            provider = registry.build(
                context("route53", self.settings(endpoint_url=f"http://127.0.0.1:{port}", timeout=1.0))
            )
            yield provider

    def add_foreign(self, route: Route) -> None:
        self.server.put(_weighted(route, "theirs", 9, "198.51.100.77"))

    def has_foreign(self, route: Route) -> bool:
        return self.server.weights(route.name).get("theirs") == 9

    def outsider_removes(self, route: Route, target: str) -> None:
        self.server.put(_weighted(route, target, 0, ADDRESSES[target]))


def _weighted(route: Route, identifier: str, weight: int, value: str) -> dict[str, Any]:
    return {
        "Name": f"{route.name}.",
        "Type": "A",
        "SetIdentifier": identifier,
        "Weight": weight,
        "TTL": 30,
        "ResourceRecords": [{"Value": value}],
    }


class ArcRig(Rig):
    kind = "route53-arc"
    top = 1

    def __init__(self) -> None:
        super().__init__()
        self.cluster = LocalCluster().start()

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {"cluster": CLUSTER, "endpoints": self.cluster.listed, "calls_per_s": 1000.0, **changed}

    def provider(self) -> Provider:
        return registry.build(context(self.kind, self.settings()))

    def route(self) -> Route:
        made = super().route()
        controls = {z: control_arn(f"{made.name.split('.')[0]}-{z}") for z in ZONES}
        self.cluster.put(dict.fromkeys(controls.values(), "Off"))
        return replace(made, types=(), settings={"controls": controls})

    def missing(self) -> Route:
        return replace(super().missing(), types=(), settings={"controls": {"za": control_arn("nowhere")}})

    def serving(self, route: Route) -> set[str]:
        states = self.cluster.states()
        return {z for z in ZONES if states[f"{route.name.split('.')[0]}-{z}"] == "On"}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            listed = [f"http://127.0.0.1:{port}=eu-west-1", f"http://localhost:{port}=us-east-1"]
            yield registry.build(context(self.kind, self.settings(endpoints=listed, timeout=1.0)))

    def add_foreign(self, route: Route) -> None:
        others = [a for a, s in self.cluster.endpoints[0].states.items() if s == "On"]
        self.cluster.put({a: "Off" for a in others if a not in route.settings["controls"].values()})
        self.cluster.put({control_arn("theirs"): "On"})

    def has_foreign(self, route: Route) -> bool:
        return self.cluster.states()["theirs"] == "On"

    def outsider_removes(self, route: Route, target: str) -> None:
        self.cluster.put({route.settings["controls"][target]: "Off"})


class WeightsRig(Rig):
    """Of a server that tells the weights of one resource, by target."""

    server: Any

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {"endpoint_url": self.server.url, "calls_per_s": 1000.0, **changed}

    def resource(self, route: Route) -> str:
        """What the route names."""
        raise NotImplementedError

    def named(self, target: str) -> str:
        """A target as the server calls it."""
        return target

    def provider(self) -> Provider:
        return registry.build(context(self.kind, self.settings()))

    def serving(self, route: Route) -> set[str]:
        weights = self.server.weights(self.resource(route))
        return {z for z in ZONES if weights.get(self.named(z))}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            settings = self.settings(endpoint_url=f"http://127.0.0.1:{port}", timeout=1.0)
            yield registry.build(context(self.kind, settings))

    def add_foreign(self, route: Route) -> None:
        self.server.set_weight(self.resource(route), "theirs", 9)

    def has_foreign(self, route: Route) -> bool:
        return bool(self.server.weights(self.resource(route))["theirs"] == 9)

    def outsider_removes(self, route: Route, target: str) -> None:
        self.server.set_weight(self.resource(route), self.named(target), 0)


class ElbRig(WeightsRig):
    kind = "elbv2"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalElb()
        self.server.start()

    def settings(self, **changed: Any) -> dict[str, Any]:
        return super().settings(aws_region="eu-west-1", **changed)

    def resource(self, route: Route) -> str:
        return str(route.settings["rule"])

    def route(self) -> Route:
        made = super().route()
        # Routing by weights is on from the start: what differs is what steerd gives.
        rule = self.server.add_rule(dict.fromkeys(ZONES, 0))
        groups = {z: group_arn(z) for z in ZONES}
        return replace(made, types=(), settings={"rule": rule, "target_groups": groups})

    def missing(self) -> Route:
        rule = self.server.listener.replace(":listener/", ":listener-rule/") + "/ffffffffffffffff"
        return replace(super().missing(), types=(), settings={"rule": rule, "target_groups": {"za": group_arn("za")}})


class AcceleratorRig(WeightsRig):
    kind = "global-accelerator"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalAccelerator()
        self.server.start()

    def resource(self, route: Route) -> str:
        return str(route.settings["group"])

    def named(self, target: str) -> str:
        return resource_arn(target)

    def route(self) -> Route:
        group = self.server.add_group({resource_arn(z): 0 for z in ZONES})
        endpoints = {z: resource_arn(z) for z in ZONES}
        return replace(super().route(), types=(), settings={"group": group, "endpoints": endpoints})

    def missing(self) -> Route:
        group = self.server.add_group({}).replace("/endpoint-group/", "/endpoint-group/f")
        settings = {"group": group, "endpoints": {"za": resource_arn("za")}}
        return replace(super().missing(), types=(), settings=settings)


@pytest.fixture(scope="module")
def route53_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        give_identity(patch)
        rig = Route53Rig()
        yield rig
        rig.names.stop()
        rig.server.stop()


@pytest.fixture(scope="module")
def arc_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        give_identity(patch)
        rig = ArcRig()
        yield rig
        rig.cluster.stop()


@pytest.fixture(scope="module")
def elbv2_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        give_identity(patch)
        rig = ElbRig()
        yield rig
        rig.server.stop()


@pytest.fixture(scope="module")
def global_accelerator_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        give_identity(patch)
        rig = AcceleratorRig()
        yield rig
        rig.server.stop()
