"""Kinds against plain endpoints: the plan, the split of a route and what it realises are the same either way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.core.classes import Shares, carrying, differing, spread
from steerd.core.decide import plan_service
from steerd.core.inputs import inputs_for
from steerd.core.rotation import idle, in_rotation
from steerd.core.shares import Inputs, Mover, Slot, compute
from steerd.core.split import Splitter
from steerd.core.world import World
from steerd.model.plan import Cause, Drain, Phase, Pin
from steerd.model.route import Capabilities, Observed
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet
from tests.support.plain_split import endpoint_shares, plainly, scoped
from tests.support.worlds import world_of

COARSE = Capabilities(weight_max=10, compare_and_set=True, dns=True)
ODD = Capabilities(weight_max=100, minimum=0.004)
SERVERS = Capabilities(membership=True)
CAUSES = st.sampled_from([Cause.DEAD, Cause.DOWN, Cause.GRAY, Cause.OPERATOR])


def drain_of(name: str, kind: Any, cause: Cause, fraction: float) -> Drain:
    by = "ann" if cause is Cause.OPERATOR else "automatic"
    phase = Phase.HELD if fraction >= 1.0 else Phase.DRAINING
    return Drain(
        name=name, kind=kind, cause=cause, by=by, reason="r", since=0.0, service="chat", phase=phase, fraction=fraction
    )


def plain_inputs(world: World, drains: list[Drain]) -> Inputs:
    """What `inputs_for` says, endpoint by endpoint."""
    real = inputs_for(world, "chat", drains)
    factors = world.services["chat"].factors
    endpoints = world.service("chat").endpoints
    region_of, members = world.domains.region_of_zone, world.domains.members
    pins = {
        e: pin.share / len(members("chat", pin.name)) for pin in world.pins.values() for e in members("chat", pin.name)
    }
    return replace(
        real,
        slots=tuple(
            Slot(e.name, e.zone, region_of(e.zone), e.capacity, factors.get(e.name, (1.0, 0.0))[0]) for e in endpoints
        ),
        movers=tuple(Mover(d.key, d.cause, members("chat", d.name), d.fraction, d.force) for d in drains),
        pins=pins,
    )


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_kinds_plan_and_split_as_endpoints_do(data: st.DataObject) -> None:
    """Three plans one after another, so that what a splitter remembers of the last one is put to the test as well."""
    per = data.draw(st.sampled_from(["endpoint", "zone", "region"]))
    caps = data.draw(st.sampled_from([WEIGHTED, MEMBERS, COARSE, ODD, SERVERS]))
    demand = data.draw(st.sampled_from([None, 300.0, 900.0, 1500.0]))
    fleet = make_fleet({"eu": 2, "us": 3}, per_zone=data.draw(st.integers(1, 5)), demand=demand, per=per)
    world = world_of(fleet, {"dns": caps})
    names = [e.name for e in world.service("chat").endpoints]
    state = next(iter(world.steer.routes.values()))
    served: dict[str, int] = {}
    for _ in range(3):
        world.services["chat"].factors = {
            e: (f, 0.0)
            for e, f in data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from([0.5, 0.7]))).items()
        }
        name = data.draw(st.sampled_from([*names, "eua", "us", ""]))
        world.pins = {name: Pin(name=name, share=0.1, by="a", reason="r", since=0.0, until=9.0)} if name else {}
        domains = {"eua": "zone", "usb": "zone", "eu": "region", **dict.fromkeys(names, "endpoint")}
        picked = data.draw(st.lists(st.sampled_from(sorted(domains)), unique=True, max_size=6))
        drains = [
            drain_of(n, domains[n], data.draw(CAUSES), data.draw(st.sampled_from([0.25, 0.6, 0.9, 1.0])))
            for n in picked
        ]
        plain = compute(plain_inputs(world, drains))
        real = compute(inputs_for(world, "chat", drains))
        classes = world.classes("chat")
        shares, normal = spread(classes, real.shares), spread(classes, real.normal)
        assert set(shares) == set(plain.shares)
        for e in names:
            assert abs(shares[e] - plain.shares[e]) < 1e-9
            assert abs(normal[e] - plain.normal[e]) < 1e-9
        assert real.overloaded == plain.overloaded
        assert real.kept == pytest.approx(plain.kept, abs=1e-9)
        members = frozenset(names)
        mine, fair = scoped(shares, members), scoped(normal, members)
        split = world.splitter(state)
        desired = split.desired(shares, normal, dict(served))
        if mine is None or fair is None:
            assert desired is None
            continue
        assert desired == plainly(state.route, mine, fair, caps, served)
        assert split.text(desired) == str([(m.target, m.weight, m.values) for m in desired.members])
        result = replace(real, shares=shares, normal=normal)
        really = split.realised(desired, result)
        expected = endpoint_shares(state.route, caps, desired, result)
        assert set(really) == set(expected)
        assert all(abs(really[e] - expected[e]) < 1e-9 for e in expected)
        fresh = Splitter(state.route, caps, classes)  # reads a state that it did not make member by member
        again = fresh.realised(desired, result)
        assert all(abs(again[e] - expected[e]) < 1e-9 for e in expected)
        counts_agree(world, really, picked)
        served = desired.weights


def counts_agree(world: World, shares: Shares, without: list[str]) -> None:
    """What is counted by kind is what counting endpoints gives."""
    plain = dict(shares)
    assert carrying(shares) == carrying(plain)
    assert len(shares) == len(plain)
    assert idle(world.domains, "chat", shares) == idle(world.domains, "chat", plain)
    for regions in (None, ("eu",)):
        by_kind = in_rotation(world.domains, "chat", shares, set(without), regions)
        assert by_kind == in_rotation(world.domains, "chat", plain, set(without), regions)
    other = {e: s + (0.2 if e.startswith("eua") else 0.0) for e, s in plain.items()}
    moved = Shares(shares.classes, [other[k.members[0]] for k in shares.classes.kinds], {
        e: s for e, s in other.items() if s != other[shares.classes.kind(e).members[0]]
    })  # fmt: skip
    assert differing(shares, moved, 5e-4) == differing(plain, other, 5e-4)


def test_what_did_not_change_stays_the_same_object() -> None:
    """So that comparing a new state with the old one looks at what differs only."""
    world = world_of(make_fleet({"eu": 2, "us": 2}, per_zone=50, demand=None), {"dns": WEIGHTED})
    state = next(iter(world.steer.routes.values()))
    state.observed = Observed({t.key: 255 for t in state.route.targets})
    first = plan_service(world, "chat", [], 0.0).routes[state.route.key]
    assert plan_service(world, "chat", [], 0.0).routes[state.route.key] is first
    one = drain_of("usb-7", "endpoint", Cause.DEAD, 1.0)
    second = plan_service(world, "chat", [one], 0.0).routes[state.route.key]
    assert second.weights["usb-7"] == 0
    kept = [a is b for a, b in zip(first.members, second.members, strict=True)]
    assert sum(a == b for a, b in zip(first.members, second.members, strict=True)) == sum(kept)
