"""The azure-trafficmanager provider against a local Resource Manager that reads with the models of Azure's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers import azure_trafficmanager
from steerd.providers.base import Conflict, Misconfigured, Provider
from tests.support.cloud.azure import LocalTrafficManager, azure_error, check, models
from tests.support.cloud.http import HttpError
from tests.support.cloud.steer import build, deadline, desired, fence, prepare, route, stands_common_faults, write
from tests.support.tree import ROOT

ALL = {"za": 1000, "zb": 600, "zc": 400}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTrafficManager]:
    made = LocalTrafficManager()
    made.start()
    made.add("chat", {"za": 1, "zb": 1, "zc": 0})
    made.give_credentials(monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def provider(server: LocalTrafficManager) -> Provider:
    settings = {"subscription": "s1", "resource_group": "rg", "endpoint_url": server.url}
    return build("azure-trafficmanager", settings)


def of(name: str = "chat", **settings: Any) -> Route:
    return replace(route(name), types=(), settings=settings)


def test_the_check_is_strict() -> None:
    for wrong in ({"colour": 1}, {"properties": {"endpoints": [{"properties": {"weight": "5"}}]}}, {"tags": "x"}):
        with pytest.raises(HttpError, match="400"):
            check(models.Profile, wrong)


async def test_faults(server: LocalTrafficManager, provider: Provider) -> None:
    await stands_common_faults(server, provider, of(), "PATCH")
    assert server.grants == 1, "one token for all calls"
    await provider.close()


async def test_there_is_no_weight_zero_and_everything_else_stays(
    server: LocalTrafficManager, provider: Provider
) -> None:
    change = await write(provider, of(), {"za": 0, "zb": 600, "zc": 400}, fence(3, 4))
    assert server.weights("chat") == {"za": 0, "zb": 600, "zc": 400}
    told = {e["name"]: e["properties"] for e in server.profiles["chat"]["properties"]["endpoints"]}
    assert told["za"]["endpointStatus"] == "Disabled"
    assert told["za"]["weight"] == 1
    assert told["zb"]["target"] == "zb.example.net"
    assert server.profiles["chat"]["tags"] == {"team": "chat", "steerd-fence": change.fence.text}
    assert (await provider.verify(of(), change, deadline())).in_sync
    await provider.close()


async def test_what_changes_by_itself_is_no_conflict(server: LocalTrafficManager, provider: Provider) -> None:
    change = await prepare(provider, of(), ALL, fence())
    for endpoint in server.profiles["chat"]["properties"]["endpoints"]:
        endpoint["properties"]["endpointMonitorStatus"] = "Degraded"
    await provider.apply(change, deadline())
    assert server.weights("chat") == ALL
    await provider.close()


async def test_a_writer_paused_before_its_write_is_noticed_and_repaired(
    server: LocalTrafficManager, provider: Provider
) -> None:
    """There is no compare-and-set: one paused after its comparison gets through, and its write does not go unnoticed."""
    paused = await prepare(provider, of(), {"za": 1, "zb": 0, "zc": 0}, fence(1, 1))
    current = await prepare(provider, of(), ALL, fence(2, 1))
    await provider.apply(current, deadline())
    with pytest.raises(Conflict, match="newer"):
        await provider.apply(paused, deadline())
    server._patch(server.profiles["chat"], dict(paused.payload.body))  # it had compared before
    found = await provider.verify(of(), current, deadline())
    assert not found.in_sync
    assert "the fence there is not ours" in found.text
    repaired = await write(provider, of(), ALL, fence(2, 2))
    assert (await provider.verify(of(), repaired, deadline())).in_sync
    await provider.close()


async def test_a_profile_that_does_not_weigh(server: LocalTrafficManager, provider: Provider) -> None:
    server.add("chat", {"za": 1}, method="Priority")
    with pytest.raises(Misconfigured, match="Priority") as caught:
        await provider.read(of(), deadline())
    assert "Weighted" in caught.value.action
    await provider.close()


async def test_endpoints_by_other_names_and_ones_that_lack(server: LocalTrafficManager, provider: Provider) -> None:
    server.add("chat", {"east": 1, "zb": 1})
    named = of(endpoints={"za": "east"})
    observed = await provider.read(named, deadline())
    assert observed.weights == {"za": 1, "zb": 1, "zc": 0}
    assert observed.ttl_s == 30
    with pytest.raises(Misconfigured) as caught:
        provider.translate(named, desired(named, ALL), observed, fence())
    assert "endpoints" in caught.value.action
    await provider.close()


async def test_a_right_that_lacks(server: LocalTrafficManager, provider: Provider) -> None:
    await provider.read(of(), deadline())  # the token's own GET is over
    server.faults.append(("GET", azure_error(403, "AuthorizationFailed", "does not have authorization")))
    with pytest.raises(Misconfigured) as caught:
        await provider.read(of(), deadline())
    assert "packaging/azure" in caught.value.action
    await provider.close()


async def test_the_role_grants_what_is_called_and_no_more(server: LocalTrafficManager, provider: Provider) -> None:
    await write(provider, of(), ALL, fence())
    await provider.close()
    called = {a.method for a in server.asked if a.path != "/msi/token"}
    kinds = {"GET": "read", "PATCH": "write"}
    role = json.loads((ROOT / "packaging" / "azure" / "steerd-trafficmanager.json").read_text())
    assert set(role["Actions"]) == {f"Microsoft.Network/trafficManagerProfiles/{kinds[m]}" for m in called}
    assert tuple(role["Actions"]) == azure_trafficmanager.RIGHTS["profile"]
    assert not role["DataActions"]
