"""Listener rules: the whole action list is replaced, so all of it must survive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from steerd.model.route import Route
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.model import AwsError
from tests.support.aws.steer import build, deadline, desired, fence, prepare, route, write

OIDC = {
    "Type": "authenticate-oidc",
    "Order": 1,
    "AuthenticateOidcConfig": {
        "Issuer": "https://login.example.net",
        "AuthorizationEndpoint": "https://login.example.net/authorize",
        "TokenEndpoint": "https://login.example.net/token",
        "UserInfoEndpoint": "https://login.example.net/userinfo",
        "ClientId": "steerd",
        "ClientSecret": "hunter2",
    },
}
ALL = {"za": 400, "zb": 300, "zc": 300}
WITHOUT_A = {"za": 0, "zb": 500, "zc": 500}


@pytest.fixture
def balancer() -> Iterator[LocalElb]:
    server = LocalElb()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def provider(balancer: LocalElb) -> Any:
    made = build("elbv2", {"endpoint_url": balancer.url, "aws_region": "eu-west-1"})
    yield made
    await made.close()


def of_rule(rule: str, *targets: str) -> Route:
    names = targets or ("za", "zb", "zc")
    groups = {z: group_arn(z) for z in names}
    return route(rule[-4:], dict.fromkeys(names, ()), settings={"rule": rule, "target_groups": groups})


async def test_a_rule_that_signs_people_in_goes_on_doing_so(balancer: LocalElb, provider: Provider) -> None:
    """The secret is never told by the API: without a word about it the rule would lose it."""
    rule = balancer.add_rule(ALL, before=[OIDC])
    await write(provider, of_rule(rule), WITHOUT_A, fence())
    assert balancer.weights(rule) == WITHOUT_A
    kept = balancer.rules[rule]["Actions"][0]["AuthenticateOidcConfig"]
    assert kept["ClientSecret"] == "hunter2"
    forward = balancer.rules[rule]["Actions"][1]["ForwardConfig"]
    assert forward["TargetGroupStickinessConfig"] == {"Enabled": False}


async def test_a_rule_of_one_group_is_told_twice_and_written_once(balancer: LocalElb, provider: Provider) -> None:
    rule = balancer.add_rule({"za": 1})
    balancer.groups.add(group_arn("zb"))
    change = await write(provider, of_rule(rule, "za", "zb"), {"za": 500, "zb": 500}, fence())
    assert balancer.weights(rule) == {"za": 500, "zb": 500}
    assert "zb absent -> 500" in change.summary


async def test_a_default_rule_is_changed_through_its_listener(balancer: LocalElb, provider: Provider) -> None:
    rule = balancer.add_rule(ALL, default=True)
    change = await write(provider, of_rule(rule), WITHOUT_A, fence())
    assert balancer.operations[-1] == "ModifyListener"
    assert balancer.asked[-1].params["ListenerArn"] == balancer.listener
    assert (await provider.verify(of_rule(rule), change, deadline())).in_sync


async def test_a_paused_writer_is_stopped_by_the_comparison(balancer: LocalElb, provider: Provider) -> None:
    rule = balancer.add_rule(ALL)
    paused = await prepare(provider, of_rule(rule), WITHOUT_A, fence(1, 2))
    other = build("elbv2", {"endpoint_url": balancer.url, "aws_region": "eu-west-1"})
    await write(other, of_rule(rule), {**ALL, "za": 1}, fence(2, 1))
    with pytest.raises(Conflict, match="changed since they were read"):
        await provider.apply(paused, deadline())
    assert balancer.weights(rule) == {**ALL, "za": 1}
    await other.close()


async def test_a_writer_paused_inside_the_call_is_detected_and_repaired(balancer: LocalElb, provider: Provider) -> None:
    """No compare-and-set: between the comparison and the write is a gap. What goes wrong in it shows when read back."""
    rule = balancer.add_rule(ALL)
    of = of_rule(rule)
    change = await prepare(provider, of, WITHOUT_A, fence(2, 1))
    stale = {**ALL, "za": 999}
    balancer.faults.append(("DescribeRules", lambda: None))
    await provider.apply(change, deadline())
    for zone, weight in stale.items():
        balancer.set_weight(rule, zone, weight)  # the old writer's call arrives late
    verified = await provider.verify(of, change, deadline())
    assert not verified.in_sync
    assert "za has weight 999, not 0" in verified.text
    repaired = await write(provider, of, WITHOUT_A, fence(2, 2))
    assert (await provider.verify(of, repaired, deadline())).in_sync
    assert "without closing it" in provider.capabilities.fence_note


async def test_what_cannot_be_written_says_what_to_do(balancer: LocalElb, provider: Provider) -> None:
    full = balancer.add_rule({f"t{n}": 1 for n in range(5)})
    with pytest.raises(Refused, match="6 target groups"):
        await prepare(provider, of_rule(full, "za"), {"za": 1}, fence())
    of = replace(of_rule(full, "t0"), targets=route("x").targets)
    with pytest.raises(Misconfigured, match="has no target group") as caught:
        await prepare(provider, of, {"t0": 1, "za": 1}, fence())
    assert "target_groups" in caught.value.action
    missing = of_rule(full.replace("0000000000000000", "00000000000000ff"), "za")
    with pytest.raises(Misconfigured, match="no such rule"):
        await prepare(provider, missing, {"za": 1}, fence())
    with pytest.raises(Misconfigured, match="no ARN of a listener rule"):
        await provider.read(of_rule("arn:aws:something"), deadline())
    with pytest.raises(ValueError, match="not from 0 to 999"):
        await prepare(provider, of_rule(full, "t0"), {"t0": 1000}, fence())


async def test_a_rule_that_does_not_forward(balancer: LocalElb, provider: Provider) -> None:
    rule = balancer.add_rule(ALL)
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
    balancer.rules[rule] = {**balancer.rules[rule], "Actions": [fixed]}
    with pytest.raises(Misconfigured, match="it does fixed-response"):
        await provider.read(of_rule(rule), deadline())


@pytest.mark.parametrize(
    ("code", "kind", "action"),
    [
        ("TargetGroupNotFound", Misconfigured, "target_groups"),
        ("TargetGroupAssociationLimit", Refused, "quota"),
        ("ValidationError", Refused, ""),
    ],
)
async def test_refusals(balancer: LocalElb, provider: Provider, code: str, kind: type[Exception], action: str) -> None:
    rule = balancer.add_rule(ALL)
    balancer.faults.append(("ModifyRule", AwsError(code, "said so")))
    with pytest.raises(kind, match="said so") as caught:
        await write(provider, of_rule(rule), WITHOUT_A, fence())
    assert action in caught.value.action  # type: ignore[attr-defined]  # a ProviderError
    assert balancer.weights(rule) == ALL


def test_the_payload_tells_no_secret() -> None:
    made = build("elbv2", {"aws_region": "eu-west-1"})
    of = of_rule("arn:aws:elasticloadbalancing:eu-west-1:1:listener-rule/app/lb/1/2/3")
    with pytest.raises(ValueError, match="never written"):
        made.translate(of, desired(of, {"za": 0}), None, fence())  # type: ignore[arg-type]  # not looked at
