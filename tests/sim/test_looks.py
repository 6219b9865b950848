"""Looks that are left out because they would pass, and looks that get lost: together every look of the cadence, each once."""

from __future__ import annotations

from dataclasses import replace

from steerd.sim.rehearsal import Rehearsal
from steerd.sim.scenario import Fault, Scenario
from tests.support.fleets import make_fleet

RATE = 0.2
FOR_S = 300.0


def rehearse(*faults: Fault) -> Rehearsal:
    # A loss that is chance and nothing else: no minority of voices moves anything here.
    fleet = replace(make_fleet(), mode="observe")
    rehearsal = Rehearsal(Scenario("looks", "", fleet, FOR_S, faults=faults), seed=1)
    rehearsal.run()
    return rehearsal


def counts(rehearsal: Rehearsal) -> tuple[int, int]:
    """(passed, failed) of all jobs. Each made every look that was due, but for one that may be under way."""
    passed = failed = 0
    for agent in rehearsal.agents.values():
        agent.say_all()  # counts what was left out
        wall = agent._wall()
        for jobs in agent.by_subject.values():
            for job in jobs:
                cadence = job.watch.cadence
                due = cadence.after(wall) - cadence.after(wall - FOR_S)
                assert due - 1 <= job.run.passed + job.run.failed <= due, job.watch.key
                passed += job.run.passed
                failed += job.run.failed
    return passed, failed


def test_every_look_is_made_or_counted_under_loss() -> None:
    loss = Fault(0.0, "link", "link", "loss", args={"rate": RATE, "from": "agents", "to": "endpoints"})
    passed, failed = counts(rehearse(loss))
    looks = passed + failed
    spread = (RATE * (1.0 - RATE) / looks) ** 0.5
    assert abs(failed / looks - RATE) < 5.0 * spread


def test_every_look_is_counted_when_all_is_well() -> None:
    rehearsal = rehearse()
    passed, failed = counts(rehearsal)
    assert failed == 0
    looks_made = 10 * len(rehearsal.agents) * len(rehearsal.targets)
    assert passed > looks_made  # most were left out
    assert rehearsal.kernel.events < 3 * looks_made + 20 * FOR_S * len(rehearsal.agents)


def test_a_job_that_fails_does_not_stay_parked() -> None:
    """A target that dies between two looks is found dead by the very next look of every agent."""
    rehearsal = Rehearsal(
        Scenario("looks", "", make_fleet(), 120.0, faults=(Fault(60.0, "endpoint", "eua-1", "crash"),)), seed=1
    )
    rehearsal.run()
    for agent in rehearsal.agents.values():
        for job in agent.by_subject["eua-1"]:
            cadence, wall = job.watch.cadence, agent._wall()
            assert not job.parked
            assert job.run.failed == cadence.after(wall) - cadence.after(wall - 60.0)
