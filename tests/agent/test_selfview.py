"""What an agent sees of itself: in its status, in its metrics, and at every coordinator."""

from __future__ import annotations

from steerd.agent.costs import Costs
from steerd.cli.views.status import _cost, _strain
from steerd.core.readings import Readings
from steerd.model.sample import SELF, Reading
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry
from tests.support.agent_rig import Listener, Targets, make_fleet, running
from tests.support.wait import until

NAMES = {
    "looks_per_s", "cpu_per_look_s", "start_delay_s", "loop_lag_s", "in_flight", "waiting", "missed", "descriptors",
    "descriptors_limit", "resolver_failed", "references_failing", "clock_off_s",
}  # fmt: skip


async def test_an_agent_tells_of_itself_everywhere() -> None:
    meters = Meters()
    async with Listener().serve() as listener, Targets().serve() as targets:
        fleet = make_fleet(targets.url, {"co1": listener.url})
        async with running(fleet, AgentTelemetry(meters)) as agent:

            def told() -> dict[str, float]:
                subject = SELF + "a1"
                return {r.name: r.value for f in listener.frames for r in f.readings if r.subject == subject}

            await until(lambda: told().keys() >= NAMES, 10.0)
            own = agent.status()["self"]
            assert own.keys() >= NAMES - {"descriptors_limit"}
            assert own["looks_per_s"] > 0
            assert 0 < own["cpu_per_look_s"] < 1
            assert own["descriptors"] > 3
            await until(lambda: told().get("looks.http", 0.0) > 3, 10.0)
            own = agent.status()["self"]
            assert 0 < own["busy_s.http"] < own["looks.http"] <= agent.status()["looks"]
    text = meters.prometheus()[0].decode()
    for name in ("start_delay_seconds", "cpu_per_look_seconds", "descriptors", "resolver_failures_total"):
        assert f"\nsteerd_agent_{name} " in text
    for name in ("looks_total", "busy_seconds_total"):
        assert f'\nsteerd_probe_{name}{{kind="http"}} ' in text


def test_a_coordinator_keeps_what_an_agent_says_of_itself_and_of_nobody_else() -> None:
    readings = Readings()
    readings.configure(["e1"], ["a1", "a2"])
    readings.fold("a1", [Reading(SELF + "a1", "loop_lag_s", 0.5), Reading(SELF + "a2", "loop_lag_s", 9.0)], 1.0)
    readings.fold("a1", [Reading(SELF + "a1", f"n{n}", 1.0) for n in range(100)], 1.0)
    readings.fold("a1", [Reading(SELF + "a1", "loop_lag_s", float("nan"))], 1.0)
    assert readings.of_itself("a1")["loop_lag_s"] == 0.5
    assert len(readings.of_itself("a1")) == 32
    assert readings.of_itself("a2") == {}
    readings.configure(["e1"], ["a2"])
    assert readings.of_itself("a1") == {}


def test_what_looks_cost_is_told_by_kind_the_dearest_first() -> None:
    costs = Costs()
    for kind, looks, seconds, tokens in (("http", 1000, 2.0, 0), ("openai-chat", 10, 5.0, 420), ("tcp", 0, 0.0, 0)):
        cost = costs.of(kind)
        cost.looks, cost.seconds, cost.tokens = looks, seconds, tokens
    assert costs.of("http") is costs.of("http")
    one = {**costs.values(), "in_flight": 3.0}
    assert "looks.tcp" not in one
    assert _cost([one, one, {}]) == "20 openai-chat of 500.0 ms and 42 tokens, 2000 http of 2.0 ms"
    for number in range(20):
        cost = costs.of(f"kind{number}")
        cost.looks, cost.seconds = 1, 10.0 + number
    for cost in (costs.of(f"kind{number}") for number in range(20)):
        cost.tokens = 1
    assert len(costs.values()) + len(NAMES) <= 32  # an agent says no more of itself than a coordinator keeps


def test_status_names_what_is_strained_and_nothing_else() -> None:
    assert _strain({"start_delay_s": 0.01, "descriptors": 10.0, "descriptors_limit": 1024.0}) == ""
    words = _strain(
        {"start_delay_s": 0.4, "descriptors": 900.0, "descriptors_limit": 1024.0, "references_failing": 1.0}
    )
    assert words == "looks start up to 0.40 s late, 900 of 1024 descriptors open, 1 references do not answer"
    assert _strain({"clock_off_s": 0.0}) == ""
    assert _strain({"clock_off_s": -7200.0}) == "its clock is 7200 s behind: set it"
