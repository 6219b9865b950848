"""The same providers against moto's AWS, which knows the API and is laxer than AWS where the local servers are strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from steerd.providers.base import Provider
from tests.support.aws.steer import build, deadline, fence, prepare, route, write
from tests.support.moto_server import KEYS, Moto

ROLE = "arn:aws:iam::123456789012:role/steerd"
ALL = {"za": 40, "zb": 30, "zc": 30}
WITHOUT_A = {"za": 0, "zb": 50, "zc": 50}
AGAIN = {"za": 41, "zb": 31, "zc": 31}
"""Not ALL: moto refuses to create a record set that it ever created with the very same words, though it was deleted since."""


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def hosted_zone(moto: Moto) -> str:
    made = moto.client("route53").create_hosted_zone(Name="acme.example", CallerReference=str(id(object())))
    return str(made["HostedZone"]["Id"].removeprefix("/hostedzone/"))


async def steered(provider: Provider, of: Any) -> None:
    for seq, weights in enumerate((ALL, WITHOUT_A, AGAIN), 1):
        change = await write(provider, of, weights, fence(1, seq))
        observed = await provider.read(of, deadline())
        assert observed.weights == weights
        verified = await provider.verify(of, change, deadline())
        assert verified.in_sync, verified.text
        assert (await prepare(provider, of, weights, fence(1, seq))).nothing
    await provider.close()


async def test_route53(moto: Moto, hosted_zone: str) -> None:
    provider = build("route53", {"hosted_zone": hosted_zone, "endpoint_url": moto.url, "verify": []})
    await steered(provider, route("chat.acme.example"))
    listed = moto.client("route53").list_resource_record_sets(HostedZoneId=hosted_zone)["ResourceRecordSets"]
    assert {r["SetIdentifier"]: r["Weight"] for r in listed if "SetIdentifier" in r} == AGAIN
    assert [r["ResourceRecords"] for r in listed if r["Type"] == "TXT"] == [[{"Value": f'"{fence(1, 3).text}"'}]]


async def test_route53_by_a_role(moto: Moto, hosted_zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto.url)
    settings = {"hosted_zone": hosted_zone, "endpoint_url": moto.url, "verify": [], "role": ROLE}
    await steered(build("route53", settings), route("roles.acme.example"))


async def test_elbv2(moto: Moto) -> None:
    ec2, elb = moto.client("ec2"), moto.client("elbv2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]][:2]
    balancer = elb.create_load_balancer(Name="lb", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    groups = {
        z: elb.create_target_group(Name=z, Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
        for z in ALL
    }
    forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": g} for g in groups.values()]}}
    listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[forward])
    arn = listener["Listeners"][0]["ListenerArn"]
    conditions = [{"Field": "path-pattern", "Values": ["/v1/*"]}]
    elb.create_rule(ListenerArn=arn, Priority=7, Conditions=conditions, Actions=[forward])
    rules = elb.describe_rules(ListenerArn=arn)["Rules"]
    assert sorted(r["IsDefault"] for r in rules) == [False, True]
    for rule in rules:
        settings = {"rule": rule["RuleArn"], "target_groups": groups}
        of = route(f"lb-{rule['IsDefault']}", dict.fromkeys(ALL, ()), settings=settings)
        provider = build("elbv2", {"endpoint_url": moto.url, "aws_region": KEYS["region"]})
        await steered(provider, of)
    for rule in elb.describe_rules(ListenerArn=arn)["Rules"]:
        listed = rule["Actions"][-1]["ForwardConfig"]["TargetGroups"]
        assert {g["TargetGroupArn"]: g["Weight"] for g in listed} == {groups[z]: w for z, w in AGAIN.items()}
