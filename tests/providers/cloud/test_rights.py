"""What the credentials may do at Google, Azure and Kubernetes, asked by each API's own question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers import azure_trafficmanager, clouddns, gateway_api
from steerd.providers.azure_trafficmanager.translate import allows
from steerd.providers.base import ChecksRights, Misconfigured, Provider, Refused, Untold
from steerd.providers.gcp_backend.translate import places_of
from tests.support.cloud.azure import LocalTrafficManager
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.google import GoogleServer, give_credentials, google_error
from tests.support.cloud.kubernetes import LocalKubernetes
from tests.support.cloud.steer import build, deadline, route
from tests.support.tree import ROOT

PATCH = "Microsoft.Network/trafficManagerProfiles/write"


async def missing(provider: Provider, *routes: Route) -> Sequence[str]:
    assert isinstance(provider, ChecksRights)
    return await provider.missing_rights(routes, deadline())


def lacking(told: Sequence[str]) -> set[str]:
    return {str(t) for t in told if not isinstance(t, Untold)}


def google(server: GoogleServer, patch: pytest.MonkeyPatch, directory: Path, kind: str, **settings: str) -> Provider:
    server.start()
    give_credentials(patch, directory, server)
    return build(kind, {"project": "acme", "endpoint_url": server.url, **settings})


async def test_clouddns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = LocalCloudDns()
    provider = google(server, monkeypatch, tmp_path, "clouddns", managed_zone="main")
    of = route("chat.acme.example")
    assert await missing(provider, of) == []
    server.lacks = {"dns.changes.create", "dns.resourceRecordSets.delete"}
    assert lacking(await missing(provider, of)) == server.lacks
    server.lacks = set(clouddns.RIGHTS["managedZone"])
    assert lacking(await missing(provider, of)) == server.lacks
    server.faults.append(("POST", google_error(403, "forbidden", "Cloud DNS API has not been used in project")))
    with pytest.raises(Misconfigured):
        await missing(provider, of)
    assert set(server.called) == {"dns.managedZones.testIamPermissions"}
    await provider.close()
    server.stop()


async def test_gcp_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = LocalCompute()
    server.add("chat", {"za": 100, "zb": 100})
    provider = google(server, monkeypatch, tmp_path, "gcp-backend")
    groups = {
        "za": group_url("za"),
        "zb": f"https://www.googleapis.com/compute/v1/{group_url('zb').replace('networkEndpointGroups', 'instanceGroups')}",
        "zc": "projects/acme/regions/europe-west1/networkEndpointGroups/zc",
    }
    of = replace(route("chat"), types=(), settings={"groups": groups})
    told = await missing(provider, of)
    assert lacking(told) == set()
    untold = [t for t in told if isinstance(t, Untold)]
    assert len(untold) == 2
    assert any("regions/europe-west1/networkEndpointGroups/zc" in t for t in untold)
    assert any("compute.globalOperations.get" in t for t in untold), "never said to be there, never said to lack"
    server.lacks = {"compute.backendServices.update", "compute.instanceGroups.use"}
    assert lacking(await missing(provider, of)) == {
        "compute.backendServices.update on projects/acme/global/backendServices/chat",
        "compute.instanceGroups.use on projects/acme/zones/europe-west1-b/instanceGroups/zb",
    }
    assert {c.rpartition(".")[2] for c in server.called} == {"testIamPermissions"}
    await provider.close()
    server.stop()


def test_a_regional_backend_service_is_asked_for_as_one() -> None:
    regional = replace(route("chat"), settings={"region": "europe-west1", "groups": {}})
    [place] = places_of("acme", regional)
    assert place == ("/compute/v1/projects/acme/regions/europe-west1/backendServices/chat", "regionBackendServices")


@pytest.mark.parametrize(
    ("permissions", "granted"),
    [
        ([{"actions": ["*"], "notActions": []}], True),
        ([{"actions": ["Microsoft.Network/trafficManagerProfiles/*"]}], True),
        ([{"actions": ["microsoft.network/TRAFFICMANAGERPROFILES/write"]}], True),
        ([{"actions": ["*/read"]}], False),
        ([{"actions": ["*"], "notActions": ["Microsoft.Network/*/write"]}], False),
        ([{"actions": ["*"], "notActions": ["*/write"]}, {"actions": ["*/write"]}], True),
        ([{"actions": ["Microsoft.Network/trafficManagerProfiles"]}], False),
        ([{"actions": ["Microsoft.Network/trafficManagerProfiles?write"]}], False),
        ([], False),
    ],
)
def test_an_action_is_granted_by_a_role_that_does_not_take_it_out_again(permissions: Any, granted: bool) -> None:
    assert allows(permissions, PATCH) is granted


async def test_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    server = LocalTrafficManager()
    server.start()
    server.give_credentials(monkeypatch)
    settings = {"subscription": "s1", "resource_group": "g1", "endpoint_url": server.url}
    provider = build("azure-trafficmanager", settings)
    of = replace(route("chat"), types=())
    [told] = await missing(provider, of)
    assert isinstance(told, Untold)
    assert "Microsoft.Authorization/permissions/read" in told
    assert "packaging/azure/steerd-check-rights.json" in told
    role = json.loads((ROOT / "packaging" / "azure" / "steerd-check-rights.json").read_text())
    assert role["Actions"] == ["Microsoft.Authorization/permissions/read"]
    steering = json.loads((ROOT / "packaging" / "azure" / "steerd-trafficmanager.json").read_text())
    server.permissions = [{"actions": role["Actions"], "notActions": []}, {"actions": steering["Actions"]}]
    assert await missing(provider, of) == [], "the second page holds it"
    server.permissions[1] = {"actions": ["*/read"]}
    assert lacking(await missing(provider, of)) == {f"{PATCH} on chat"}
    server.permissions = []
    assert lacking(await missing(provider, of)) == {f"{r} on chat" for r in azure_trafficmanager.RIGHTS["profile"]}
    assert {a.method for a in server.asked} == {"GET"}
    await provider.close()
    server.stop()


async def test_a_next_page_elsewhere_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes with the question."""
    server, elsewhere = LocalTrafficManager(), LocalTrafficManager()
    for each in (server, elsewhere):
        each.start()
    server.give_credentials(monkeypatch)
    provider = build("azure-trafficmanager", {"subscription": "s1", "resource_group": "g1", "endpoint_url": server.url})
    page = {"value": [], "nextLink": f"{elsewhere.url}/more"}
    monkeypatch.setattr(server, "_permitted", lambda _asked: page)
    with pytest.raises(Refused, match="elsewhere"):
        await missing(provider, route("chat"))
    assert not elsewhere.asked
    await provider.close()
    for each in (server, elsewhere):
        each.stop()


async def test_kubernetes(tmp_path: Path) -> None:
    server = LocalKubernetes()
    server.start()
    provider = build("gateway-api", {"kubeconfig": server.kubeconfig(tmp_path)})
    of = replace(route("chat"), settings={"namespace": "edge"})
    assert await missing(provider, of) == []
    server.denied = {"patch"}
    assert lacking(await missing(provider, of)) == {
        "patch of gateway.networking.k8s.io/v1/namespaces/edge/httproutes/chat"
    }
    server.denied = {"get", "patch"}
    assert len(lacking(await missing(provider, of))) == len(gateway_api.RIGHTS["httproutes"])
    server.denied = {"review"}
    [told] = await missing(provider, of)
    assert isinstance(told, Untold)
    assert "selfsubjectaccessreviews" in told
    assert {a.method for a in server.asked} == {"POST"}
    await provider.close()
    server.stop()
