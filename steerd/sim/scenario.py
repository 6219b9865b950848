"""A scenario as checked, frozen data: a fleet, faults with their times, and what is expected. Times are seconds since the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.model.fleet import Fleet

__all__ = ["Expectation", "Fault", "Scenario", "Test"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`on` is what it hits (endpoint, zone, region, service, link, agent, coordinator, store, provider, dependency, operator,
    demand, clock, config), `target` the name of it, `kind` its kind. `args` holds what the kind takes. `until` None: it lasts."""

    at: float
    on: str
    target: str
    kind: str
    until: float | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    @property
    def text(self) -> str:
        """For a timeline."""
        more = " ".join(f"{k}={v}" for k, v in self.args.items() if not isinstance(v, Fleet))
        return f"{self.on} {self.target}: {self.kind} {more}".strip()


@dataclass(frozen=True, slots=True)
class Test:
    """A comparison such as `<=0.5`; no operator means equal."""

    op: str
    value: float
    text: str

    def holds(self, value: float, tolerance: float = 1e-9) -> bool:
        """Whether `value` satisfies it."""
        if self.op == "<":
            return value < self.value
        if self.op == "<=":
            return value <= self.value + tolerance
        if self.op == ">":
            return value > self.value
        if self.op == ">=":
            return value >= self.value - tolerance
        return abs(value - self.value) <= tolerance


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of `expect`. `form` is its first word; `by` or `during` when; `of` whom; `test` or `word` what."""

    form: str
    of: tuple[str, ...] = ()
    word: str = ""
    label: str | None = None
    test: Test | None = None
    by: float | None = None
    during: tuple[float, float] | None = None
    text: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`source` is the file, for messages."""

    name: str
    about: str
    fleet: Fleet
    duration_s: float
    faults: tuple[Fault, ...] = ()
    expect: tuple[Expectation, ...] = ()
    seed: int = 1
    source: str = ""

    @property
    def first_fault_s(self) -> float:
        """When the first fault begins; 0 without one."""
        return min((f.at for f in self.faults), default=0.0)
