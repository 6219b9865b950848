"""What an on-call person is told: every decision keeps why it was made, and `explain` tells it (invariant 17)."""

from __future__ import annotations

from dataclasses import replace

from steerd.core import effects as fx
from steerd.model.fleet import Agent
from steerd.model.route import Capabilities
from steerd.model.vote import Ballot, Verdict
from tests.core.test_engine import lose, outside, warm
from tests.core.test_engine_edges import ROUTE
from tests.support.bench import Bench
from tests.support.fleets import WEIGHTED, make_fleet

UNHEALTHY = Verdict.UNHEALTHY


def told(bench: Bench, name: str) -> str:
    return "\n".join(bench.engine.explain(name, bench.now)["text"])


def test_a_decision_keeps_its_voices_diagnosis_guards_epoch_and_config() -> None:
    bench = warm(Bench(make_fleet()))
    bench.all_say(UNHEALTHY, ["eua-1", "eua-2"], transport=False, reason="status 500")
    bench.run(5)
    bench.all_say(UNHEALTHY, ["eub-1", "eub-2"], transport=False, reason="status 503")
    lose_one(bench, "usa-1")
    bench.run(5)
    stored = [d for d in bench.store if d is not None]
    first, last = stored[0], stored[-1]
    assert first.why["diagnosis"] == ["zone eua"]
    assert ["eub", "unhealthy", "status 500"] in first.why["voices"]["eua-1"]
    assert first.why["drains"] == ["eua 100% down by automatic: 2 of 2 endpoints down: liveness: status 500"]
    assert (first.epoch, first.config_hash) == (2, "c0ffee")
    assert any(g.startswith("blast-radius: ") for g in last.why["guards"]), last.why["guards"]
    move = bench.engine.explain("eua", bench.now)["moves"][-1]
    assert (move["epoch"], move["config_hash"]) == (2, "c0ffee")
    assert move["why"]["guards"] == last.why["guards"]


def lose_one(bench: Bench, endpoint: str) -> None:
    bench.all_say(UNHEALTHY, [endpoint], outside(bench, "usa"))


def test_a_guard_that_stops_a_move_is_named_where_one_asks() -> None:
    bench = warm(Bench(make_fleet()))
    for zone in ("eua", "eub"):
        bench.all_say(UNHEALTHY, [f"{zone}-1", f"{zone}-2"], transport=False)
        bench.run(5)
    answer = bench.engine.explain("eub", bench.now)
    assert [g["guard"] for g in answer["guards"]] == ["blast-radius"]
    assert "guard blast-radius stops a drain of eub: eua of eu is out already" in told(bench, "eub")
    assert bench.engine.explain("usa", bench.now)["guards"] == []


def test_who_holds_things_is_told() -> None:
    bench = warm(Bench(make_fleet()))
    bench.command("freeze", reason="release")
    assert "frozen by op: release" in told(bench, "eua")


def test_an_endpoint_without_a_quorum_says_that_its_health_is_held() -> None:
    bench = warm(Bench(make_fleet()))
    bench.muted = {a.name for a in bench.fleet.agents if a.zone != "eua"}
    bench.run(30)
    assert "no quorum now (1 of 3 voices): its health is held as it was" in told(bench, "eua-1")


def test_what_is_new_says_when_it_comes_in() -> None:
    bench = warm(Bench(make_fleet(per_zone=1)))
    bench.reload(make_fleet(per_zone=2))
    bench.run(1)
    assert "it starts to come back once it has been healthy" in told(bench, "eua-2")


def test_agents_are_told_by_what_was_heard_of_them() -> None:
    bench = Bench(make_fleet())
    never = bench.engine.explain("probe-eua", bench.now)
    assert "was never heard by this coordinator" in never["text"][0]
    assert never["would_change"]
    bench.deliver(Ballot("probe-eua", 1, 1, True, (), (), None, "another"))
    assert "it runs config another, this coordinator c0ffee" in told(bench, "probe-eua")
    bench.deliver(Ballot("probe-eua", 1, 2, False, (), (), "doubts itself: late", "c0ffee"))
    assert "is abstaining (doubts itself: late)" in told(bench, "probe-eua")
    bench.run(20)
    assert "is absent" in told(bench, "probe-eua")
    samples = bench.engine.explain("eua-1", bench.now)["samples"]
    assert {s["verdict"] for s in samples} == {None}, "nobody said anything of it"


def test_a_vantage_zone_without_endpoints_takes_no_part_in_traffic() -> None:
    made = make_fleet()
    bench = warm(Bench(replace(made, agents=(*made.agents, Agent("far", "far-away")))))
    assert told(bench, "far-away") == "far-away is a zone; it carries no traffic and takes part in no vote"


def test_a_route_tells_edits_trouble_and_what_its_system_lacks() -> None:
    noted = Capabilities(weight_max=255, dns=True, fence_note="no place for a fence here")
    bench = warm(Bench(make_fleet(), noted))
    bench.observe(weights={"eua-1": 7})
    answer = bench.engine.explain(ROUTE, bench.now)
    assert "it is not in sync" in answer["text"][0]
    assert "somebody edited: eua-1 stands at 7" in answer["text"]
    assert "no place for a fence here" in answer["text"]
    assert answer["would_change"] == [f"`steerd restore {ROUTE}` gives it back to steerd"]
    bench.fail = "refused"
    lose(bench, "usa")
    bench.run(1)
    assert "last trouble: told to fail" in told(bench, ROUTE)


def test_what_is_shown_while_a_write_is_on_its_way_is_what_is_served() -> None:
    bench = warm(Bench(make_fleet(), WEIGHTED))
    bench.fail = "unreachable"
    lose(bench, "eua")
    bench.run(2)
    assert bench.share("eua") == 0, "decided"
    endpoints = bench.engine.status(bench.now)["services"]["chat"]["endpoints"]
    assert endpoints["eua-1"]["share"] > 0.08, "not served yet"
    assert not [e for _, e in bench.log if isinstance(e, fx.Verify)]
