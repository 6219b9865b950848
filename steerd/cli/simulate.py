"""`steerd simulate`: rehearse faults in virtual time, on the core, agents' logic and coordinators that production runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from steerd import config
from steerd.cli.durations import DURATION
from steerd.cli.errors import BadInput
from steerd.cli.runs import Run, cores, tell
from steerd.model.fleet import Fleet
from steerd.sim.reading import load_scenario, parse_faults
from steerd.sim.replay import replay, told
from steerd.sim.scenario import Scenario

__all__ = ["command"]

_AFTER_THE_LAST_S = 1800.0


def _seeds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """`1-20`, `7`, `1,2,5-9`."""
    del ctx, param
    if value is None:
        return ()
    found: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last - first > 100_000:
            raise click.BadParameter(f"{value!r} names no seeds; write 7, 1-20 or 1,5-9.")
        found.extend(range(first, last + 1))
    return tuple(found)


@click.command(
    "simulate",
    epilog="\b\nExamples:\n  steerd simulate scenarios/zone-power-loss.yaml\n  steerd simulate --seeds 1-20 scenarios/*.yaml\n"
    '  steerd simulate --config my.yaml --fault "at=60s zone=eu-west-1a kind=power-loss"\n'
    "  steerd simulate --replay coordinator.ring",
)
@click.argument("scenarios", nargs=-1, type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0), help="What chance is drawn from (default: the scenario's own, else 1).")
@click.option("--seeds", metavar="A-B", callback=_seeds, help="Run each scenario with each of these seeds.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="A config of yours, in place of the scenario's."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="'KEY=VALUE ...'",
    help="A fault, with the keys of a scenario's; a value with spaces stands in quotes.",
)
@click.option("--duration", type=DURATION, help="How long to simulate (default: 30 min after the last fault's end).")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw shares, health and writes over time."
)
@click.option(
    "--replay", "ring", type=click.Path(path_type=Path), metavar="RING", help="Feed a recorded ring to today's core."
)
@click.option(
    "--timing",
    is_flag=True,
    help="Measure real time: `wall_s` in the JSON is then a number, and differs from run to run.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Simulate N runs at once (default: one per core). What is printed stays the same.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list, one entry a run; `wall_s` is null without --timing."
)
def command(
    *,
    scenarios: tuple[Path, ...],
    seed: int | None,
    seeds: tuple[int, ...],
    config_file: Path | None,
    faults: tuple[str, ...],
    duration: float | None,
    report: Path | None,
    ring: Path | None,
    timing: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Rehearse SCENARIOs: what would steerd do?

    The same seed gives the same result, byte for byte: `wall_s` in the JSON is null, unless --timing asks for the real time. Exit
    code 1 when an expectation or an invariant does not hold, 2 when a scenario or config is wrong.
    """
    if ring is not None:
        _replay(ring, as_json=as_json)
        return
    found = _load(scenarios, config_file, list(faults), duration)
    if seed is not None and seeds:
        raise click.UsageError("--seed and --seeds say the same: give one.")
    chosen: tuple[int | None, ...] = seeds or (seed,)
    runs = [Run(scenario, one, as_json=as_json, timing=timing) for scenario in found for one in chosen]
    if report is not None:
        runs[-1] = replace(runs[-1], picture=True)
    passed = _tell(runs, jobs or cores(), as_json=as_json, report=report)
    if not passed:
        raise SystemExit(1)


def _tell(runs: list[Run], jobs: int, *, as_json: bool, report: Path | None) -> bool:
    """Carries them out and prints what came of each. Whether all passed."""
    results: list[dict[str, Any] | None] = []
    passed = True
    for one in tell(runs, jobs):
        passed = passed and one.passed
        for line in one.lines:
            click.echo(line)
        if as_json:
            results.append(one.data)
        if report is not None and one.picture is not None:
            _write(report, one.picture)
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
    return passed


def _load(
    paths: tuple[Path, ...], config_file: Path | None, faults: list[str], duration_s: float | None
) -> list[Scenario]:
    """Every scenario asked for. Every problem of every file is told at once."""
    problems: list[str] = []
    fleet: Fleet | None = None
    if config_file is not None:
        fleet = _attempt(lambda: config.load(config_file), problems)
    if not paths and config_file is None:
        raise click.UsageError("Name a scenario, or --config FILE with --fault.")
    found: list[Scenario] = []
    if not paths and fleet is not None:
        found = [Scenario(fleet.name, "faults of the command line", fleet, 0.0)]
    if not problems:
        found += [s for p in paths if (s := _attempt(lambda p=p: load_scenario(p, fleet), problems)) is not None]
    if faults and not problems:
        found = [
            s
            for one in found
            if (s := _attempt(lambda one=one: _with_faults(one, faults, duration_s), problems)) is not None
        ]
    if problems:
        raise BadInput("\n".join(dict.fromkeys(problems)))
    return [replace(s, duration_s=duration_s or s.duration_s or _long_enough(s)) for s in found]


def _attempt(load: Any, problems: list[str]) -> Any:
    try:
        return load()
    except config.ConfigError as error:
        problems.extend(str(p) for p in error.problems)
        return None


def _with_faults(scenario: Scenario, faults: list[str], duration_s: float | None) -> Scenario:
    added = parse_faults(faults, scenario.fleet, duration_s or scenario.duration_s or float("inf"))
    return replace(scenario, faults=(*scenario.faults, *added))


def _long_enough(scenario: Scenario) -> float:
    return max([f.until or f.at for f in scenario.faults], default=0.0) + _AFTER_THE_LAST_S


def _replay(ring: Path, *, as_json: bool) -> None:
    try:
        found = replay(ring)
    except (OSError, ValueError) as error:
        raise BadInput(f"{ring}: {error}: name a coordinator's ring file") from error
    if as_json:
        click.echo(json.dumps(found.data(), ensure_ascii=False))
    else:
        for line in told(found):
            click.echo(line)
    if found.differences:
        raise SystemExit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error
