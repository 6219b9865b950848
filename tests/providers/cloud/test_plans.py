"""1000 random plans through each provider's translate, carried out on its local server: what is sent is valid by the published
model, what stands after it is what was planned, within the error of whole numbers, and what was read before it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Observed
from steerd.providers.azure_trafficmanager import translate as traffic_manager
from steerd.providers.base import Change
from steerd.providers.clouddns import translate as clouddns
from steerd.providers.cloudflare import translate as cloudflare
from steerd.providers.gateway_api import translate as gateway
from steerd.providers.gcp_backend import translate as gcp_backend
from steerd.providers.webhook import translate as webhook
from tests.providers.aws.test_plans import PLANS, SEQUENCES, ZONES, Bench, assert_close, split
from tests.support.aws.steer import fence
from tests.support.cloud.azure import LocalTrafficManager
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.cloudflare import ACCOUNT, BASE, ZONE_ID, LocalCloudflare, pool_id
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.http import HttpError
from tests.support.cloud.kubernetes import LocalKubernetes
from tests.support.cloud.receiver import Receiver
from tests.support.plain_split import plainly

pytestmark = pytest.mark.slow


class WebhookBench(Bench):
    kind = "webhook"

    def begin(self) -> dict[str, Any]:
        self.server = Receiver()
        return {"types": ()}

    def read(self) -> Observed:
        said = self.server.ask("POST", "/", webhook.read_message(self.route))
        return webhook.observed_from(self.route, webhook.seen_from(said))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return webhook.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        self.server.ask("POST", "/", change.payload.message)

    def served(self) -> Mapping[str, int]:
        return dict(self.server.state(self.route.name)["weights"])


class GatewayBench(Bench):
    kind = "gateway-api"

    def begin(self) -> dict[str, Any]:
        self.server = LocalKubernetes()
        self.server.add("chat.acme.example", dict.fromkeys(ZONES, 1))
        return {"types": ()}

    def read(self) -> Observed:
        self.found = self.server.ask("GET", gateway.path_of(self.route))
        return gateway.observed_from(self.route, gateway.seen_from(self.route, self.found))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return gateway.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        patch = gateway.patch_of(change.payload, self.found, change.fence)
        self.server.ask("PATCH", f"{change.payload.seen.path}?fieldValidation=Strict", patch)

    def served(self) -> Mapping[str, int]:
        return self.server.weights(self.route.name)


class CloudDnsBench(Bench):
    kind = "clouddns"
    changes = "/dns/v1/projects/acme/managedZones/main/changes"

    def begin(self) -> dict[str, Any]:
        self.server = LocalCloudDns()
        return {"types": ("A", "AAAA"), "ttl_s": 30.0}

    def read(self) -> Observed:
        records = {k: r for (n, k), r in self.server.records.items() if k != "TXT"}
        txt = next((r for (n, k), r in self.server.records.items() if k == "TXT"), None)
        return clouddns.observed_from(self.route, clouddns.Seen(records, txt))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return clouddns.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        self.server.ask("POST", self.changes, change.payload.changes[0])

    def served(self) -> Mapping[str, int]:
        found = [self.server.items(self.route.name, kind) for kind in ("A", "AAAA")]
        assert [i["weight"] for i in found[0]] == [i["weight"] for i in found[1]], "both types carry the same split"
        return {f"z{int(i['rrdatas'][0].rpartition('.')[2]) - 1}": i["weight"] for i in found[0]}


class ComputeBench(Bench):
    kind = "gcp-backend"
    path = "/compute/v1/projects/acme/global/backendServices/chat"

    def begin(self) -> dict[str, Any]:
        self.server = LocalCompute()
        self.server.add("chat", dict.fromkeys(ZONES, 100))
        return {"types": (), "settings": {"groups": {z: group_url(z) for z in ZONES}}}

    def read(self) -> Observed:
        return gcp_backend.observed_from(
            self.route, gcp_backend.seen_from(self.path, self.server.ask("GET", self.path))
        )

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return gcp_backend.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        self.server.ask("PATCH", self.path, dict(change.payload.body))

    def served(self) -> Mapping[str, int]:
        return self.server.percents("chat")


class TrafficManagerBench(Bench):
    kind = "azure-trafficmanager"

    def begin(self) -> dict[str, Any]:
        self.server = LocalTrafficManager()
        self.server.add("chat.acme.example", dict.fromkeys(ZONES, 1))
        return {"types": ()}

    def read(self) -> Observed:
        path = traffic_manager.path_of("s1", "rg", self.route)
        found = self.server.ask("GET", f"{path}?api-version=2022-04-01")
        return traffic_manager.observed_from(self.route, traffic_manager.seen_from(path, found))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return traffic_manager.translate(self.route, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        path = change.payload.seen.path
        self.server.ask("PATCH", f"{path}?api-version=2022-04-01", dict(change.payload.body))

    def served(self) -> Mapping[str, int]:
        return self.server.weights(self.route.name)


class CloudflareBench(Bench):
    kind = "cloudflare"
    disable_pools = False
    pools = f"/accounts/{ACCOUNT}/load_balancers/pools"

    def begin(self) -> dict[str, Any]:
        self.server = LocalCloudflare()
        self.path = f"/zones/{ZONE_ID}/load_balancers/{self.server.add('chat.acme.example', dict.fromkeys(ZONES, 1))}"
        return {"types": (), "settings": {"pools": {z: pool_id(z) for z in ZONES}, "disable_pools": self.disable_pools}}

    def read(self) -> Observed:
        found, pools = (self.server.ask("GET", BASE + p)["result"] for p in (self.path, self.pools))
        return cloudflare.observed_from(self.route, cloudflare.seen_from(self.path, found, pools))

    def translate(self, desired: Desired, observed: Observed, seq: int) -> Change:
        return cloudflare.translate(self.route, self.pools, desired, observed, fence(1, seq))

    def carry_out(self, change: Change) -> None:
        for call in change.payload.calls:
            self.server.ask("PATCH", BASE + call.path, dict(call.body))
            assert any(self.served().values()), "nothing is served in between"

    def served(self) -> Mapping[str, int]:
        return self.server.percents(self.route.name)


class CloudflareDisablingBench(CloudflareBench):
    disable_pools = True


BENCHES = (
    WebhookBench,
    GatewayBench,
    CloudDnsBench,
    ComputeBench,
    TrafficManagerBench,
    CloudflareBench,
    CloudflareDisablingBench,
)


@pytest.mark.parametrize("make", BENCHES, ids=lambda b: b.__name__)
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
        shares = {e: p / sum(drawn) for e, p in zip(endpoints, drawn, strict=True)}
        stale = bench.read()
        desired = plainly(bench.route, shares, fair, bench.caps, stale.weights)
        change = bench.translate(desired, stale, seq)
        assert change == bench.translate(desired, stale, seq), "the same again"
        if not change.nothing:
            bench.carry_out(change)
        served = {z: w for z, w in bench.served().items() if z in desired.weights}
        assert {z: served.get(z, 0) for z in ZONES} == desired.weights, "weight by weight, zeros among them"
        if bench.caps.compare_and_set and not change.nothing:
            with pytest.raises(HttpError, match=r"^(409|412) "):
                bench.carry_out(change)
        after = bench.read()
        assert after.weights == desired.weights
        assert bench.translate(desired, after, seq).nothing, "idempotent"
        if not bench.caps.minimum:
            assert_close(bench, desired, shares)
