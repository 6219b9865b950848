"""Scenario files -> `Scenario`, or every problem at once with its place and a hint (`ConfigError`, as for a config)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steerd import config
from steerd.config.endpoints import read_text
from steerd.config.nodes import Node, compose
from steerd.config.problems import ConfigError, Mark, Problems, quote
from steerd.config.specs import BAD
from steerd.config.tables import Section
from steerd.model.fleet import Fleet
from steerd.sim.expect_lines import ExpectLines
from steerd.sim.fault_lines import FaultLines
from steerd.sim.layout import SCENARIO
from steerd.sim.scenario import Fault, Scenario

__all__ = ["load_scenario", "parse_faults"]


def load_scenario(path: Path, fleet: Fleet | None = None) -> Scenario:
    """The scenario at `path`, on its own config or on `fleet`. Raises `ConfigError` with every problem."""
    problems = Problems()
    text = read_text(path, Mark(str(path), 1, 1), problems)
    problems.raise_if_any()
    assert text is not None
    node = compose(text, str(path), problems)
    section = SCENARIO.read(node, problems) if node is not None else BAD
    problems.raise_if_any()
    assert isinstance(section, Section)
    if fleet is None:
        fleet = _fleet(path.parent / section.get("config"), section.mark("config"), problems)
        problems.raise_if_any()
        assert fleet is not None
    duration_s = section.get("duration")
    faults_in = FaultLines(fleet, duration_s, lambda n, mark: _fleet(path.parent / n, mark, problems), problems)
    expect_in = ExpectLines(fleet, duration_s, problems)
    faults = tuple(f for n in section.get("faults", ()) if (f := faults_in.read(n)) is not None)
    expect = tuple(e for n in section.get("expect", ()) if (e := expect_in.read(n)) is not None)
    problems.raise_if_any()
    return Scenario(
        name=section.get("scenario"),
        about=section.get("about", ""),
        fleet=fleet,
        duration_s=section.get("duration"),
        faults=faults,
        expect=expect,
        seed=section.get("seed", 1),
        source=str(path),
    )


def parse_faults(lines: list[str], fleet: Fleet, duration_s: float) -> tuple[Fault, ...]:
    """Faults from the command line, each `key=value key=value`. Raises `ConfigError`; the place is `--fault:N:COLUMN`."""
    problems = Problems()
    reader = FaultLines(fleet, duration_s, lambda name, mark: _fleet(Path(name), mark, problems), problems)
    found = []
    for number, line in enumerate(lines, start=1):
        node = _words(line, number, problems)
        fault = reader.read(node) if node is not None else None
        if fault is not None:
            found.append(fault)
    problems.raise_if_any()
    return tuple(found)


def _words(line: str, number: int, problems: Problems) -> Node | None:
    """`at=60s zone=a kind=crash`, as the mapping it stands for; a dot makes a mapping inside (`link.from=agents`)."""
    parts: dict[str, Any] = {}
    column = 1
    for word in line.split():
        key, equals, value = word.partition("=")
        if not equals:
            problems.add(Mark("--fault", number, column), f"{quote(word)} is no KEY=VALUE")
            return None
        outer, dot, inner = key.partition(".")
        if dot:
            parts.setdefault(outer, {})[inner] = value
        else:
            parts[key] = value
        column += len(word) + 1
    text = "\n".join(
        f"{key}: {{{', '.join(f'{k}: {quote(v)}' for k, v in value.items())}}}"
        if isinstance(value, dict)
        else f"{key}: {quote(value)}"
        for key, value in parts.items()
    )
    return compose(text, "--fault", problems)


def _fleet(path: Path, mark: Mark, problems: Problems) -> Fleet | None:
    try:
        return config.load(path)
    except ConfigError as error:
        for problem in error.problems:
            place = Mark(problem.file, problem.line, problem.column)
            problems.add(mark if problem.file == mark.file and problem.line == 1 else place, problem.text)
        return None
