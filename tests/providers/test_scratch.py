"""`providers test --write`: what each kind may move, on its own validating server, and why others are never moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from steerd.cli.main import cli
from steerd.config.record_values import DNS_KINDS
from steerd.providers import registry
from steerd.providers.scratch import MARKED, scratch_backend, why_not
from tests.support.aws.identity import give_identity
from tests.support.aws.route53 import LocalRoute53
from tests.support.cloud.azure import LocalTrafficManager
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.google import give_credentials
from tests.support.cloud.kubernetes import LocalKubernetes
from tests.support.configs import GOOD
from tests.support.servers import free_port


def tried(folder: Path, provider: str, *args: str) -> Result:
    path = folder / "steerd.yaml"
    path.write_text(
        GOOD.replace("ramp:", "mode: observe\nramp:").replace("providers:", f"providers:\n  it: {provider}")
    )
    return CliRunner().invoke(cli, ["providers", "test", "it", "--config", str(path), *args])


def told(result: Result) -> str:
    return " ".join(result.output.split())


def test_an_httproute_goes_out_and_comes_back(tmp_path: Path) -> None:
    server = LocalKubernetes()
    server.start()
    server.add("scratch", {"a": 3, "b": 0}, namespace="edge")
    server.add("chat-2", {"a": 3, "b": 7})
    provider = f"{{kind: gateway-api, kubeconfig: {server.kubeconfig(tmp_path)}}}"
    result = tried(tmp_path, provider, "--write", "edge/scratch", "--servers", "a,b")
    assert result.exit_code == 0, result.output
    assert "a out, b in: accepted" in told(result)
    refs = server.get("scratch", "edge")["spec"]["rules"][0]["backendRefs"]
    assert {r["name"]: r["weight"] for r in refs} == {"a": 3, "b": 0}, "they end as they began"
    assert len([a for a in server.asked if a.method == "PATCH"]) == 3
    slip = tried(tmp_path, provider, "--write", "chat-2", "--servers", "a,b")
    assert slip.exit_code == 2
    assert "does not say `scratch`" in slip.output
    shared = tried(tmp_path, provider, "--write", "edge/scratch", "--servers", "a,c")
    assert shared.exit_code == 1
    assert "others stand there too (b)" in told(shared)
    assert len([a for a in server.asked if a.method == "PATCH"]) == 3
    server.stop()


def test_a_profile_goes_out_and_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = LocalTrafficManager()
    server.start()
    server.give_credentials(monkeypatch)
    server.add("steerd-scratch", {"eu": 10, "us": 5})
    place = f'subscription: s1, resource_group: g1, endpoint_url: "{server.url}", calls_per_s: 1000'
    provider = f"{{kind: azure-trafficmanager, {place}}}"
    result = tried(tmp_path, provider, "--write", "steerd-scratch", "--servers", "eu,us")
    assert result.exit_code == 0, result.output
    assert "eu out, us in: accepted" in told(result)
    assert server.weights("steerd-scratch") == {"eu": 10, "us": 5}
    used = {"steerd-fence": "v=1 fleet=acme epoch=4 seq=2 plan=p7"}
    server.profiles["steerd-scratch"]["tags"].update(used)
    steered = tried(tmp_path, provider, "--write", "steerd-scratch", "--servers", "eu,us")
    assert steered.exit_code == 1
    assert "traffic is steered by it" in told(steered)
    server.stop()


def test_a_backend_service_goes_out_and_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = LocalCompute()
    server.start()
    give_credentials(monkeypatch, tmp_path, server)
    server.add("scratch", {"one": 100, "two": 40})
    provider = f'{{kind: gcp-backend, project: acme, endpoint_url: "{server.url}", calls_per_s: 1000}}'
    groups = ",".join(group_url(g) for g in ("one", "two"))
    result = tried(tmp_path, provider, "--write", "scratch", "--servers", groups)
    assert result.exit_code == 0, result.output
    assert "a out, b in: accepted" in told(result)
    assert server.percents("scratch") == {"one": 100, "two": 40}
    server.stop()


def test_a_weighted_record_goes_out_and_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_identity(monkeypatch)
    server = LocalRoute53()
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", server.url)
    provider = f"{{kind: route53, hosted_zone: {server.zone_id}, verify: [], calls_per_s: 1000}}"
    result = tried(tmp_path, provider, "--write", "scratch.acme.example")
    assert result.exit_code == 0, result.output
    assert {name for name, _, _ in server.records} == {"scratch.acme.example.", "_steerd.scratch.acme.example."}
    assert "TXT at _steerd.scratch.acme.example → delete both" in told(result)
    six = [{"Value": "2001:db8::7"}]
    server.put({"Name": "scratch6.acme.example.", "Type": "AAAA", "TTL": 30, "ResourceRecords": six})
    used = tried(tmp_path, provider, "--write", "scratch6.acme.example")
    assert used.exit_code == 1
    assert "others stand there too (2001:db8::7)" in told(used)
    server.stop()


def test_what_is_gone_with_the_command_is_not_said_to_stay(tmp_path: Path) -> None:
    provider = f'{{kind: embedded, zone: acme.example, listen: "127.0.0.1:{free_port()}"}}'
    result = tried(tmp_path, provider, "--write", "scratch.acme.example")
    assert result.exit_code == 0, result.output
    assert "steerd-a out, steerd-b in: accepted" in told(result)
    assert "delete both" not in told(result)


@pytest.mark.parametrize(
    ("kind", "name", "servers", "words"),
    [
        ("gateway-api", "edge/chat", ("a", "b"), "does not say"),
        ("gateway-api", "scratch/chat", ("a", "b"), "does not say"),
        ("azure-trafficmanager", "g/scratch", ("a", "b"), "is no name"),
        ("gcp-backend", "scratch", ("a",), "--servers A,B"),
        ("haproxy", "scratch", ("a", "a"), "--servers A,B"),
        ("haproxy", "chat", ("a", "b"), "does not say"),
    ],
)
def test_what_is_no_scratch_is_refused(kind: str, name: str, servers: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scratch_backend("it", kind, name, servers)


def test_where_a_place_goes() -> None:
    assert scratch_backend("it", "gcp-backend", "europe-west1/scratch", ("x", "y")).settings == {
        "region": "europe-west1",
        "groups": {"a": "x", "b": "y"},
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_a_kind_that_is_never_moved_says_why_and_what_was_checked(tmp_path: Path, *, as_json: bool) -> None:
    arn = "arn:aws:globalaccelerator::1:accelerator/a/listener/l/endpoint-group/g"
    more: tuple[Any, ...] = ("--json",) if as_json else ()
    result = tried(tmp_path, f'{{kind: global-accelerator, endpoint_group: "{arn}"}}', "--write", arn, *more)
    assert result.exit_code == 1
    if as_json:
        last = json.loads(result.output)[-1]
        assert (last["step"], last["ok"]) == ("write", False)
    else:
        assert "not tried: an endpoint group carries traffic, and it is named by its ARN alone" in told(result)
        assert "without a write it was checked: open; `mode" in told(result), "no right was asked for"


def test_every_kind_can_be_moved_or_says_why_not() -> None:
    general = why_not("nothing")
    for kind in registry.KINDS:
        movable = kind in DNS_KINDS or kind in MARKED
        assert movable == (why_not(kind) == general), kind
