"""`steerd import`: what stands in other systems' own files becomes a config that `steerd config check` takes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steerd import config
from steerd.cli.imports import haproxy, records
from steerd.cli.imports.found import Names, Unreadable, slug
from steerd.cli.imports.render import Wishes, render
from steerd.cli.main import cli
from steerd.model.fleet import Fleet
from tests.support.haproxy import HAProxy

CFG = """
global
  stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
  mode http
frontend front
  bind :80
  default_backend chat
backend chat
  balance roundrobin
  server s1 10.0.1.10:8000 weight 100 check
  server s2 10.0.2.10:8000 weight 50 check ssl verify none # "two
  server s3 [2001:db8::1]:8000 check disabled
listen embed
  server e1 emb.internal:9000
"""


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["import", *args], input=stdin)


def whole(text: str) -> Fleet:
    """The config, checked as `steerd config check` does it."""
    return config.parse(text, "made", Path())


def made(*args: str, stdin: str) -> Fleet:
    result = run(*args, "--from", "-", stdin=stdin)
    assert result.exit_code == 0, result.output
    return whole(result.stdout)


def endpoints(fleet: Fleet, service: str) -> dict[str, tuple[str, str, float]]:
    found = next(s for s in fleet.services if s.name == service)
    return {e.name: (e.url, e.zone, e.capacity) for e in found.endpoints}


def test_a_haproxy_cfg() -> None:
    fleet = made(
        "haproxy",
        "--region",
        "eu",
        "--zone",
        "eu-a",
        "--stack",
        "vllm",
        "--model",
        "llama",
        stdin=CFG.replace('"two', "two"),
    )
    assert fleet.mode == "observe"
    assert fleet.provider_by_name["edge"].settings["socket"] == "unix:/run/haproxy/admin.sock"
    assert endpoints(fleet, "chat") == {
        "chat-s1": ("http://10.0.1.10:8000", "eu-a", 100.0),
        "chat-s2": ("https://10.0.2.10:8000", "eu-a", 50.0),
        "chat-s3": ("http://[2001:db8::1]:8000", "eu-a", 1.0),
    }
    route = fleet.route_by_key["edge/chat"]
    assert {t.key: t.server for t in route.targets} == {"chat-s1": "s1", "chat-s2": "s2", "chat-s3": "s3"}
    assert [s.name for s in fleet.services] == ["chat", "embed"]
    assert len(fleet.agents) == 3


@pytest.mark.server("haproxy")
def test_what_a_running_haproxy_has_is_imported_and_read_back(tmp_path: Path) -> None:
    servers = {f"s{n}": (f"127.0.0.1:{9400 + n}", 10 * n) for n in (1, 2)}
    with tempfile.TemporaryDirectory(prefix="ha") as folder, HAProxy(Path(folder), {"chat": servers}):
        output = tmp_path / "steerd.yaml"
        result = run("haproxy", "--from", f"{folder}/haproxy.cfg", "-o", str(output))
        assert result.exit_code == 0, result.output
        assert "2 endpoints of 1 services, in observe mode" in result.output
        tried = CliRunner().invoke(cli, ["providers", "test", "edge", "--config", str(output)])
        assert tried.exit_code == 0, tried.output
        assert "serves chat-s1 10, chat-s2 20" in " ".join(tried.output.split())


def test_an_envoy_bootstrap_tells_its_zones() -> None:
    def lb(host: str, weight: int | None = None) -> dict[str, Any]:
        more = {"load_balancing_weight": weight} if weight else {}
        return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 8443}}}, **more}

    groups = [
        {
            "locality": {"region": "eu-west-1", "zone": "eu-west-1a"},
            "lb_endpoints": [lb("10.0.0.1", 2), lb("10.0.0.2", 4)],
        },
        {"locality": {"region": "us", "zone": "us"}, "lb_endpoints": [lb("2001:db8::2")]},
    ]
    cluster = {"name": "chat", "transport_socket": {"name": "tls"}, "load_assignment": {"endpoints": groups}}
    fleet = made("envoy", stdin=json.dumps({"static_resources": {"clusters": [cluster]}}))
    assert endpoints(fleet, "chat") == {
        "chat-10.0.0.1-8443": ("https://10.0.0.1:8443", "eu-west-1a", 50.0),
        "chat-10.0.0.2-8443": ("https://10.0.0.2:8443", "eu-west-1a", 100.0),
        "chat-2001-db8-2-8443": ("https://[2001:db8::2]:8443", "us-zone", 25.0),
    }
    dump = {
        "configs": [
            {"dynamic_active_clusters": [{"cluster": {"name": "chat", "type": "EDS", "eds_cluster_config": {}}}]},
            {"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "chat", "endpoints": groups}}]},
        ]
    }
    assert set(endpoints(made("envoy", stdin=json.dumps(dump)), "chat")) == set(endpoints(fleet, "chat"))


WEIGHTED = {
    "ResourceRecordSets": [
        {"Name": "acme.example.", "Type": "NS", "TTL": 300, "ResourceRecords": [{"Value": "ns1.example."}]},
        *(
            {
                "Name": "chat.acme.example.",
                "Type": kind,
                "SetIdentifier": zone,
                "Weight": weight,
                "TTL": 20,
                "ResourceRecords": [{"Value": value}],
            }
            for zone, weight, values in (
                ("euw1a", 120, ("192.0.2.1", "2001:db8::1")),
                ("use1a", 0, ("192.0.2.2", "2001:db8::2")),
            )
            for kind, value in zip(("A", "AAAA"), values, strict=True)
        ),
        *(
            {
                "Name": "embed.acme.example.",
                "Type": "A",
                "SetIdentifier": f"lb-{region}",
                "Weight": 10,
                "AliasTarget": {
                    "HostedZoneId": "Z32O12XQLNTSW2",
                    "DNSName": f"lb.{region}.elb.example.",
                    "EvaluateTargetHealth": True,
                },
            }
            for region in ("eu-west-1", "us-east-1")
        ),
    ]
}


def test_route_53_records() -> None:
    fleet = made("route53", "--hosted-zone", "Z1", "--url", "https://{address}:8443", stdin=json.dumps(WEIGHTED))
    assert endpoints(fleet, "chat") == {  # called as Route 53 tells its records apart
        "euw1a": ("https://192.0.2.1:8443", "region-1-a", 100.0),
        "use1a": ("https://192.0.2.2:8443", "region-1-a", 100.0),
    }
    chat = fleet.route_by_key["r53/chat.acme.example"]
    assert (chat.types, chat.ttl_s, chat.targets[0].values) == (
        ("A", "AAAA"),
        20.0,
        {"euw1a": ("192.0.2.1", "2001:db8::1")},
    )
    embed = fleet.route_by_key["r53/embed.acme.example"]
    assert embed.types == ("ALIAS",)
    assert embed.settings["alias_zone"] == "Z32O12XQLNTSW2"
    assert {t.key: t.values for t in embed.targets}["lb-us-east-1"] == {"lb-us-east-1": ("lb.us-east-1.elb.example",)}


def test_records_that_steerd_could_not_write_are_left_out_with_a_word() -> None:
    def row(name: str, key: str, **more: Any) -> dict[str, Any]:
        value = f"192.0.2.{len(key)}"
        return {
            "Name": f"{name}.acme.example.",
            "Type": "A",
            "SetIdentifier": key,
            "ResourceRecords": [{"Value": value}],
            **more,
        }

    rows = [
        row("chat", "a", Weight=1),
        row("chat", "bb", Weight=1),
        row("near", "eu", Region="eu-west-1"),
        row("near", "us", Region="us-east-1"),
        row("twin", "a", Weight=1),
        row("twin", "c c", Weight=1),
    ]
    result = run("route53", "--from", "-", stdin=json.dumps({"ResourceRecordSets": rows}))
    assert [s.name for s in whole(result.stdout).services] == ["chat"]
    assert (
        "near.acme.example A is routed by latency (eu: eu-west-1, us: us-east-1), which excludes weights"
        in result.stdout
    )
    assert "twin.acme.example: set identifier 'a' is no free name here" in result.stdout
    geo = [{"name": "g.acme.example.", "type": "A", "routingPolicy": {"geo": {"items": []}}}]
    plain = {"name": "p.acme.example.", "type": "A", "rrdatas": ["192.0.2.8", "192.0.2.9"]}
    assert "is routed by geo" in run("clouddns", "--from", "-", stdin=json.dumps([*geo, plain])).stdout


def test_a_url_pattern_takes_the_host_that_was_found() -> None:
    text = CFG.replace('"two', "two") + "  server e2 /run/e2.sock\n"
    fleet = made("haproxy", "--url", "https://{address}:8443/{name}", stdin=text)
    urls = {name: url for service in ("chat", "embed") for name, (url, _, _) in endpoints(fleet, service).items()}
    assert urls["chat-s1"] == "https://10.0.1.10:8443/chat-s1"
    assert urls["chat-s3"] == "https://[2001:db8::1]:8443/chat-s3"
    assert urls["embed-e1"] == "https://emb.internal:8443/embed-e1"
    assert urls["embed-e2"] == "http://embed-e2.set-me.example"  # a socket has no address


def test_cloud_dns_records() -> None:
    rows = [
        {"name": "acme.example.", "type": "SOA", "ttl": 300, "rrdatas": ["ns. h. 1 2 3 4 5"]},
        {
            "name": "chat.acme.example.",
            "type": "A",
            "ttl": 30,
            "routingPolicy": {
                "wrr": {"items": [{"weight": 3.0, "rrdatas": ["192.0.2.1"]}, {"weight": 1.0, "rrdatas": ["192.0.2.2"]}]}
            },
        },
        {"name": "plain.acme.example.", "type": "A", "ttl": 60, "rrdatas": ["192.0.2.8", "192.0.2.9"]},
        {"name": "one.acme.example.", "type": "A", "ttl": 60, "rrdatas": ["192.0.2.7"]},
    ]
    fleet = made("clouddns", "--managed-zone", "z", "--project", "p", stdin=json.dumps(rows))
    assert [capacity for _, _, capacity in endpoints(fleet, "chat").values()] == [100.0, 33.3]
    assert set(endpoints(fleet, "plain")) == {"plain-192.0.2.8", "plain-192.0.2.9"}
    assert [s.name for s in fleet.services] == ["chat", "plain"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_traffic_manager_profile(nested: bool) -> None:
    def form(**facts: Any) -> dict[str, Any]:
        return {"properties": facts} if nested else facts

    profile = {
        "id": "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Network/trafficManagerProfiles/chat",
        "name": "chat",
        **form(
            trafficRoutingMethod="Performance",
            endpoints=[
                {"name": "eu", **form(target="eu.chat.example", weight=10, endpointLocation="West Europe")},
                {"name": "us", **form(target="us.chat.example", weight=5, endpointLocation="East US")},
            ],
        ),
    }
    result = run("azure-trafficmanager", "--from", "-", stdin=json.dumps(profile))
    assert "routes by Performance: steerd sets weights" in result.stdout
    fleet = whole(result.stdout)
    assert endpoints(fleet, "chat")["chat-us"] == ("https://us.chat.example", "east-us-a", 50.0)
    assert fleet.provider_by_name["azure"].settings["resource_group"] == "rg"


@pytest.mark.parametrize(
    ("args", "text", "words"),
    [
        (("haproxy",), "server x\n", "is this a haproxy.cfg?"),
        (("haproxy",), 'backend a\n  server "x\n', "line 2"),
        (("haproxy",), "defaults\n  mode http\n", "no backend with servers"),
        (("envoy",), "[1, 2]", "no mapping stands in it"),
        (("envoy",), "{a: [", "neither YAML nor JSON"),
        (("route53",), "{}", "aws route53 list-resource-record-sets"),
        (("clouddns",), "not json", "no JSON"),
        (("azure-trafficmanager",), "[]", "no profile"),
        (("route53",), '{"ResourceRecordSets": ["a"]}', "not as expected"),
        (("clouddns",), "[1]", "not as expected"),
    ],
)
def test_what_is_something_else_is_told(args: tuple[str, ...], text: str, words: str) -> None:
    result = run(*args, "--from", "-", stdin=text)
    assert result.exit_code == 2
    assert words in result.output


def test_nothing_is_overwritten_and_a_missing_source_is_told(tmp_path: Path) -> None:
    there = tmp_path / "steerd.yaml"
    there.write_text("mine")
    assert run("haproxy", "--from", "-", "-o", str(there), stdin=CFG.replace('"two', "two")).exit_code == 2
    assert there.read_text() == "mine"
    assert "--from FILE" in run("haproxy").output
    assert "--hosted-zone ... (over the API), or --from FILE" in run("route53").output
    assert "--project ... --managed-zone ..." in run("clouddns", "--project", "acme").output
    assert (
        "--role is for reading over the API" in run("route53", "--from", "-", "--role", "arn:aws:iam::1:role/x").output
    )
    assert "No such file" in run("envoy", "--from", str(tmp_path / "none")).output


words_ = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc", "Zs"], exclude_characters="#'\"\\"), min_size=1, max_size=12
)


@given(
    backends=st.lists(
        st.tuples(
            words_, st.lists(st.tuples(words_, st.integers(1, 254), st.integers(0, 256)), min_size=1, max_size=4)
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_names_the_config_is_whole(backends: list[tuple[str, list[tuple[str, int, int]]]]) -> None:
    text = "global\n  stats socket /s level admin\n"
    for number, (name, servers) in enumerate(backends):
        text += f"backend x{name}{number}\n"
        for place, (server, host, weight) in enumerate(servers):
            text += f"  server x{server}{place} 10.{number}.{place}.{host}:80 weight {weight}\n"
    found = haproxy.read(text, Names())
    fleet = whole(render(found, Wishes()))
    assert [len(s.endpoints) for s in fleet.services] == [len(servers) for _, servers in backends]


def test_names_are_ones_that_the_config_takes() -> None:
    names = Names()
    assert [names.take("a", "B c"), names.take("a-b-c"), names.take("***")] == [
        "a-b-c",
        "a-b-c-2",
        "unnamed-unnamed"[:7],
    ]
    assert slug("West Europe.") == "west-europe"


def test_types_that_skew_each_other_are_left_out_with_a_word() -> None:
    rows = [
        {"Name": "x.acme.example.", "Type": "A", "SetIdentifier": "a", "ResourceRecords": [{"Value": "192.0.2.1"}]},
        {"Name": "x.acme.example.", "Type": "CNAME", "SetIdentifier": "b", "ResourceRecords": [{"Value": "y.example"}]},
    ]
    with pytest.raises(Unreadable, match="no name has two"):
        records.route53(json.dumps({"ResourceRecordSets": rows}), Names())
