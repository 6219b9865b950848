"""`steerd import` over the API: by the provider's own client, on servers that hold requests against the vendors' models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from steerd import config
from steerd.cli.main import cli
from steerd.model.fleet import Fleet
from steerd.providers import base
from tests.support.aws.identity import give_identity
from tests.support.aws.model import AwsError
from tests.support.aws.route53 import LocalRoute53
from tests.support.aws.sts import LocalSts
from tests.support.cloud.azure import LocalTrafficManager, azure_error
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.google import give_credentials, google_error

ROLE = "arn:aws:iam::123456789012:role/steerd"


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["import", *args])


def made(*args: str) -> Fleet:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return config.parse(result.stdout, "made", Path())


def weights(fleet: Fleet, service: str) -> dict[str, float]:
    return {e.name: e.capacity for e in next(s for s in fleet.services if s.name == service).endpoints}


def row(name: str, key: str, number: int, **policy: Any) -> dict[str, Any]:
    value = [{"Value": f"192.0.2.{number}"}]
    return {"Name": name, "Type": "A", "TTL": 20, "SetIdentifier": key, "ResourceRecords": value, **policy}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRoute53]:
    """Three records to a page."""
    give_identity(monkeypatch)
    server = LocalRoute53()
    server.start()
    server.page = 3
    for n, key in enumerate(("a1", "a2", "a3", "a4"), 1):
        server.put(row("chat.acme.example.", key, n, Weight=n * 10))
    for n, key in enumerate(("b1", "b2"), 11):
        server.put(row("embed.acme.example.", key, n, Weight=10))
    for n, region in enumerate(("eu-west-1", "us-east-1"), 21):
        server.put(row("near.acme.example.", region, n, Region=region))
    server.put(row("geo.acme.example.", "rest", 31, GeoLocation={"ContinentCode": "EU"}))
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", server.url)
    yield server
    server.stop()


def test_a_hosted_zone_over_its_pages(zone: LocalRoute53) -> None:
    result = run("route53", "--hosted-zone", zone.zone_id)
    assert result.exit_code == 0, result.output
    fleet = config.parse(result.stdout, "made", Path())
    assert weights(fleet, "chat") == {"a1": 25.0, "a2": 50.0, "a3": 75.0, "a4": 100.0}
    assert set(weights(fleet, "embed")) == {"b1", "b2"}
    assert set(zone.operations) == {"ListResourceRecordSets"}
    assert len(zone.operations) == -(-len(zone.records) // 3)
    assert fleet.provider_by_name["r53"].settings["hosted_zone"] == zone.zone_id
    said = " ".join(result.stdout.replace("#", " ").split())
    assert "near.acme.example A is routed by latency (eu-west-1: eu-west-1, us-east-1: us-east-1)" in said
    assert "geo.acme.example A is routed by geolocation (rest: EU), which excludes weights: left out" in said
    assert "give each set a weighted name of its own" in said


def test_one_name_of_a_zone_by_a_role(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    sts = LocalSts(ROLE)
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    monkeypatch.delenv("AWS_ENDPOINT_URL_ROUTE_53")
    access = ("--role", ROLE, "--endpoint-url", zone.url)
    fleet = made("route53", "--hosted-zone", zone.zone_id, "--name", "embed.acme.example", *access)
    assert [s.name for s in fleet.services] == ["embed"]
    assert {a.key for a in zone.asked} == {"ASIATESTS0000001"}
    settings = fleet.provider_by_name["r53"].settings
    assert (settings["role"], settings["endpoint_url"]) == (ROLE, zone.url), "it is written the way it was read"
    sts.stop()


@pytest.mark.parametrize("name", ["embed.acme.example.", "EMBED.acme.Example"])
def test_a_name_is_found_in_any_spelling(name: str, zone: LocalRoute53, cloud: LocalCloudDns) -> None:
    fleet = made("route53", "--hosted-zone", zone.zone_id, "--name", name)
    assert [s.name for s in fleet.services] == ["embed"]
    place = ("--project", "acme", "--managed-zone", "main", "--endpoint-url", cloud.url)
    other = name.replace("embed", "plain2").replace("EMBED", "Plain2")
    assert [s.name for s in made("clouddns", *place, "--name", other).services] == ["plain2"]


def test_a_name_that_is_not_there_is_told(zone: LocalRoute53, cloud: LocalCloudDns) -> None:
    place = ("--project", "acme", "--managed-zone", "main", "--endpoint-url", cloud.url)
    for args in (("route53", "--hosted-zone", zone.zone_id), ("clouddns", *place)):
        result = run(*args, "--name", "nobody.acme.example")
        assert result.exit_code == 2
        assert "there is no record nobody.acme.example" in result.output


def test_what_others_wrote_stays_within_its_comment(tmp_path: Path) -> None:
    rows = [row("odd.acme.example.", key, n, Weight=1) for n, key in enumerate(("a1", "a2", "b\nmode: active"), 1)]
    rows += [row("near.acme.example.", f"n{n}", n, Weight=1) for n in (5, 6)]
    keys = ("eu\nmode: active", "us\u2028mode: active\x1b[2J")
    rows += [row("far.acme.example.", key, n, Region="eu-west-1") for n, key in enumerate(keys, 51)]
    path = tmp_path / "zone.json"
    path.write_text(json.dumps({"ResourceRecordSets": rows}))
    result = run("route53", "--from", str(path))
    assert result.exit_code == 0, result.output
    assert config.parse(result.stdout, "made", Path()).mode == "observe"
    assert not [line for line in result.stdout.splitlines() if line.startswith("mode: active")]
    [line] = [line for line in result.stdout.splitlines() if "far.acme.example" in line]
    assert line.startswith(
        "# - far.acme.example A is routed by latency (eu mode: active: eu-west-1, us mode: active [2J:"
    )
    assert "\x1b" not in result.stdout


def test_a_wildcard_is_called_as_a_config_calls_it(zone: LocalRoute53) -> None:
    """Route 53 tells a star as an octal code."""
    for n, key in enumerate(("w1", "w2"), 41):
        zone.put(row("*.wild.acme.example.", key, n, Weight=10))
    fleet = made("route53", "--hosted-zone", zone.zone_id)
    assert fleet.route_by_key["r53/*.wild.acme.example"].types == ("A",)


def test_what_route_53_says_no_to_is_told_with_what_to_do(zone: LocalRoute53) -> None:
    denied = AwsError("AccessDenied", "User is not authorized to perform: route53:ListResourceRecordSets", status=403)
    zone.faults.append(("ListResourceRecordSets", denied))
    result = run("route53", "--hosted-zone", zone.zone_id)
    assert result.exit_code == 1
    assert "let this identity do route53:ListResourceRecordSets" in result.output
    unknown = run("route53", "--hosted-zone", "ZOTHER")
    assert unknown.exit_code == 1
    assert "compare `hosted_zone`" in unknown.output


def test_a_zone_without_end_is_not_read_to_the_end(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "LISTED_MOST", 4)
    result = run("route53", "--hosted-zone", zone.zone_id)
    assert result.exit_code == 1
    assert "more than 4 entries" in result.output
    assert "--name" in result.output
    assert len(zone.operations) == 2, "the page that was too much is the last one"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCloudDns]:
    """Two record sets to a page."""
    server = LocalCloudDns()
    server.start()
    give_credentials(monkeypatch, tmp_path, server)
    items = [{"weight": w, "rrdatas": [f"192.0.2.{n}"]} for n, w in ((1, 3.0), (2, 1.0))]
    server.put({"name": "chat.acme.example.", "type": "A", "ttl": 30, "routingPolicy": {"wrr": {"items": items}}})
    for n in (1, 2, 3):
        addresses = [f"198.51.100.{n}", f"198.51.100.{n + 10}"]
        server.put({"name": f"plain{n}.acme.example.", "type": "A", "ttl": 60, "rrdatas": addresses})
    geo = [{"location": "europe-west1", "rrdatas": ["192.0.2.9"]}]
    server.put({"name": "near.acme.example.", "type": "A", "ttl": 60, "routingPolicy": {"geo": {"items": geo}}})
    yield server
    server.stop()


def test_a_managed_zone_over_its_pages(cloud: LocalCloudDns) -> None:
    place = ("--project", "acme", "--managed-zone", "main", "--endpoint-url", cloud.url)
    result = run("clouddns", *place)
    assert result.exit_code == 0, result.output
    fleet = config.parse(result.stdout, "made", Path())
    assert [s.name for s in fleet.services] == ["chat", "plain1", "plain2", "plain3"]
    assert list(weights(fleet, "chat").values()) == [100.0, 33.3]
    assert cloud.called == ["dns.resourceRecordSets.list"] * 3
    assert "near.acme.example A is routed by geolocation (europe-west1), which excludes weights" in result.stdout
    settings = fleet.provider_by_name["clouddns"].settings
    assert (settings["project"], settings["managed_zone"]) == ("acme", "main")
    assert [s.name for s in made("clouddns", *place, "--name", "plain2.acme.example").services] == ["plain2"]


def test_what_cloud_dns_says_no_to_is_told_with_what_to_do(cloud: LocalCloudDns) -> None:
    cloud.faults.append(("GET", google_error(403, "forbidden", "The caller lacks dns.resourceRecordSets.list")))
    result = run("clouddns", "--project", "acme", "--managed-zone", "main", "--endpoint-url", cloud.url)
    assert result.exit_code == 1
    assert "packaging/gcp/steerd-clouddns.yaml" in result.output
    other = run("clouddns", "--project", "acme", "--managed-zone", "none", "--endpoint-url", cloud.url)
    assert other.exit_code == 1
    assert "compare the names" in other.output


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTrafficManager]:
    """One profile to a page."""
    server = LocalTrafficManager()
    server.start()
    server.give_credentials(monkeypatch)
    server.add("chat", {"eu": 10, "us": 5, "out": 0})
    server.add("embed", {"e1": 1, "e2": 1})
    server.add("old", {"o1": 1, "o2": 1}, method="Performance")
    for name, profile in server.profiles.items():
        profile["id"] = f"/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Network/trafficManagerProfiles/{name}"
    yield server
    server.stop()


def test_the_profiles_of_a_resource_group_over_their_pages(azure: LocalTrafficManager) -> None:
    place = ("--subscription", "s1", "--resource-group", "g1", "--endpoint-url", azure.url)
    result = run("azure-trafficmanager", *place)
    assert result.exit_code == 0, result.output
    fleet = config.parse(result.stdout, "made", Path())
    assert [s.name for s in fleet.services] == ["chat", "embed", "old"]
    assert weights(fleet, "chat")["chat-us"] == 50.0
    assert "old routes by Performance: steerd sets weights" in result.stdout
    assert len([a for a in azure.asked if a.path != "/msi/token"]) == 3
    settings = fleet.provider_by_name["azure"].settings
    assert (settings["subscription"], settings["resource_group"]) == ("s1", "g1")


def test_one_profile_where_nobody_may_list_them(azure: LocalTrafficManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_asked: Any) -> Any:
        raise azure_error(403, "AuthorizationFailed", "does not have authorization over the resource group")

    monkeypatch.setattr(azure, "_listed", denied)
    place = ("--subscription", "s1", "--resource-group", "g1", "--endpoint-url", azure.url)
    result = run("azure-trafficmanager", *place)
    assert result.exit_code == 1
    assert "packaging/azure/steerd-trafficmanager.json" in result.output
    assert [s.name for s in made("azure-trafficmanager", *place, "--name", "embed").services] == ["embed"]


def test_a_host_without_credentials_is_told(monkeypatch: pytest.MonkeyPatch, zone: LocalRoute53) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    result = run("route53", "--hosted-zone", zone.zone_id)
    assert result.exit_code == 1
    assert "aws sts get-caller-identity" in result.output
    assert not zone.asked


def test_a_host_without_the_sdk_is_told_which_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("steerd.providers.registry._found", lambda module: not module.startswith("google"))
    result = run("clouddns", "--project", "acme", "--managed-zone", "main")
    assert result.exit_code == 2
    assert "gcp" in result.output
    path = tmp_path / "zone.json"
    rows = [{"name": "p.acme.example.", "type": "A", "rrdatas": ["192.0.2.8", "192.0.2.9"]}]
    path.write_text(json.dumps(rows))
    assert [s.name for s in made("clouddns", "--from", str(path)).services] == ["p"]
