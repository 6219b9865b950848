"""Run a scenario and tell what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steerd.sim.expect import Failure, judge
from steerd.sim.kinds import PLACES
from steerd.sim.recorder import Recorder
from steerd.sim.rehearsal import Rehearsal
from steerd.sim.scenario import Scenario

__all__ = ["Result", "simulate"]


@dataclass(slots=True)
class Result:
    """What a run showed. `wall_s` is set by whoever measures real time: nothing in this room can."""

    scenario: Scenario
    seed: int
    failures: list[Failure]
    problems: list[str]
    violations: list[dict[str, Any]]
    recorder: Recorder
    events: int
    writes: int
    wall_s: float | None = None
    detected_s: dict[str, float] = field(default_factory=dict)
    drained_s: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not (self.failures or self.problems or self.violations)

    def data(self) -> dict[str, Any]:
        """As `--json` prints it. Two runs with one seed differ in nothing but `wall_s`."""
        return {
            "scenario": self.scenario.name,
            "passed": self.passed,
            "failures": [str(f) for f in self.failures] + self.problems,
            "seed": self.seed,
            "virtual_s": self.scenario.duration_s,
            "wall_s": self.wall_s,
            "events": self.events,
            "writes": self.writes,
            "transitions": {n: self.recorder.transitions[n] for n in sorted(self.recorder.transitions)},
            "detected_s": self.detected_s,
            "drained_s": self.drained_s,
            "invariant_violations": self.violations,
            "timeline": self.recorder.timeline,
        }


def simulate(scenario: Scenario, seed: int | None = None) -> Result:
    """Run `scenario` once. The same seed gives the same result, whatever the machine does."""
    chosen = scenario.seed if seed is None else seed
    rehearsal = Rehearsal(scenario, chosen)
    rehearsal.run()
    recorder = rehearsal.recorder
    detected, drained = _times(scenario, recorder)
    return Result(
        scenario=scenario,
        seed=chosen,
        failures=judge(scenario, recorder),
        problems=rehearsal.problems,
        violations=rehearsal.watch.violations,
        recorder=recorder,
        events=rehearsal.kernel.events,
        writes=len(recorder.writes),
        detected_s=detected,
        drained_s=drained,
    )


def _times(scenario: Scenario, recorder: Recorder) -> tuple[dict[str, float], dict[str, float]]:
    """Of each place that was hit: seconds until an endpoint in it was no longer healthy, and until its share was 0."""
    detected: dict[str, float] = {}
    drained: dict[str, float] = {}
    fleet = scenario.fleet
    for fault in scenario.faults:
        if fault.on not in PLACES or fault.kind == "version" or fault.target in detected:
            continue
        members = [
            e.name
            for e in fleet.endpoint_by_name.values()
            if fault.target in (e.name, e.zone, fleet.vantage_region(e.zone), e.service)
        ]
        bad = [
            at
            for name in members
            for at, word in recorder.health.get(name, [])
            if at >= fault.at and word in ("saturated", "degraded", "down")
        ]
        if bad:
            detected[fault.target] = round(min(bad) - fault.at, 3)
        out = [at for at, share in recorder.shares.get(fault.target, []) if at >= fault.at and share <= 1e-9]
        if out:
            drained[fault.target] = round(min(out) - fault.at, 3)
    return detected, drained
