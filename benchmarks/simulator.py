"""The simulator against real time: virtual seconds per CPU second, per scenario, and a fleet of 100 000 endpoints.

    python -m benchmarks simulator                      # ten scenarios of the two-region fleet, then 10 000 endpoints
    python -m benchmarks.simulator --endpoints 100000   # one large fleet, made in code: it starts, and loses a zone
    python -m benchmarks.simulator --scenario probe-loss-20 --minutes 20 --profile

CPU seconds, because the machine may have other work; a run takes one core.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.large import ZONES, large_fleet, large_yaml
from steerd import config
from steerd.model.fleet import Fleet
from steerd.sim.reading import load_scenario
from steerd.sim.rehearsal import Rehearsal
from steerd.sim.scenario import Fault, Scenario
from tests.sim.locate import shared

SCENARIOS = (
    "cold-start",
    "endpoint-crash",
    "flip-flop-20s",
    "one-way-partition",
    "operator-drain",
    "region-lost",
    "worst-day",
    "zone-power-loss",
    "probe-loss-1",
    "probe-loss-10",
    "probe-loss-20",
)
"""Of the shared catalogue, on its two-region fleet: 12 endpoints, 7 agents, 2 coordinators."""
_LONGEST_S = 1800.0
"""More of the hours under loss tells no more."""
_LARGE = 10_000
_DIES_AT_S, _LARGE_S = 60.0, 180.0
_GOAL = 1000.0
_SHOWN = 35


def run(options: Sequence[str] = ()) -> None:
    """Prints a row for each scenario, and those of a large fleet; or the part that `options` ask for (`--help`)."""
    if options:
        main(options)
        return
    two_regions()
    large(_LARGE)


def two_regions(names: tuple[str, ...] = SCENARIOS, longest_s: float = _LONGEST_S) -> None:
    """A row for each scenario."""
    folder = shared()
    if folder is None:
        print("  skipped: the shared catalogue of scenarios is not near this checkout")
        return
    print(
        f"  {'scenario':<20} {'virtual s':>9} {'CPU s':>7} {'x real time':>11} {'events/CPU s':>12}  (goal: {_GOAL:g} x)"
    )
    for name in names:
        scenario = load_scenario(folder / f"{name}.yaml")
        scenario = replace(scenario, duration_s=min(scenario.duration_s, longest_s))
        began = time.process_time()
        rehearsal = _rehearse(scenario)
        _row(name, scenario.duration_s, time.process_time() - began, rehearsal.kernel.events)


def _row(name: str, virtual_s: float, cpu_s: float, events: int) -> None:
    print(
        f"  {name:<20} {virtual_s:>9.0f} {cpu_s:>7.2f} {virtual_s / cpu_s:>11.0f} {events / cpu_s:>12.0f}", flush=True
    )


def large(endpoints: int, virtual_s: float = _LARGE_S, *, from_yaml: bool = False) -> None:
    """A fleet of `endpoints`: it starts, everything is healthy, and at 60 s one of its nine zones loses power."""
    began, wall = time.process_time(), time.perf_counter()
    fleet = _from_yaml(endpoints) if from_yaml else large_fleet(endpoints)
    read_s = time.process_time() - began
    fault = Fault(_DIES_AT_S, "zone", ZONES[0], "power-loss")
    rehearsal = Rehearsal(Scenario("large", "", fleet, virtual_s, faults=(fault,)), seed=1)
    built_s = time.process_time() - began
    print(
        f"  {endpoints} endpoints x {len(fleet.agents)} agents x {len(fleet.coordinators)} coordinators:"
        f" fleet {'read from YAML' if from_yaml else 'made'} in {read_s:.1f} s, all built in {built_s:.1f} s of CPU",
        flush=True,
    )
    mark = _marks(rehearsal)
    rehearsal.run()
    mark(virtual_s)
    cpu_s = time.process_time() - began
    _row("  all of it", virtual_s, cpu_s, rehearsal.kernel.events)
    recorder = rehearsal.recorder
    lost = recorder.shares[ZONES[0]]
    gone = next((at for at, share in lost if at >= _DIES_AT_S and share <= 0.0), None)
    print(
        f"    {time.perf_counter() - wall:.0f} s of wall time, {_rss_mib()} MiB; {ZONES[0]} served {lost[0][1]:.3f}"
        f" before it died and {lost[-1][1]:.3f} at the end"
        + (f", 0 after {gone - _DIES_AT_S:.1f} s" if gone is not None else "")
        + f"; {len(recorder.writes)} writes, {len(rehearsal.watch.violations)} invariants broken"
        + f", {len(rehearsal.problems)} coordinators died",
        flush=True,
    )


def _marks(rehearsal: Rehearsal) -> Callable[[float], None]:
    """Says where CPU and memory went every 30 virtual seconds."""
    step_s = 30.0
    last = [time.process_time()]

    def mark(now: float) -> None:
        at = time.process_time()
        print(f"    {now:>5.0f} s: {at - last[0]:>7.1f} s of CPU, {_rss_mib()} MiB", flush=True)
        last[0] = at

    def tick() -> None:
        mark(rehearsal.kernel.now)
        rehearsal.kernel.after(step_s, tick)

    rehearsal.kernel.at(step_s, tick)
    return mark


def _from_yaml(endpoints: int) -> Fleet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(large_yaml(endpoints))
        return config.load(path)


def _rehearse(scenario: Scenario) -> Rehearsal:
    rehearsal = Rehearsal(scenario, scenario.seed)
    rehearsal.run()
    return rehearsal


def _rss_mib() -> int:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


@contextmanager
def _profiled(*, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(_SHOWN)


def main(options: Sequence[str]) -> None:
    """One part of it, as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", help="of the shared catalogue; may be given again")
    parser.add_argument("--endpoints", type=int, help="a large fleet of so many")
    parser.add_argument("--minutes", type=float, help="virtual minutes to simulate, at most")
    parser.add_argument("--yaml", action="store_true", help="write the large fleet as YAML and read it")
    parser.add_argument("--profile", action="store_true", help="where the time goes (everything is then 2-3 x slower)")
    asked = parser.parse_args(options)
    with _profiled(wanted=asked.profile):
        if asked.endpoints is None or asked.scenario:
            longest_s = asked.minutes * 60.0 if asked.minutes else _LONGEST_S
            two_regions(tuple(asked.scenario or SCENARIOS), longest_s)
        if asked.endpoints is not None:
            large(asked.endpoints, asked.minutes * 60.0 if asked.minutes else _LARGE_S, from_yaml=asked.yaml)


logging.getLogger("steerd").setLevel(logging.CRITICAL + 1)

if __name__ == "__main__":
    main(sys.argv[1:])
