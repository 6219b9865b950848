"""What fits nowhere stays with whom it is served now: who carries and who does not is known whatever happened in between."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest

from steerd.core import events as ev
from steerd.core.classes import Classes, Shares, gather
from steerd.core.load import most_loaded
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import WEIGHTED, make_fleet

HEALTHY, UNHEALTHY = Verdict.HEALTHY, Verdict.UNHEALTHY
Change = Callable[[Bench], None]


def healthy(topology: dict[str, int], *, per_zone: int, demand: float, per: str = "endpoint") -> Bench:
    bench = Bench(make_fleet(topology, per_zone=per_zone, per=per, demand=demand, outside=3))
    bench.lead(2)
    bench.all_say(HEALTHY)
    bench.run(30)
    return bench


def one_dead_and_part_kept(per: str) -> Bench:
    """eua-1 is confirmed dead; the others of its zone answer with errors, and there is no room for all they carry."""
    bench = healthy({"eu": 3, "us": 1}, per_zone=3, demand=1000.0, per=per)
    bench.all_say(UNHEALTHY, ["eua-1"])
    bench.run(30)
    bench.all_say(UNHEALTHY, ["eua-2", "eua-3"], transport=False, reason="500")
    bench.run(60)
    return bench


def reload(bench: Bench) -> None:
    service = bench.fleet.services[0]
    changed = replace(service, objectives=replace(service.objectives, rto_s=61.0))
    bench.reload(replace(bench.fleet, services=(changed,), config_hash="other"))


def takeover(bench: Bench) -> None:
    bench.deliver_event(ev.LeadershipChanged(False, 0, "other"))
    bench.run(2)
    bench.lead(9, bench.state)


def new_process(bench: Bench) -> None:
    stored = pickle.loads(pickle.dumps(bench.state))
    bench.start_anew()
    bench.lead(9, stored)


@pytest.mark.parametrize("per", ["endpoint", "zone"])
@pytest.mark.parametrize("change", [reload, takeover, new_process])
def test_the_dead_stay_out_of_what_is_kept(change: Change, per: str) -> None:
    bench = one_dead_and_part_kept(per)
    kept = bench.share("eua")
    assert kept > 0.05
    assert bench.share("eua-1") == 0.0
    change(bench)
    bench.run(30)
    assert bench.share("eua-1") == 0.0
    assert bench.share("eua") == pytest.approx(kept, abs=0.01)
    served = bench.served["dns/chat.test"]
    assert not served.weights.get("eua-1")
    assert "203.0.0.1" not in served.values.get("eua", ())


def test_who_stood_apart_and_carries_is_not_idle() -> None:
    """Its kind has no member of its own then, and no share: the endpoint that comes back to it keeps its part."""
    bench = healthy({"eu": 3, "us": 3}, per_zone=1, demand=450.0)
    for verb, name, more in (
        ("drain", "eub", {"now": True, "force": True}),
        ("pin", "eua-1", {"share": 0.18}),
        ("drain", "eu", {"now": True}),
    ):
        bench.command(verb, name, reason="x", **more)
        bench.run(5)
    bench.command("unpin", "eua-1")
    bench.run(5)
    assert bench.share("eub-1") == 0.0
    assert bench.share("eua-1") == pytest.approx(bench.share("euc-1"), abs=0.01)
    assert bench.share("eua-1") > 0.1


@pytest.mark.parametrize("change", [takeover, new_process])
def test_who_was_drained_one_by_one_stays_out_when_the_zone_goes(change: Change) -> None:
    bench = healthy({"eu": 3, "us": 1}, per_zone=5, demand=1560.0)
    drained = ["eua-1", "eua-2", "eua-3"]
    for name in drained:
        bench.command("drain", name, reason="x", now=True, force=True)
    bench.run(30)
    change(bench)
    bench.run(5)
    bench.all_say(UNHEALTHY, [f"eua-{n}" for n in range(1, 6)], transport=False, reason="500")
    bench.run(30)
    assert bench.share("eua") > 0.01
    assert [bench.share(name) for name in drained] == [0.0, 0.0, 0.0]


def test_shares_by_endpoint_are_the_same_by_kind() -> None:
    fleet = make_fleet({"eu": 2}, per_zone=3)
    classes = Classes(fleet.services[0], lambda zone: zone[:2])
    known = {"eua-1": 0.0, "eua-2": 0.3, "eua-3": 0.3, "eub-1": 0.2, "eub-2": 0.2}
    shares = gather(classes, known)
    assert isinstance(shares, Shares)
    assert dict(shares) == {**known, "eub-3": 0.0}
    assert set(shares.own) == {"eua-1", "eub-3"}


def test_force_takes_out_what_a_drain_keeps() -> None:
    bench = healthy({"eu": 3, "us": 3}, per_zone=2, demand=1000.0)
    bench.command("drain", "eu", reason="x", now=True)
    bench.run(10)
    assert bench.share("eu") > 0.1
    bench.command("drain", "eu", reason="x", now=True, force=True)
    bench.run(10)
    assert bench.share("eu") == 0.0
    assert "overload-accepted" in bench.alerts()


def test_a_wider_drain_without_force_brings_nothing_back_that_a_forced_one_took_out() -> None:
    bench = healthy({"eu": 3, "us": 3}, per_zone=1, demand=450.0)
    bench.command("drain", "eub", reason="x", now=True, force=True)
    bench.run(5)
    for name in ("eua-1", "euc-1"):
        bench.command("pin", name, share=0.18, reason="x")
        bench.run(5)
    bench.command("drain", "eu", reason="x", now=True)
    bench.run(5)
    assert bench.share("eub-1") == 0.0


def test_a_changed_guard_is_planned() -> None:
    bench = healthy({"eu": 3, "us": 3}, per_zone=2, demand=1000.0)
    bench.command("drain", "eu", reason="x", now=True)
    bench.run(10)
    before = bench.share("eu")
    bench.reload(replace(bench.fleet, guards=replace(bench.fleet.guards, max_utilization=1.0), config_hash="other"))
    bench.run(30)
    assert bench.share("eu") < before - 0.05


def test_a_provider_that_can_express_less_is_planned() -> None:
    bench = healthy({"eu": 3, "us": 3}, per_zone=2, demand=1000.0)
    assert max(bench.served["dns/chat.test"].weights.values()) > 10
    bench.reload(replace(bench.fleet, config_hash="other"), replace(WEIGHTED, weight_max=10))
    bench.run(30)
    assert max(bench.served["dns/chat.test"].weights.values()) == 10


def test_the_most_loaded_is_not_one_that_is_left_out_by_name() -> None:
    bench = healthy({"eu": 2}, per_zone=2, demand=100.0)
    world = bench.engine.world
    shares = gather(world.classes("chat"), {"eua-1": 0.4, "eua-2": 0.4, "eub-1": 0.1, "eub-2": 0.1})
    assert not shares.own
    for left_out in (["eua-1"], ["eua-1", "eua-2"], ["eua", "eub-1"]):
        plain = most_loaded(world, "chat", dict(shares), without=left_out)
        assert most_loaded(world, "chat", shares, without=left_out) == pytest.approx(plain)
    assert most_loaded(world, "chat", shares, without=["eua-1", "eua-2"]) == pytest.approx(0.1)
