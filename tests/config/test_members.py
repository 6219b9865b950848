"""Routes that name their members, or what they change, by settings: each thing has one target and one owner."""

from __future__ import annotations

import pytest

from steerd.config.render import show
from tests.support.configs import GOOD, parse, problems

ROUTE = "      - {provider: dns, name: chat.example.net, type: A, ttl: 30s, per: zone}\n"
PROVIDERS = """\
  lb: {kind: elbv2}
  ga: {kind: global-accelerator, endpoint_group: "arn:g"}
  arc: {kind: route53-arc, cluster: "arn:c"}
  arc2: {kind: route53-arc, cluster: "arn:c", role: "arn:r"}
  shift: {kind: aws-zonal-shift, zone_ids: {eu-a: a1, eu-b: a2}}
  cf: {kind: cloudflare, zone_id: z, account_id: a, token: {env: CF}}
"""
LB = '{provider: lb, name: %s, per: zone, rule: "arn:%s", target_groups: {eu-a: "arn:1", eu-b: "arn:2", us-a: "arn:3"}}'
SECOND = """\
  other:
    class: batch
    stack: vllm
    model: small
    demand: 10
    routing: {mode: active-active}
    endpoints:
      other-a: {zone: eu-a, url: "http://10.1.1.1:8000", address: 203.0.113.11, capacity: 100}
      other-b: {zone: eu-b, url: "http://10.1.2.1:8000", address: 203.0.113.12, capacity: 100}
    routes:
"""


def with_routes(*routes: str, second: str = "") -> str:
    text = GOOD.replace("providers:\n", f"providers:\n{PROVIDERS}")
    text = text.replace(ROUTE, ROUTE + "".join(f"      - {r}\n" for r in routes))
    return text.replace("quorum:", f"{SECOND}      - {second}\nquorum:") if second else text


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("target_groups", LB % ("x", "r")),
        ("endpoints", "{provider: ga, name: x, per: zone, endpoints: {eu-a: 'arn:1', eu-b: 'arn:2', us-a: 'arn:3'}}"),
        ("pools", "{provider: cf, name: x, per: zone, pools: {eu-a: 'arn:1', eu-b: 'arn:2', us-a: 'arn:3'}}"),
        ("controls", "{provider: arc, name: x, per: zone, controls: {eu-a: 'arn:1', eu-b: 'arn:2', us-a: 'arn:3'}}"),
    ],
)
def test_what_a_target_is_called_is_its_value_and_no_other_s(setting: str, text: str) -> None:
    fleet = parse(with_routes(text))
    made = next(r for r in fleet.services[0].routes if r.name == "x")
    assert {t.key: dict(t.values) for t in made.targets}["eu-b"] == {"eu-b": ("arn:2",)}
    assert parse(show(fleet)).services == fleet.services
    found = problems(with_routes(text.replace("arn:2", "arn:1")))
    assert len(found) == 1
    assert "eu-a and eu-b are both 'arn:1'" in found[0].text


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (LB % ("x", "r"), LB.replace(', us-a: "arn:3"', "") % ("y", "r"), "arn:r"),
        (
            "{provider: arc, name: x, per: zone, scope: eu, controls: {eu-a: 'arn:1', eu-b: 'arn:2'}}",
            "{provider: arc2, name: y, per: zone, controls: {eu-a: 'arn:8', eu-b: 'arn:2'}}",
            "arn:2",
        ),
        (
            "{provider: shift, name: x, per: zone, scope: eu, resource: 'arn:l'}",
            "{provider: shift, name: y, per: zone, resource: 'arn:l'}",
            "arn:l",
        ),
    ],
)
def test_two_services_do_not_change_one_thing(one: str, other: str, what: str) -> None:
    found = problems(with_routes(one, second=other))
    assert [f"'{what}' is written by service 'chat' already" in p.text for p in found] == [True], found
    parse(with_routes(one, second=other.replace(what, "arn:else")))


CF = '{provider: cf, name: %s, per: zone, scope: eu, pools: {eu-a: "p1", eu-b: "%s"}%s}'


@pytest.mark.parametrize("switches", [(True, False), (False, True), (True, True), (False, False)])
def test_a_pool_that_is_disabled_is_of_one_route(switches: tuple[bool, bool]) -> None:
    """It would be out for the other's load balancer too, which enables it in turn; weights alone are no matter."""
    one, other = (", disable_pools: true" if on else "" for on in switches)
    first, second = CF % ("x", "p2", one), CF % ("y", "p3", other)
    for found, whose in (
        (problems(with_routes(first, second=second)) if any(switches) else [], "service 'chat'"),
        (problems(with_routes(first, second)) if any(switches) else [], "another route of this service"),
    ):
        assert [f"'p1' is used by {whose} too" in p.text for p in found] == [True] * any(switches), found
    parse(with_routes(first, second=second.replace("p1", "p4") if any(switches) else second))


def test_nor_do_two_routes_of_one_service() -> None:
    found = problems(with_routes(LB % ("x", "r"), LB % ("y", "r")))
    assert ["written by another route of this service already" in p.text for p in found] == [True], found
