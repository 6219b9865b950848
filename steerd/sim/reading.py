"""Scenario files -> `Scenario`, or every problem at once with its place and a hint (`ConfigError`, as for a config)."""

from __future__ import annotations

import json
import re
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
from steerd.sim.layout import EXPECT, FAULT, SCENARIO
from steerd.sim.scenario import Expectation, Fault, Scenario

__all__ = ["load_scenario", "parse_faults"]


def load_scenario(path: Path, fleet: Fleet | None = None) -> Scenario:
    """The scenario at `path`, on its own config or on `fleet`. Raises `ConfigError` with every problem."""
    problems = Problems()
    text = read_text(path, Mark(str(path), 1, 1), problems)
    problems.raise_if_any()
    assert text is not None
    node = compose(text, str(path), problems, start="scenario: NAME")
    section = SCENARIO.read(node, problems) if node is not None else BAD
    if section is BAD:
        problems.raise_if_any()
    assert isinstance(section, Section), "whatever else it is, it has a problem"
    if fleet is None and "config" in section:
        fleet = _fleet(path.parent / section.get("config"), section.mark("config"), problems)
    faults, expect = _lines(section, fleet, path.parent, problems)
    problems.raise_if_any()
    assert fleet is not None, "without one there is a problem"
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


def _lines(
    section: Section, fleet: Fleet | None, base: Path, problems: Problems
) -> tuple[tuple[Fault, ...], tuple[Expectation, ...]]:
    """Faults and what is expected; without a fleet, only what is wrong with them whatever it is."""
    duration_s = section.get("duration", float("inf"))
    faults, expect = section.get("faults", ()), section.get("expect", ())
    if fleet is None:
        for node in faults:
            FAULT.read(node, problems)
        for node in expect:
            EXPECT.read(node, problems)
        return (), ()
    fault_lines = FaultLines(fleet, duration_s, lambda name, mark: _fleet(base / name, mark, problems), problems)
    expect_lines = ExpectLines(fleet, duration_s, problems)
    return (
        tuple(f for n in faults if (f := fault_lines.read(n)) is not None),
        tuple(e for n in expect if (e := expect_lines.read(n)) is not None),
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
    """`at=60s zone=a kind=crash`, as the mapping it stands for; a dot makes a mapping inside (`link.from=agents`). A value with
    spaces stands in quotes."""
    parts: dict[str, Any] = {}
    for word in _WORD.finditer(line):
        key, equals, value = word[0].partition("=")
        if not equals:
            problems.add(Mark("--fault", number, word.start() + 1), f"{quote(word[0])} is no KEY=VALUE")
            return None
        if value[:1] in ("'", '"'):
            if len(value) < 2 or value[-1] != value[0]:
                problems.add(
                    Mark("--fault", number, word.start() + 1), f"{quote(word[0])} has a quote that does not end"
                )
                return None
            value = value[1:-1]
        outer, dot, inner = key.partition(".")
        if dot:
            parts.setdefault(outer, {})[inner] = value
        else:
            parts[key] = value
    text = "\n".join(
        f"{key}: {{{', '.join(f'{k}: {_quoted(v)}' for k, v in value.items())}}}"
        if isinstance(value, dict)
        else f"{key}: {_quoted(value)}"
        for key, value in parts.items()
    )
    return compose(text, "--fault", problems)


_WORD = re.compile(r"""[^\s=]+=(?:"[^"]*"|'[^']*'|\S*)|\S+""")


def _quoted(value: str) -> str:
    """As YAML takes it, whatever is in it."""
    return json.dumps(value)


def _fleet(path: Path, mark: Mark, problems: Problems) -> Fleet | None:
    """The config at `path`. That it cannot be read at all is told at `mark`, where the scenario names it."""
    if read_text(path, mark, problems) is None:
        return None
    try:
        return config.load(path)
    except ConfigError as error:
        for problem in error.problems:
            problems.add(Mark(problem.file, problem.line, problem.column), problem.text)
        return None
