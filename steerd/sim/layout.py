"""The keys of a scenario file, read with the config's own machinery: every problem with its line and column."""

from __future__ import annotations

import re

from steerd.config.specs import Bool, Choice, Duration, Fraction, Integer, Name, Number, ScalarSpec, Text
from steerd.config.tables import Field, ListOf, Raw, Table
from steerd.sim.kinds import KINDS
from steerd.sim.scenario import Test

__all__ = ["EXPECT", "FAULT", "SCENARIO", "Comparison", "SignedDuration"]

_HEALTHS = ("healthy", "saturated", "degraded", "down", "unknown")
_OP = re.compile(r"\s*(<=|>=|<|>|=)?\s*([0-9.]+%?)\s*")


class Comparison(ScalarSpec):
    """`0`, `">0.1"`, `"<=40"`, `"=0"`, also with `%`."""

    expects = 'a number, or a comparison such as ">0.1"'

    def parse(self, text: str) -> Test:
        found = _OP.fullmatch(text)
        if found is None or found[2].count(".") > 1 or found[2] == ".":
            raise ValueError(f"is not {self.expects}")
        number = found[2]
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        return Test(found[1] or "=", value, text.strip())

    def schema(self) -> dict[str, object]:
        return {"type": ["string", "number"]}


class SignedDuration(Duration):
    """Seconds that may be negative: `-1h`."""

    expects = "a duration such as 1h or -1h"

    def parse(self, text: str) -> float:
        return -super().parse(text[1:]) if text.startswith("-") else super().parse(text)


class _Instance(Name):
    """A dependency, or with `@REGION` its instance there."""

    expects = "a dependency, or DEPENDENCY@REGION"

    def parse(self, text: str) -> str:
        name, at, region = text.partition("@")
        return f"{super().parse(name)}{at}{super().parse(region) if at else ''}"


class _Any(Raw):
    """A node read later, when the fleet is known."""

    def __init__(self) -> None:
        super().__init__(dict)


_TIME = Duration(zero=True)
_LINK = Table({"from": Field(Name(), required=True), "to": Field(Name(), required=True)}, what="a link")
_DEMAND = Table({"service": Field(Name(), required=True), "value": Field(Number(0.0), required=True)}, what="a demand")
_CLOCK = Table({"of": Field(Name(), required=True)}, what="a clock")

FAULT = Table(
    {
        "at": Field(_TIME, "when it begins", required=True),
        "until": Field(_TIME, "when it ends"),
        "for": Field(Duration(), "how long it lasts"),
        **{
            on: Field(Name())
            for on in (
                "endpoint",
                "zone",
                "region",
                "service",
                "agent",
                "coordinator",
                "store",
                "provider",
            )
        },
        "dependency": Field(_Instance()),
        "link": Field(_LINK),
        "operator": Field(Choice(KINDS["operator"])),
        "demand": Field(_DEMAND),
        "clock": Field(_CLOCK),
        "config": Field(Choice(("reload",))),
        "kind": Field(Text(expects="a fault's kind")),
        "when": Field(Choice(("applying",))),
        "rate": Field(Fraction(above_zero=True)),
        "factor": Field(Number(above=0.0)),
        "label": Field(Text(expects="a version label")),
        "up": Field(Duration()),
        "down": Field(Duration()),
        "add": Field(Duration()),
        "verdict": Field(Choice(("unhealthy", "healthy", "degraded", "saturated"))),
        "seconds": Field(Number(0.0)),
        "record": Field(Name()),
        "set": Field(Integer(0)),
        "name": Field(Name()),
        "reason": Field(Text(expects="a reason")),
        "share": Field(Fraction()),
        "now": Field(Bool()),
        "force": Field(Bool()),
        "accept_data_loss": Field(Bool()),
        "by": Field(SignedDuration()),
        "file": Field(Text(expects="a config file")),
    },
    what="a fault",
)

EXPECT = Table(
    {
        **{on: Field(Name()) for on in ("endpoint", "zone", "region", "agent")},
        "health": Field(Choice(_HEALTHS)),
        "share": Field(Comparison()),
        "by": Field(_TIME),
        "during": Field(ListOf(_TIME, what="times", low=2, high=2)),
        "never_drained": Field(ListOf(Name(), what="names", low=1)),
        "diagnosis": Field(Choice(("vantage", "zone", "region", "global", "endpoint"))),
        "of": Field(Name()),
        "label": Field(Choice(("deploy", "dependency", "monitoring", "unexplained"))),
        "transitions": Field(Comparison()),
        "writes": Field(Comparison()),
        "alert": Field(Text(expects="an alert's kind")),
        "no_alert": Field(Text(expects="an alert's kind")),
        "frozen": Field(Bool()),
        "state": Field(Choice(("abstaining", "voting", "absent"))),
    },
    what="an expectation",
)

SCENARIO = Table(
    {
        "scenario": Field(Name(), "its name", required=True),
        "about": Field(Text(expects="what it is about")),
        "config": Field(Text(expects="a config file, relative to the scenario"), "the fleet", required=True),
        "seed": Field(Integer(0)),
        "duration": Field(Duration(), "how long it runs", required=True),
        "faults": Field(ListOf(_Any(), what="faults")),
        "expect": Field(ListOf(_Any(), what="expectations")),
    },
    what="a scenario",
)
