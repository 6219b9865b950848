"""What steerd says of an engine: `steerd probe` of an endpoint of a config, and the agent of the same config."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from probes.outcome import Outcome
from steerd import config
from steerd.agent.agent import Agent
from steerd.cli import probe
from steerd.model.vote import Verdict, Vote
from tests.agent.test_agent import Ears as AlertEars
from tests.support.agent_rig import running
from tests.support.wait import until

__all__ = ["Seen", "Watched", "seen", "watching", "write"]


def write(
    folder: Path, url: str, model: str, stack: str, checks: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> Path:
    """A config with one endpoint `e1` and one agent `a1`. `own` is the config's `stacks`."""
    file = folder / "steerd.yaml"
    endpoints = {"e1": {"zone": "z1", "url": url}}
    document = {
        "fleet": "engines",
        "regions": {"r1": {"zones": ["z1"]}},
        "agents": {"a1": {"zone": "z1"}},
        "coordinators": {"c1": {"region": "r1", "url": "http://127.0.0.1:1"}},
        "quorum": {"voices": 1},
        "stacks": dict(own or {}),
        "services": {"chat": {"stack": stack, "model": model, "checks": checks, "endpoints": endpoints}},
    }
    file.write_text(json.dumps(document))
    return file


@dataclass(frozen=True)
class Seen:
    """What `steerd probe` said: check -> (layer, status, reason)."""

    code: int
    verdict: str
    checks: dict[str, tuple[str, str, str | None]]

    def statuses(self, *names: str) -> list[str]:
        return [self.checks[name][1] for name in names]


def seen(file: Path, *more: str, endpoint: str | None = "e1") -> Seen:
    """`steerd probe e1 --config FILE`; `endpoint` None for arguments that name another target."""
    where = [] if endpoint is None else [endpoint, "--config", str(file)]
    result = CliRunner().invoke(probe.command, [*where, "--json", *more], prog_name="steerd")
    assert result.stdout, result.output
    answer = json.loads(result.stdout)
    checks = {one["name"]: (one["layer"], one["status"], one["reason"]) for one in answer["checks"]}
    return Seen(result.exit_code, answer["verdict"], checks)


class Ears(AlertEars):
    """Keeps every look's outcome too, by check."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, list[Outcome]] = {}

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Outcome, delay_s: float) -> None:
        self.outcomes.setdefault(check, []).append(outcome)


@dataclass
class Watched:
    """An agent that watches `e1`."""

    agent: Agent
    ears: Ears

    @property
    def verdict(self) -> Verdict:
        return self.agent.verdict_of("e1") if self.agent.status()["endpoints"] else Verdict.UNKNOWN

    @property
    def vote(self) -> Vote:
        return self.agent.vote_of("e1")

    def run(self, check: str) -> Any:
        """The looks of one check in a row."""
        return self.agent._box.run("e1", check)

    async def until(self, verdict: Verdict) -> None:
        """Until the agent's verdict is this one."""
        await until(lambda: self.verdict is verdict, 60.0)

    async def until_error(self, check: str, words: str) -> None:
        """Until this check's ERROR with these words stands in the vote as well."""
        await until(lambda: any(c == check and words in reason for _, c, reason, _ in self.ears.errors), 60.0)
        await until(lambda: any(words in error for error in self.vote.errors), 60.0)


@asynccontextmanager
async def watching(file: Path) -> AsyncIterator[Watched]:
    """The config's agent, once it knows the endpoint as healthy."""
    ears = Ears()
    fleet = replace(config.load(file), coordinators=())
    async with running(fleet, ears) as agent:
        watched = Watched(agent, ears)
        await watched.until(Verdict.HEALTHY)
        yield watched
