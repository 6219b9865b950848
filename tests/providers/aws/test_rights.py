"""What an AWS identity may do, by IAM's simulation: with the policies of packaging/ everything, without a statement what lacks."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers import registry
from steerd.providers.aws_rights import source_of
from steerd.providers.base import ChecksRights, Misconfigured, Untold
from tests.support.aws.arc import CLUSTER, control_arn
from tests.support.aws.elb import LocalElb
from tests.support.aws.iam import LocalIam, LocalWho
from tests.support.aws.model import AwsError
from tests.support.aws.server import AwsServer
from tests.support.aws.steer import build, deadline, route
from tests.support.servers import free_port
from tests.support.tree import ROOT

FOLDER = ROOT / "packaging" / "aws"
ROLE = "arn:aws:iam::123456789012:role/steerd"
GROUP = "arn:aws:globalaccelerator::123456789012:accelerator/a1/listener/l1/endpoint-group/g1"
LB = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/lb/1"
RULE = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/lb/1/2/3"


def filled(path: str, **words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Template((FOLDER / path).read_text()).substitute(words))
    return found


ASK = filled("optional/check-rights.json", role=ROLE)


@dataclass
class Case:
    """One kind: its settings, a route, what its policy's words stand for."""

    settings: dict[str, Any]
    routes: Sequence[Route]
    words: dict[str, str]


CASES = {
    "route53": Case(
        {"hosted_zone": "Z0"},
        [route("chat.acme.example", types=("A", "AAAA"))],
        {"hosted_zone": "Z0", "record": "chat.acme.example"},
    ),
    "route53-arc": Case(
        {"cluster": CLUSTER},
        [route("chat", settings={"controls": {z: control_arn(z) for z in ("za", "zb", "zc")}})],
        {"cluster": CLUSTER, "control_panel": control_arn("za").partition("/routingcontrol/")[0]},
    ),
    "aws-zonal-shift": Case(
        {"zone_ids": {"za": "z-1"}, "aws_region": "eu-west-1"},
        [route("lb", settings={"resource": LB})],
        {"resource": LB},
    ),
    "elbv2": Case(
        {"aws_region": "eu-west-1"},
        [route("lb", settings={"rule": RULE, "target_groups": {}})],
        {"listener": RULE.rpartition("/")[0].replace(":listener-rule/", ":listener/"), "listener_rule": RULE},
    ),
    "global-accelerator": Case(
        {"endpoint_group": GROUP},
        [route("ga")],
        {"accelerator": GROUP.partition("/listener/")[0], "endpoint_group": GROUP},
    ),
}


@pytest.fixture(autouse=True)
def iam(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIam]:
    server = LocalIam(ROLE, ASK)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", server.url)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def who(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWho]:
    server = LocalWho("arn:aws:sts::123456789012:assumed-role/steerd/i-0abc")
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    yield server
    server.stop()


@pytest.fixture
def elb(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalElb]:
    """Which rule it is (a listener's default one?) is read from the load balancer itself."""
    server = LocalElb()
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", server.url)
    yield server
    server.stop()


async def missing(kind: str, **settings: Any) -> list[str]:
    case = CASES[kind]
    provider = build(kind, {**case.settings, **settings})
    assert isinstance(provider, ChecksRights)
    try:
        return list(await provider.missing_rights(case.routes, deadline()))
    finally:
        await provider.close()


def test_every_aws_kind_is_asked_for() -> None:
    assert CASES.keys() == {name for name, kind in registry.KINDS.items() if kind.extra == "aws"}


@pytest.mark.usefixtures("elb")
@pytest.mark.parametrize("kind", sorted(CASES))
async def test_the_policy_of_packaging_is_enough_and_each_statement_of_it_is_asked_for(
    kind: str, iam: LocalIam
) -> None:
    policy = filled(f"policies/{kind}.json", **CASES[kind].words)
    if kind == "elbv2":
        policy["Statement"][1]["Action"].remove("elasticloadbalancing:ModifyListener")  # the rule is no default one
    iam.policies.append(policy)
    assert await missing(kind) == []
    for n, statement in enumerate(policy["Statement"]):
        less = copy.deepcopy(policy)
        del less["Statement"][n]
        iam.policies[1] = less
        told = await missing(kind)
        listed = statement["Action"]
        actions = {listed} if isinstance(listed, str) else set(listed)
        assert {t.split(" on ")[0] for t in told} == actions
        assert not any(isinstance(t, Untold) for t in told)


async def test_a_right_to_write_another_record_is_none(iam: LocalIam) -> None:
    iam.policies.append(filled("policies/route53.json", hosted_zone="Z0", record="other.acme.example"))
    assert await missing("route53") == ["route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/Z0"]


ONLY_HERE = {"Effect": "Allow", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.1"}}}
NOT_ELSEWHERE = {"Effect": "Deny", "Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.1"}}}


@pytest.mark.parametrize("more", [ONLY_HERE, NOT_ELSEWHERE])
@pytest.mark.parametrize("kind", ["route53", "route53-arc"])
async def test_what_hangs_on_where_the_call_comes_from_cannot_be_told(
    kind: str, more: dict[str, Any], iam: LocalIam
) -> None:
    policy = filled(f"policies/{kind}.json", **CASES[kind].words)
    if more is ONLY_HERE:
        policy["Statement"] = [
            {**s, **more, "Condition": {**s.get("Condition", {}), **more["Condition"]}} for s in policy["Statement"]
        ]
    else:
        asked = ["route53:*", "route53-recovery-cluster:*", "route53-recovery-control-config:*"]
        policy["Statement"].append({**more, "Action": asked, "Resource": "*"})
    iam.policies.append(policy)
    told = await missing(kind)
    assert told
    assert all(isinstance(t, Untold) and t.endswith(": IAM needs aws:SourceIp to tell") for t in told)


async def test_a_default_rule_takes_the_right_on_its_listener(elb: LocalElb, iam: LocalIam) -> None:
    rule = elb.add_rule({"za": 1, "zb": 1}, default=True)
    of = route("lb", settings={"rule": rule, "target_groups": {}})
    iam.policies.append(filled("policies/elbv2.json", listener="arn:aws:none", listener_rule=rule))
    provider = build("elbv2", {"aws_region": "eu-west-1"})
    assert isinstance(provider, ChecksRights)
    [told] = await provider.missing_rights([of], deadline())
    assert told.startswith("elasticloadbalancing:ModifyListener on arn:aws:elasticloadbalancing:")
    assert ":listener/" in told
    await provider.close()


async def test_without_the_right_to_ask_nothing_is_told_and_what_it_takes_is(iam: LocalIam) -> None:
    iam.policies.clear()
    [told] = await missing("route53")
    assert isinstance(told, Untold)
    assert "iam:SimulatePrincipalPolicy" in told
    assert "packaging/aws/optional/check-rights.json" in told
    assert len(iam.asked) == 1, "one refusal is enough"


def test_the_optional_policy_grants_the_question_and_nothing_else() -> None:
    assert {a for s in ASK["Statement"] for a in [s["Action"]]} == {"iam:SimulatePrincipalPolicy"}
    assert {p.name for p in (FOLDER / "optional").iterdir()} == {"check-rights.json"}


@pytest.mark.parametrize(
    ("arn", "source"),
    [
        ("arn:aws:iam::1:user/ops/steerd", "arn:aws:iam::1:user/ops/steerd"),
        ("arn:aws-cn:sts::1:assumed-role/steerd/i-0abc", "arn:aws-cn:iam::1:role/steerd"),
        ("arn:aws:iam::1:root", None),
        ("arn:aws:sts::1:federated-user/steerd", None),
    ],
)
def test_whose_policies_hold(arn: str, source: str | None) -> None:
    assert source_of(arn) == source


async def test_who_has_no_policies_or_another_arn_is_told_so(iam: LocalIam, who: LocalWho) -> None:
    who.arn = "arn:aws:iam::123456789012:root"
    [told] = await missing("route53")
    assert isinstance(told, Untold)
    assert "root" in told
    who.arn = "arn:aws:sts::123456789012:assumed-role/steerd-with-path/i-0abc"
    iam.policies[0] = filled("optional/check-rights.json", role="*")
    [told] = await missing("route53")
    assert isinstance(told, Untold)
    assert "cannot be found" in told
    assert "`role`" in told


async def test_an_iam_out_of_reach_is_no_lack_and_a_bad_identity_is_an_error(
    iam: LocalIam, who: LocalWho, monkeypatch: pytest.MonkeyPatch
) -> None:
    who.faults.append(("GetCallerIdentity", AwsError("ExpiredToken", "The security token is expired", status=403)))
    with pytest.raises(Misconfigured):
        await missing("route53")
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", f"http://127.0.0.1:{free_port()}")
    [told] = await missing("route53", timeout=2.0)
    assert isinstance(told, Untold)
    assert "IAM cannot be asked" in told
    assert not iam.asked


async def test_the_entry_s_own_endpoint_is_not_iam_s(iam: LocalIam) -> None:
    elsewhere = AwsServer(iam.wire)
    elsewhere.start()
    await missing("route53", endpoint_url=elsewhere.url)
    assert not elsewhere.asked
    assert iam.asked
    elsewhere.stop()
