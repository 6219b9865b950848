"""Golden decision scripts: a story in commands, and all the core said to each, reviewed by humans as a diff.

A script is blocks of commands, `----`, and the expected output up to an empty line. To accept what the core says now:

    UPDATE_GOLDEN=1 pytest tests/core/test_golden.py

Commands: fleet, lead, healthy/unhealthy/wrong/degraded/saturated WHO.. [by AGENTS], lose WHO.. rate=, ttft WHO.. s=, mute/unmute
ZONE.., run SECONDS, drain/restore/pin/freeze/unfreeze, fail RESULT|-, edit TARGET=WEIGHT, show.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from steerd.core import effects as fx
from steerd.model.fleet import Objectives
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import MEMBERS, WEIGHTED, make_fleet

SCRIPTS = sorted((Path(__file__).parent / "golden").glob("*.txt"))
_QUIET = {"suspect"}


class Player:
    """Plays commands against a bench and tells what came of each, in few words."""

    def __init__(self) -> None:
        self.bench: Bench | None = None

    def play(self, line: str) -> list[str]:
        verb, *words = shlex.split(line)
        options = dict(w.split("=", 1) for w in words if "=" in w)
        names = [w for w in words if "=" not in w]
        if verb == "fleet":
            self.bench = self._fleet(options, names)
            return []
        bench = self.bench
        assert bench is not None, "a script begins with `fleet`"
        mark = len(bench.log)
        before = bench.now
        extra = self._do(bench, verb, names, options)
        return [*extra, *(text for t, e in bench.log[mark:] if (text := self._tell(t - before, e)))]

    def _fleet(self, options: dict[str, str], names: list[str]) -> Bench:
        regions = {k: int(v) for k, v in options.items() if len(k) == 2}
        demand = options.get("demand")
        fleet = make_fleet(
            regions,
            per_zone=int(options.get("per_zone", 2)),
            demand=float(demand) if demand else None,
            outside=int(options.get("outside", 1)),
            per=options.get("per", "endpoint"),
            objectives=Objectives(ttft_s=float(options["ttft"])) if "ttft" in options else Objectives(),
        )
        return Bench(fleet, MEMBERS if "membership" in names else WEIGHTED, served={} if "empty" in names else None)

    def _do(self, bench: Bench, verb: str, names: list[str], options: dict[str, str]) -> list[str]:
        if verb == "lead":
            bench.lead()
        elif verb == "run":
            bench.run(float(names[0]))
        elif verb == "lose":
            bench.losing.update(dict.fromkeys(self._endpoints(bench, names), float(options["rate"])))
        elif verb == "ttft":
            bench.read("ttft_s", dict.fromkeys(self._endpoints(bench, names), float(options["s"])))
        elif verb in ("healthy", "unhealthy", "wrong", "degraded", "saturated"):
            self._vote(bench, verb, names, options)
        elif verb in ("mute", "unmute"):
            agents = {a.name for a in bench.fleet.agents if a.zone in names}
            bench.muted = bench.muted | agents if verb == "mute" else bench.muted - agents
        elif verb == "fail":
            bench.fail = None if names[0] == "-" else names[0]
        elif verb == "edit":
            bench.observe(weights={k: int(v) for k, v in options.items()})
        elif verb == "show":
            return self._show(bench)
        else:
            kwargs: dict[str, Any] = {"reason": options.get("reason", "")}
            if "for" in options:
                kwargs["for_s"] = float(options["for"])
            if "share" in options:
                kwargs["share"] = float(options["share"])
            kwargs.update({flag: True for flag in ("now", "force") if flag in names[1:]})
            answer = bench.command(verb, names[0] if names else "", **kwargs)
            return [f"answer {answer.result}: {answer.text}"]
        return []

    def _endpoints(self, bench: Bench, names: list[str]) -> list[str]:
        return [
            e
            for e, s in bench.fleet.endpoint_by_name.items()
            if not names or {e, s.zone, bench.fleet.vantage_region(s.zone)} & set(names)
        ]

    def _vote(self, bench: Bench, verb: str, names: list[str], options: dict[str, str]) -> None:
        endpoints = self._endpoints(bench, names)
        by = options.get("by")
        agents = [a.name for a in bench.fleet.agents if by is None or a.zone in by.split(",")]
        verdict = Verdict(verb) if verb in ("healthy", "degraded", "saturated") else Verdict.UNHEALTHY
        reason = "wrong answer" if verb == "wrong" else "connection refused"
        layer = Layer(options["layer"]) if "layer" in options else None
        check = options.get("check")
        bench.all_say(
            verdict, endpoints, agents, transport=verb == "unhealthy", reason=reason, layer=layer, check=check
        )

    def _tell(self, after: float, effect: fx.Effect) -> str | None:
        at = f"+{after:.1f}s"
        if isinstance(effect, fx.Record) and effect.kind not in _QUIET:
            return f"{at} {effect.kind} {effect.of}: {effect.text}"
        if isinstance(effect, fx.Alert):
            return f"{at} alert {'on' if effect.active else 'off'} {effect.alert.kind} {effect.alert.of}: {effect.alert.text}"
        if isinstance(effect, fx.ConfirmNow):
            return f"{at} confirm {','.join(effect.endpoints)} by {len(effect.agents)} agents"
        if isinstance(effect, fx.Apply):
            weights = " ".join(f"{m.target}={m.weight}" for m in effect.desired.members)
            return f"{at} apply {effect.route} {effect.decision} try {effect.attempt}: {weights}"
        return None

    def _show(self, bench: Bench) -> list[str]:
        zones = bench.engine.world.domains.zones["chat"]
        shares = " ".join(f"{z}={bench.share(z):.3f}" for z in zones)
        return [
            f"shares {shares}",
            f"drains {bench.drains()}",
            f"diagnoses {bench.diagnoses()}",
            f"alerts {sorted(bench.alerts())}",
        ]


def replay(text: str) -> str:
    player = Player()
    out = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        commands = lines[: lines.index("----")] if "----" in lines else lines
        out += [*commands, "----"]
        for command in commands:
            if command and not command.startswith("#"):
                out += player.play(command)
        out.append("")
    return "\n".join(out)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_script(path: Path) -> None:
    text = path.read_text()
    played = replay(text)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(played)
    assert played == text


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 6
