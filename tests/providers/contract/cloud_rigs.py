"""Cloud APIs under the contract: local servers that validate every request against the vendor's published model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.model.fleet import Secret
from steerd.model.route import Desired, Route
from steerd.providers import registry
from steerd.providers.base import Provider
from tests.providers.contract.rigs import ADDRESSES, ZONE, ZONES, Rig, black_hole, context
from tests.support.aws.route53 import NameServer
from tests.support.cloud.azure import LocalTrafficManager
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.cloudflare import ACCOUNT, BASE, ZONE_ID, LocalCloudflare, pool_id
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.google import give_credentials
from tests.support.cloud.kubernetes import LocalKubernetes
from tests.support.cloud.receiver import Receiver


class WeightsRig(Rig):
    """Of a server that tells the weights by target."""

    server: Any

    def made(self, url: str) -> Provider:
        """A provider that asks `url`."""
        raise NotImplementedError

    def weights(self, route: Route) -> Mapping[str, float]:
        """As the server has them now."""
        found: Mapping[str, float] = self.server.weights(route.name)
        return found

    def provider(self) -> Provider:
        return self.made(self.server.url)

    def serving(self, route: Route) -> set[str]:
        weights = self.weights(route)
        return {z for z in ZONES if weights.get(z)}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            yield self.made(f"http://127.0.0.1:{port}")

    def add_foreign(self, route: Route) -> None:
        self.server.edit(route.name, {"foreign": 33})

    def has_foreign(self, route: Route) -> bool:
        return self.weights(route)["foreign"] == 33

    def outsider_removes(self, route: Route, target: str) -> None:
        self.server.edit(route.name, {target: 0})


class WebhookRig(WeightsRig):
    kind = "webhook"

    def __init__(self) -> None:
        super().__init__()
        self.server = Receiver()
        self.server.start()

    def made(self, url: str) -> Provider:
        settings = {"url": url, "secret": Secret("env", "HOOK"), "calls_per_s": 1000.0}
        return registry.build(context("webhook", settings, self.server.secret))

    def weights(self, route: Route) -> Mapping[str, float]:
        with self.server.lock:
            return dict(self.server.state(route.name)["weights"])


class GatewayRig(WeightsRig):
    kind = "gateway-api"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.server = LocalKubernetes()
        self.server.start()

    def made(self, url: str) -> Provider:
        path = self.server.kubeconfig(self.directory, None if url == self.server.url else url)
        return registry.build(context("gateway-api", {"kubeconfig": path, "calls_per_s": 1000.0}))

    def route(self) -> Route:
        made = super().route()
        self.server.add(made.name, dict.fromkeys(ZONES, 1))
        return made


class CloudDnsRig(Rig):
    kind = "clouddns"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalCloudDns(ZONE)
        self.server.start()
        self.names = NameServer(self.server).start()  # type: ignore[arg-type]  # it has what that asks for

    def made(self, **changed: Any) -> Provider:
        base = {"project": "acme", "managed_zone": "main", "endpoint_url": self.server.url, "calls_per_s": 1000.0}
        return registry.build(context("clouddns", {**base, "verify": [self.names.address], **changed}))

    def provider(self) -> Provider:
        self.server.looks = 0
        return self.made()

    def serving(self, route: Route) -> set[str]:
        with self.server.lock:
            served = {k: r for k, r in self.server.served.items() if k[:2] == (f"{route.name}.", "A") and r["Weight"]}
        found = {v["Value"] for r in served.values() for v in r["ResourceRecords"]}
        return {z for z in ZONES if ADDRESSES[z] in found}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            yield self.made(endpoint_url=f"http://127.0.0.1:{port}", timeout=1.0)

    def add_foreign(self, route: Route) -> None:
        items = self.server.items(route.name)
        self.server.set_items(route.name, [{"weight": 7, "rrdatas": ["198.51.100.77"]}, *items])

    def has_foreign(self, route: Route) -> bool:
        return {"weight": 7, "rrdatas": ["198.51.100.77"]} in self.server.items(route.name)

    def outsider_removes(self, route: Route, target: str) -> None:
        items = [i for i in self.server.items(route.name) if i["rrdatas"] != [ADDRESSES[target]]]
        self.server.set_items(route.name, items)


@pytest.fixture(scope="module")
def clouddns_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        rig = CloudDnsRig()
        give_credentials(patch, tmp_path_factory.mktemp("google"), rig.server)
        yield rig
        rig.names.stop()
        rig.server.stop()


class ComputeRig(WeightsRig):
    kind = "gcp-backend"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalCompute()
        self.server.looks = 0
        self.server.start()

    def made(self, url: str) -> Provider:
        settings = {"project": "acme", "endpoint_url": url, "calls_per_s": 1000.0}
        return registry.build(context("gcp-backend", settings))

    def weights(self, route: Route) -> Mapping[str, float]:
        return self.server.percents(route.name)

    def desired(self, route: Route, weights: dict[str, int]) -> Desired:
        return super().desired(route, {z: max(w, 10) if w else 0 for z, w in weights.items()})

    def route(self) -> Route:
        made = super().route()
        name = made.name.partition(".")[0]
        self.server.add(name, dict.fromkeys(ZONES, 100))
        return replace(made, name=name, settings={"groups": {z: group_url(z) for z in ZONES}})

    def missing(self) -> Route:
        return replace(super().missing(), name="missing")


@pytest.fixture(scope="module")
def compute_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        rig = ComputeRig()
        give_credentials(patch, tmp_path_factory.mktemp("google"), rig.server)
        yield rig
        rig.server.stop()


class TrafficManagerRig(WeightsRig):
    kind = "azure-trafficmanager"

    def __init__(self) -> None:
        super().__init__()
        self.server = LocalTrafficManager()
        self.server.start()

    def made(self, url: str) -> Provider:
        settings = {"subscription": "s1", "resource_group": "rg", "endpoint_url": url, "calls_per_s": 1000.0}
        return registry.build(context("azure-trafficmanager", settings))

    def route(self) -> Route:
        made = super().route()
        self.server.add(made.name, dict.fromkeys(ZONES, 1))
        return made


@pytest.fixture(scope="module")
def traffic_manager_rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        rig = TrafficManagerRig()
        rig.server.give_credentials(patch)
        yield rig
        rig.server.stop()


class CloudflareRig(Rig):
    """`disable` True: pools of targets that are out are disabled too."""

    kind = "cloudflare"

    def __init__(self, *, disable: bool) -> None:
        super().__init__()
        self.disable = disable
        self.server = LocalCloudflare()
        self.server.start()

    def made(self, url: str) -> Provider:
        settings = {"zone_id": ZONE_ID, "account_id": ACCOUNT, "token": Secret("env", "CF"), "calls_per_s": 1000.0}
        return registry.build(context("cloudflare", {**settings, "endpoint_url": url}, self.server.token))

    def provider(self) -> Provider:
        return self.made(self.server.api)

    def route(self) -> Route:
        made = super().route()
        self.server.add(made.name, {self._pool(made, z): 1 for z in ZONES})
        pools = {z: pool_id(self._pool(made, z)) for z in ZONES}
        return replace(made, settings={"pools": pools, "disable_pools": self.disable})

    @staticmethod
    def _pool(route: Route, target: str) -> str:
        """Every load balancer has pools of its own: one that is disabled is so for all that use it."""
        return f"{target}-{route.name.partition('.')[0]}"

    def serving(self, route: Route) -> set[str]:
        with self.server.lock:
            weights = self.server.weights(route.name)
        return {z for z in ZONES if weights.get(self._pool(route, z))}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            yield self.made(f"http://127.0.0.1:{port}{BASE}")

    def add_foreign(self, route: Route) -> None:
        self.server.edit(route.name, {"foreign": 0.33})

    def has_foreign(self, route: Route) -> bool:
        return self.server.percents(route.name)["foreign"] == 33

    def outsider_removes(self, route: Route, target: str) -> None:
        if self.disable:
            self.server.pools[pool_id(self._pool(route, target))]["enabled"] = False
        else:
            self.server.edit(route.name, {self._pool(route, target): 0})


@pytest.fixture(scope="module")
def cloudflare_rig() -> Iterator[Rig]:
    rig = CloudflareRig(disable=False)
    yield rig
    rig.server.stop()


@pytest.fixture(scope="module")
def cloudflare_disabling_rig() -> Iterator[Rig]:
    rig = CloudflareRig(disable=True)
    yield rig
    rig.server.stop()


@pytest.fixture(scope="module")
def gateway_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = GatewayRig(tmp_path_factory.mktemp("kubernetes"))
    yield rig
    rig.server.stop()


@pytest.fixture(scope="module")
def webhook_rig() -> Iterator[Rig]:
    rig = WebhookRig()
    yield rig
    rig.server.stop()
