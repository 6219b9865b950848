"""The AWS services under the contract: local servers that validate every request against botocore's models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers import registry
from steerd.providers.base import Provider
from tests.providers.contract.rigs import ADDRESSES, ZONE, ZONES, Rig, black_hole, context
from tests.support.aws.identity import give_identity
from tests.support.aws.route53 import LocalRoute53, NameServer


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
            provider = registry.build(context("route53", self.settings(endpoint_url=f"http://127.0.0.1:{port}", timeout=1.0)))
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


@pytest.fixture(scope="module")
def route53_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        give_identity(patch)
        rig = Route53Rig()
        yield rig
        rig.names.stop()
        rig.server.stop()
