"""The gateway-api provider against a stand-in of the Kubernetes API that holds the HTTPRoute CRD's schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from steerd.model.route import Route
from steerd.providers import gateway_api
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused
from tests.support.cloud.kubernetes import LocalKubernetes, status
from tests.support.cloud.steer import build, deadline, desired, fence, prepare, route, stands_common_faults, write
from tests.support.tree import ROOT

ALL = {"za": 5, "zb": 3, "zc": 2}


@pytest.fixture
def server() -> Iterator[LocalKubernetes]:
    made = LocalKubernetes()
    made.start()
    made.add("chat", ALL, rules=2)
    yield made
    made.stop()


@pytest.fixture
def provider(server: LocalKubernetes, tmp_path: Path) -> Provider:
    return build("gateway-api", {"kubeconfig": server.kubeconfig(tmp_path)})


def of(**settings: Any) -> Route:
    return replace(route("chat"), settings=settings)


async def test_faults(server: LocalKubernetes, provider: Provider) -> None:
    await stands_common_faults(server, provider, of(), "PATCH")
    await provider.close()


async def test_everything_else_of_the_route_stays(server: LocalKubernetes, provider: Provider) -> None:
    before = server.get("chat")
    change = await write(provider, of(rule=1), {"za": 0, "zb": 7, "zc": 1}, fence(3, 4))
    after = server.get("chat")
    assert server.weights("chat", 1) == {"za": 0, "zb": 7, "zc": 1}
    assert server.weights("chat", 0) == ALL
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["spec"]["parentRefs"] == before["spec"]["parentRefs"]
    assert after["metadata"]["annotations"] == {"steerd/fence.1": change.fence.text}
    assert (await provider.verify(of(rule=1), change, deadline())).in_sync
    await provider.close()


async def test_a_status_written_in_between_is_no_conflict(server: LocalKubernetes, provider: Provider) -> None:
    change = await prepare(provider, of(), {"za": 0, "zb": 1, "zc": 1}, fence())
    server.touch(server.routes["default", "chat"])
    server.faults.append(("PATCH", lambda: server.touch(server.routes["default", "chat"])))  # type: ignore[arg-type]
    await provider.apply(change, deadline())
    assert [a.method for a in server.asked[-4:]] == ["GET", "PATCH", "GET", "PATCH"]
    assert server.weights("chat") == {"za": 0, "zb": 1, "zc": 1}
    await provider.close()


async def test_the_server_itself_refuses_a_writer_paused_before_its_patch(
    server: LocalKubernetes, provider: Provider
) -> None:
    """Read, compared, and paused right before the write: the resourceVersion stops it."""
    change = await prepare(provider, of(), {"za": 1, "zb": 0, "zc": 0}, fence(1, 1))
    server.faults.append(("PATCH", lambda: server.edit("chat", {"za": 0})))
    with pytest.raises(Conflict):
        await provider.apply(change, deadline())
    assert server.weights("chat")["zb"] == 3
    await provider.close()


async def test_a_gateway_that_does_not_take_it_is_not_in_sync(server: LocalKubernetes, provider: Provider) -> None:
    server.accepts = False
    change = await write(provider, of(), {"za": 1, "zb": 1, "zc": 1}, fence())
    found = await provider.verify(of(), change, deadline())
    assert not found.in_sync
    assert "has not told Accepted of this change yet" in found.text
    server.accepts, server.resolved = True, "False"
    server.touch(server.routes["default", "chat"])
    found = await provider.verify(of(), change, deadline())
    assert "ResolvedRefs is False" in found.text
    await provider.close()


async def test_a_target_that_is_no_backend_of_the_rule(server: LocalKubernetes, provider: Provider) -> None:
    server.add("chat", {"za": 1})
    observed = await provider.read(of(), deadline())
    with pytest.raises(Misconfigured) as caught:
        provider.translate(of(), desired(of(), ALL), observed, fence())
    assert "backendRefs" in caught.value.action
    assert not provider.translate(of(), desired(of(), {"za": 2, "zb": 0, "zc": 0}), observed, fence()).nothing
    await provider.close()


async def test_a_rule_that_is_none(provider: Provider) -> None:
    with pytest.raises(Misconfigured, match="has 2 rules"):
        await provider.read(of(rule=2), deadline())
    await provider.close()


async def test_one_service_on_two_ports_is_told_apart(server: LocalKubernetes, provider: Provider) -> None:
    made = server.get("chat")
    refs = made["spec"]["rules"][0]["backendRefs"]
    refs.append({"name": "za", "port": 9000, "weight": 9})
    server.put(made)
    observed = await provider.read(of(), deadline())
    assert observed.weights["za"] == 0
    assert set(observed.foreign) == {"za:8000", "za:9000"}
    refs.append({"name": "za", "port": 9000, "weight": 9})
    server.put({**made, "metadata": {**made["metadata"], "labels": {}}})
    with pytest.raises(Misconfigured, match="lists one backend twice"):
        await provider.read(of(), deadline())
    await provider.close()


async def test_errors_say_what_to_do(server: LocalKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = build("gateway-api", {"kubeconfig": server.kubeconfig(tmp_path, token="wr0ng")})
    with pytest.raises(Misconfigured, match="401") as caught:
        await stranger.read(of(), deadline())
    assert "wr0ng" not in caught.value.text + caught.value.action
    await stranger.close()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for settings in ({}, {"kubeconfig": str(tmp_path / "none.yaml")}):
        with pytest.raises(Misconfigured) as caught:
            await build("gateway-api", settings).open()
        assert "kubeconfig" in caught.value.action


async def test_what_the_cluster_forbids(server: LocalKubernetes, provider: Provider) -> None:
    change = await prepare(provider, of(), {"za": 1, "zb": 1, "zc": 1}, fence())
    server.faults.append(("PATCH", status(422, "Invalid", "a policy says no", "chat")))
    with pytest.raises(Refused, match="a policy says no"):
        await provider.apply(change, deadline())
    server.faults.append(("GET", status(404, "NotFound", "the server could not find the requested resource")))
    with pytest.raises(Misconfigured) as caught:
        await provider.read(of(), deadline())
    assert "CRDs" in caught.value.action
    await provider.close()


async def test_another_fleets_rule_is_left_alone(server: LocalKubernetes, provider: Provider) -> None:
    await write(provider, of(), {"za": 1, "zb": 1, "zc": 1}, fence())
    observed = await provider.read(of(), deadline())
    with pytest.raises(Misconfigured, match="steered by fleet"):
        provider.translate(of(), desired(of(), ALL), observed, replace(fence(9, 9), fleet="other"))
    await provider.close()


async def test_the_role_grants_what_is_called_and_no_more(server: LocalKubernetes, provider: Provider) -> None:
    change = await write(provider, of(), {"za": 1, "zb": 1, "zc": 1}, fence())
    await provider.verify(of(), change, deadline())
    await provider.close()
    called = {a.method.lower() for a in server.asked}
    documents = list(yaml.safe_load_all((ROOT / "packaging" / "kubernetes" / "rbac.yaml").read_text()))
    [role] = [d for d in documents if d["kind"] == "Role"]
    [rule] = role["rules"]
    assert set(rule["verbs"]) == called == set(gateway_api.RIGHTS["httproutes"])
    assert rule["apiGroups"] == ["gateway.networking.k8s.io"]
    assert rule["resources"] == ["httproutes"]
    assert rule["resourceNames"]
    [binding] = [d for d in documents if d["kind"] == "RoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["name"] == "steerd"
