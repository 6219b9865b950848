"""The translation for any plan: pure, a thousand plans."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Fence, Member, Per, Route, Target
from steerd.providers.envoy.translate import Held, observed_from, parse, response, translate

ENDPOINTS = {"za": ("a1", "a2", "a3"), "zb": ("b1",), "zc": ("c1", "c2")}
ADDRESS = {n: (f"10.0.{i}.1:8000",) for i, n in enumerate(n for ns in ENDPOINTS.values() for n in ns)}
FOREIGN = {"endpoint": {"address": {"socket_address": {"address": "198.51.100.1", "port_value": 80}}}}


def route(per: Per) -> Route:
    names = {n: (n,) for n in ADDRESS} if per == "endpoint" else ENDPOINTS
    targets = tuple(Target(t, ns, {n: ADDRESS[n] for n in ns}) for t, ns in names.items())
    return Route(key="edge/chat", service="chat", provider="edge", name="chat", per=per, targets=targets)


weights = st.sampled_from([0, 0, 1, 3, 2500, 10_000])
plans = st.tuples(
    st.fixed_dictionaries(dict.fromkeys(ADDRESS, weights)), st.sets(st.sampled_from(sorted(ADDRESS)), max_size=3)
)


def desired(where: Route, amounts: dict[str, int], without: set[str]) -> Desired | None:
    members = []
    for target in where.targets:
        carrying = tuple(v for n, vs in target.values.items() for v in vs if n not in without)
        weight = amounts[target.endpoints[0]] if carrying else 0
        members.append(Member(target.key, weight, carrying if weight else ()))
    made = Desired(tuple(members))
    return None if made.empty else made


def hosts(held: Held) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(e, h) for e in held.assignment["endpoints"] for h in e["lb_endpoints"]]


@settings(max_examples=1000, deadline=None)
@given(
    per=st.sampled_from(["endpoint", "zone", "region"]),
    sequence=st.lists(plans, min_size=1, max_size=2),
    foreign=st.sampled_from([None, {"zone": "za"}, {"region": "zz"}, {}]),
)
def test_any_plans_in_a_row(
    per: Per, sequence: list[tuple[dict[str, int], set[str]]], foreign: dict[str, str] | None
) -> None:
    where, held, fence = route(per), None, Fence("acme", 1, 1, "p")
    if foreign is not None:
        entry = {"locality": foreign, "load_balancing_weight": 5, "lb_endpoints": [FOREIGN]}
        held = Held(None, {"cluster_name": "chat", "endpoints": [entry], "policy": {"overprovisioning_factor": 200}})
    for amounts, without in sequence:
        wanted = desired(where, amounts, without)
        if wanted is None:
            continue
        change = translate(where, wanted, observed_from(where, held), fence)
        assert change == translate(where, wanted, observed_from(where, held), fence)
        held = held if change.nothing else change.payload.new
        assert held is not None
        assert parse(json.loads(json.dumps(response([held]))), "chat") == held, "survives the wire"
        told = observed_from(where, held)
        assert told.weights == wanted.weights
        assert {t: set(v) for t, v in told.values.items()} == {
            m.target: set(m.values) for m in wanted.members if m.weight
        }
        assert told.foreign == (("198.51.100.1:80",) if foreign is not None else ())
        check(where, wanted, held, foreign)
        again = translate(where, wanted, told, fence)
        assert again.nothing, "the same again changes nothing"
        assert not translate(where, wanted, told, Fence("acme", 2, 1, "p")).nothing, "a new epoch moves the fence"


def check(where: Route, wanted: Desired, held: Held, foreign: dict[str, str] | None) -> None:
    """Whole: everything is listed once, what serves carries, what is out drains, sums stay in Envoy's range."""
    listed = hosts(held)
    addresses = [json.dumps(h["endpoint"]) for _, h in listed]
    assert len(set(addresses)) == len(addresses) == len(ADDRESS) + (foreign is not None)
    localities = [json.dumps(e.get("locality")) for e in held.assignment["endpoints"]]
    assert len(set(localities)) == len(localities), "Envoy takes each locality once"
    carrying = {v for m in wanted.members if m.weight for v in m.values}
    for entry, host in listed:
        address = host["endpoint"]["address"]["socket_address"]
        out = f"{address['address']}:{address['port_value']}" not in carrying and host != FOREIGN
        assert (host.get("health_status") == "DRAINING") is out
        assert out or entry["load_balancing_weight"] >= 1
    assert sum(e.get("load_balancing_weight", 0) for e in held.assignment["endpoints"]) < 2**32
    # A cluster without locality weights splits by endpoints: right to half a step for each of them.
    ours = [
        (h["metadata"]["filter_metadata"]["steerd"]["target"], h.get("load_balancing_weight", 0))
        for _, h in listed
        if h != FOREIGN
    ]
    scale = 1 if where.per == "endpoint" else 100
    for member in wanted.members:
        total = sum(w for t, w in ours if t == member.target)
        assert abs(total - member.weight * scale) <= len(member.values) / 2
