"""Words for whoever is on call: why a decision was made, who pinned what, what to do next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.model.fleet import Check, Demand
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def up(b: Bench) -> Bench:
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def why(b: Bench) -> str:
    return str(b.records("decision")[-1].data["why"])


def test_a_decision_is_told_by_what_made_it() -> None:
    b = up(Bench(make_fleet()))
    b.command("pin", "eua", share=0.4, reason="canary", by="alice")
    b.run(2)
    assert why(b) == "eua is pinned to 40.0% by alice: canary"
    b.command("unpin", "eua")
    b.run(2)
    assert why(b) == "eua is no longer pinned"
    b.command("drain", "eub", reason="kernel", now=True, by="bob")
    b.run(2)
    assert why(b) == "held eub 100% out (operator, bob): kernel"
    b.command("pin", "usa", share=0.1, reason="test", by="alice")
    b.run(2)
    assert why(b) == "usa is pinned to 10.0% by alice: test"
    b.command("unpin", "usa")
    b.command("restore", "eub", now=True)
    b.run(2)
    assert why(b) == "everything is back in service"
    b.observe(weights={t: 255 if t != "eua-1" else 1 for t in b.fleet.endpoint_by_name})
    b.command("restore", "eua-1")
    b.run(2)
    assert "edit" in why(b)
    service = replace(b.fleet.services[0], endpoints=b.fleet.services[0].endpoints[1:], demand=Demand(value=500.0))
    b.reload(replace(b.fleet, services=(service,), config_hash="other"))
    b.run(2)
    assert why(b) == "the config of chat changed"


def test_the_pin_veto_names_the_pin_that_holds_and_nobody_elses() -> None:
    b = up(Bench(make_fleet()))
    b.command("pin", "eua", share=0.1, reason="canary", by="alice", for_s=5400.0)
    b.command("pin", "usa", share=0.1, reason="x", by="bob")
    b.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2"])
    b.run(10)
    text = next(v.text for v in b.engine.world.services["chat"].vetoes if v.guard == "pin")
    assert text == "eua is pinned to 10.0% by alice (canary), for less than 2 h more"


def test_while_frozen_explain_says_how_to_thaw() -> None:
    b = up(Bench(make_fleet()))
    b.command("freeze", reason="audit")
    b.run(2)
    for name in ("eua", "eua-1", "chat", "eu"):
        change = b.engine.explain(name, b.now)["would_change"]
        assert sum("steerd unfreeze" in line for line in change) == 1


def test_explain_says_what_brings_an_absent_agent_back() -> None:
    b = up(Bench(make_fleet()))
    b.muted = {"probe-eua"}
    b.run(30)
    assert "start or reconnect it" in b.engine.explain("probe-eua", b.now)["would_change"][0]


def test_an_agent_that_never_comes_is_missed_once_the_fleet_had_its_time_to_start() -> None:
    b = Bench(make_fleet())
    b.muted = {"probe-eua"}
    b.lead()
    b.run(50)
    assert "agent-absent" not in b.alerts()
    b.run(20)
    assert "agent-absent" in b.alerts()
    b.muted = set()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    assert "agent-absent" not in b.alerts()


def test_a_start_leaves_agents_the_time_for_a_first_full_answer_before_it_cries() -> None:
    b = Bench(make_fleet())
    b.lead()
    b.run(14)
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    assert not [e for _, e in b.log if getattr(getattr(e, "alert", None), "kind", "") == "quorum-lost"]
    b.muted = {a.name for a in b.fleet.agents}
    b.run(15 + 5 + 3)  # votes age for 15 s; once heard, 5 s are enough
    assert "quorum-lost" in b.alerts()


def test_a_slow_check_may_take_its_time_at_a_start() -> None:
    checks = (
        Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0),
        Check("readiness", Layer.READINESS, "http", 20.0, 2.0),
        Check("user_path", Layer.USER_PATH, "chat", 300.0, 2.0),
    )
    b = Bench(make_fleet(checks=checks))
    b.lead()
    b.run(60)
    assert "quorum-lost" not in b.alerts()
    b.run(10)
    assert "quorum-lost" in b.alerts(), "three looks at what must be good, not at what agents take turns at"


@pytest.mark.parametrize(("second", "label"), [("dependency:db", "dependency"), ("dependency:queue", "unexplained")])
def test_the_global_label_dependency_means_one_and_the_same(second: str, label: str) -> None:
    b = up(Bench(make_fleet()))
    eu = [e for e in b.fleet.endpoint_by_name if e.startswith("eu")]
    us = [e for e in b.fleet.endpoint_by_name if e.startswith("us")]
    b.all_say(Verdict.DEGRADED, eu, layer=Layer.DEPENDENCY, check="dependency:db")
    b.all_say(Verdict.DEGRADED, us, layer=Layer.DEPENDENCY, check=second)
    b.run(5)
    diagnosis = b.engine.world.diagnoser.services["chat"].current[0]
    assert (diagnosis.kind.value, diagnosis.label) == ("global", label)


@pytest.mark.parametrize("demand", [None, 100.0])
def test_a_service_without_any_capacity_is_left_as_it_is(demand: float | None) -> None:
    b = up(Bench(make_fleet(capacity=0.0, demand=demand)))
    b.all_say(Verdict.DEGRADED, ["eua-1"])
    b.run(30)
    assert b.writes == []
