"""The policies of packaging/aws grant exactly what the providers call, and the Terraform module grants those files."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from string import Template
from typing import Any

import pytest

from steerd.model.route import Observed
from steerd.providers import registry
from tests.support.aws.accelerator import LocalAccelerator
from tests.support.aws.arc import CLUSTER, LocalCluster, LocalControl, control_arn
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.route53 import LocalRoute53
from tests.support.aws.shift import LocalZonalShift
from tests.support.aws.steer import build, deadline, desired, fence, route, write
from tests.support.tree import ROOT

FOLDER = ROOT / "packaging" / "aws"
Actions = set[str]


def actions_of(policy: dict[str, Any]) -> list[str]:
    assert all(s["Effect"] == "Allow" for s in policy["Statement"])
    listed = [s["Action"] for s in policy["Statement"]]
    return sorted(a for given in listed for a in ([given] if isinstance(given, str) else given))


def policy(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "policies" / f"{kind}.json").read_text())
    return found


async def route53_calls() -> Actions:
    server = LocalRoute53()
    server.private = True  # its name servers are not asked
    server.start()
    try:
        provider = build("route53", {"hosted_zone": server.zone_id, "endpoint_url": server.url})
        of = route("chat.acme.example")
        change = await write(provider, of, {"za": 1, "zb": 2, "zc": 0}, fence())
        assert (await provider.verify(of, change, deadline())).in_sync
        await provider.close()
        return {f"route53:{o}" for o in server.operations}
    finally:
        server.stop()


async def arc_calls() -> Actions:
    cluster = LocalCluster().start()
    control = LocalControl(cluster)
    control.start()
    try:
        controls = {z: control_arn(z) for z in ("za", "zb", "zc")}
        cluster.put(dict.fromkeys(controls.values(), "Off"))
        provider = build("route53-arc", {"cluster": CLUSTER, "endpoint_url": control.url})
        of = route("chat", settings={"controls": controls})
        change = await write(provider, of, {"za": 1, "zb": 1, "zc": 0}, fence())
        assert (await provider.verify(of, change, deadline())).in_sync
        await provider.close()
        assert {a.region for a in control.asked} == {"us-west-2"}
        return {f"route53-recovery-cluster:{o}" for o in cluster.operations} | {
            f"route53-recovery-control-config:{o}" for o in control.operations
        }
    finally:
        control.stop()
        cluster.stop()


async def shift_calls() -> Actions:
    server = LocalZonalShift()
    server.start()
    try:
        arn = server.add_resource("lb", ("z-1", "z-2"))
        zones = {"za": "z-1", "zb": "z-2"}
        settings = {"zone_ids": zones, "endpoint_url": server.url, "aws_region": "eu-west-1"}
        provider = build("aws-zonal-shift", settings)
        of = route("lb", {"za": (), "zb": ()}, settings={"resource": arn})
        await write(provider, of, {"za": 0, "zb": 1}, fence())
        await write(provider, of, {"za": 0, "zb": 1}, fence(2))
        await write(provider, of, {"za": 1, "zb": 1}, fence(2, 2))
        await provider.close()
        return {f"arc-zonal-shift:{o}" for o in server.operations}
    finally:
        server.stop()


async def elb_calls() -> Actions:
    server = LocalElb()
    server.start()
    try:
        provider = build("elbv2", {"endpoint_url": server.url, "aws_region": "eu-west-1"})
        for default in (False, True):
            rule = server.add_rule({"za": 1, "zb": 1}, default=default)
            groups = {z: group_arn(z) for z in ("za", "zb")}
            of = route("lb", {"za": (), "zb": ()}, settings={"rule": rule, "target_groups": groups})
            change = await write(provider, of, {"za": 7, "zb": 0}, fence(1, 1 + default))
            assert (await provider.verify(of, change, deadline())).in_sync
        await provider.close()
        return {f"elasticloadbalancing:{o}" for o in server.operations}
    finally:
        server.stop()


async def accelerator_calls() -> Actions:
    server = LocalAccelerator()
    server.start()
    try:
        group = server.add_group({"lb-a": 1, "lb-b": 1})
        provider = build("global-accelerator", {"endpoint_url": server.url, "endpoint_group": group})
        of = route("ga", {"za": (), "zb": ()}, settings={"endpoints": {"za": "lb-a", "zb": "lb-b"}})
        change = await write(provider, of, {"za": 7, "zb": 0}, fence())
        assert (await provider.verify(of, change, deadline())).in_sync
        await provider.close()
        assert {a.region for a in server.asked} == {"us-west-2"}
        return {f"globalaccelerator:{o}" for o in server.operations}
    finally:
        server.stop()


CALLS: dict[str, Callable[[], Awaitable[Actions]]] = {
    "route53": route53_calls,
    "route53-arc": arc_calls,
    "aws-zonal-shift": shift_calls,
    "elbv2": elb_calls,
    "global-accelerator": accelerator_calls,
}


@pytest.mark.parametrize("kind", sorted(CALLS))
async def test_a_policy_grants_what_is_called_and_no_more(kind: str) -> None:
    granted = actions_of(policy(kind))
    assert len(set(granted)) == len(granted)
    assert set(granted) == await CALLS[kind]() == {right for named in registry.RIGHTS[kind].values() for right in named}


def test_every_aws_provider_has_a_policy() -> None:
    files = {p.stem for p in (FOLDER / "policies").iterdir()}
    assert files == {name for name, kind in registry.KINDS.items() if kind.extra == "aws"} == CALLS.keys()


def test_a_record_s_policy_covers_what_a_write_touches_and_nothing_else() -> None:
    """The condition keys are compared with the batch itself, as IAM does: every change must match."""
    conditions = [s["Condition"] for s in policy("route53")["Statement"] if "Condition" in s]
    text = Template(json.dumps(conditions[0]["ForAllValues:StringEquals"])).substitute(record="chat.acme.example")
    allowed = {k.removeprefix("route53:ChangeResourceRecordSets"): set(v) for k, v in json.loads(text).items()}
    provider = build("route53", {"hosted_zone": "Z0"})
    for types in (("A", "AAAA"), ("CNAME",)):
        values = {"za": ("a.example.net",)} if types == ("CNAME",) else {"za": ("192.0.2.1", "2001:db8::1")}
        of = route("chat.acme.example", values, types=types)
        change = provider.translate(of, desired(of, {"za": 1}), Observed({}), fence())
        for made in change.payload.changes:
            record = made["ResourceRecordSet"]
            assert record["Name"].rstrip(".").lower() in allowed["NormalizedRecordNames"]
            assert record["Type"] in allowed["RecordTypes"]
            assert made["Action"] in allowed["Actions"]


def test_the_terraform_module_fills_in_every_policy() -> None:
    main, variables = ((FOLDER / "terraform" / name).read_text() for name in ("main.tf", "variables.tf"))
    declared = set(re.findall(r'^variable "(\w+)"', variables, re.MULTILINE))
    assert declared == set(re.findall(r"\bvar\.(\w+)", main))
    for kind in CALLS:
        call = re.search(rf'templatefile\("\$\{{local.policies\}}/{kind}\.json", \{{(.*?)\}}\)', main, re.DOTALL)
        assert call, kind
        given = dict(re.findall(r"(\w+)\s*=\s*of\.(\w+)", call[1]))
        assert given.keys() == set(re.findall(r"\$\{(\w+)\}", json.dumps(policy(kind))))
        variable = re.search(rf'variable "{kind.replace("-", "_")}".*?object\(\{{(.*?)\}}\)', variables, re.DOTALL)
        assert variable, kind
        assert set(re.findall(r"(\w+) = string", variable[1])) == set(given.values())
    assert main.count("{") == main.count("}")
