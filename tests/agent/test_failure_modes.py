"""The failure modes of the design, provoked on a real model server and told apart by a running agent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probes import stacks
from steerd.agent.agent import Agent
from steerd.model.fleet import Agent as AgentConfig
from steerd.model.fleet import Check, Endpoint, Fleet, Region, Service
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer
from steerd.model.vote import Verdict, Vote
from tests.agent.test_agent import Ears
from tests.support.agent_rig import Listener, Targets, running
from tests.support.model_server import ModelServer
from tests.support.wait import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACE: dict[str, tuple[float, float, dict[str, Any]]] = {
    "liveness": (0.3, 0.3, {}),
    "readiness": (0.3, 0.3, {}),
    "progress": (0.2, 0.3, {"stall": 1.0, "sample": 0.2}),
    "user_path": (0.5, 4.0, {"ttft": 0.4, "ttft_limit": 2.0}),
}
"""Check -> interval, timeout and settings, so quick that a test need not wait."""


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as found:
        yield found


def fleet_of(url: str, stack: str = "vllm", **more: dict[str, Any]) -> Fleet:
    checks = []
    for check in stacks.load(stack).checks:
        interval_s, timeout_s, settings = PACE.get(check.name, (0.3, 0.3, {}))
        own = {**check.settings, **settings, **more.get(check.name, {})}
        if not check.optional:
            checks.append(Check(check.name, Layer(check.layer), check.kind, interval_s, timeout_s, own))
    return Fleet(
        name="test",
        regions=(Region("r1", ("z1",)),),
        agents=(AgentConfig("a1", "z1"),),
        services=(
            Service(
                name="chat", model="demo-7b", checks=tuple(checks), endpoints=(Endpoint("e1", "chat", "z1", url, 1.0),)
            ),
        ),
        verdict=VerdictRules(confirm_gap_s=0.02),
    )


@asynccontextmanager
async def watching(server: ModelServer, ears: Ears | None = None, **more: dict[str, Any]) -> AsyncIterator[Agent]:
    """An agent that has come to know the server as healthy."""
    if not server.alive:
        server.restart()
    server.mode("healthy")
    async with running(fleet_of(server.url, **more), ears) as agent:
        await until(lambda: verdict(agent) is Verdict.HEALTHY, 20.0)
        yield agent


def verdict(agent: Agent) -> Verdict:
    """The agent's verdict; unknown before it has begun."""
    return agent.verdict_of("e1") if agent.status()["endpoints"] else Verdict.UNKNOWN


async def told(agent: Agent, wanted: Verdict, check: str | None = None) -> Vote:
    """The agent's vote once it has this verdict for reason of this check."""
    await until(lambda: verdict(agent) is wanted and check in (None, agent.vote_of("e1").check), 30.0)
    return agent.vote_of("e1")


@pytest.mark.parametrize(
    ("mode", "wanted", "check", "layer", "reason", "transport"),
    [
        ("hang", Verdict.UNHEALTHY, "liveness", Layer.LIVENESS, "no answer in time", True),
        ("stall", Verdict.UNHEALTHY, "progress", Layer.PROGRESS, "no progress: busy and not one step", True),
        ("cut", Verdict.UNHEALTHY, "user_path", Layer.USER_PATH, "stream broken off", False),
        ("error-frame", Verdict.UNHEALTHY, "user_path", Layer.USER_PATH, "error frame in the stream", False),
        ("no-finish", Verdict.UNHEALTHY, "user_path", Layer.USER_PATH, "stream cut before its finish_reason", False),
        ("gibberish", Verdict.UNHEALTHY, "user_path", Layer.CORRECTNESS, "gibberish: one character repeated", False),
        ("garbage", Verdict.UNHEALTHY, "user_path", Layer.CORRECTNESS, "wrong answer", False),
        ("wrong-model", Verdict.UNHEALTHY, "readiness", Layer.READINESS, "model not found", False),
        ("unloaded", Verdict.UNHEALTHY, "user_path", Layer.READINESS, "model not loaded", False),
        ("slow", Verdict.DEGRADED, "user_path", Layer.USER_PATH, "time to first token over its objective", False),
        ("loading", Verdict.UNHEALTHY, "readiness", Layer.READINESS, "HTTP 503", False),
        ("refuse", Verdict.SATURATED, "user_path", Layer.USER_PATH, "HTTP 429: full", False),
        ("busy", Verdict.SATURATED, "liveness", Layer.LIVENESS, "busy: no answer in time, its counters move", False),
    ],
)
async def test_a_failure_is_told_by_layer_and_reason(
    server: ModelServer, mode: str, wanted: Verdict, check: str, layer: Layer, reason: str, transport: bool
) -> None:
    async with watching(server) as agent:
        options = {"factor": 80.0} if mode == "slow" else {}
        server.mode(mode, **options)
        vote = await told(agent, wanted, None if mode in {"loading", "stall"} else check)
        if mode == "loading":  # liveness and readiness say the same
            assert (vote.reason, vote.transport) == (reason, transport)
            return
        if mode == "stall":  # the user path may say so first; progress does not contradict
            vote = await told(agent, wanted)
            assert vote.layer in {Layer.PROGRESS, Layer.USER_PATH}
            assert vote.transport
            await until(lambda: _runs(agent)["progress"].state == 3, 20.0)
            assert _runs(agent)["progress"].reason == reason
            return
        assert (vote.layer, vote.reason, vote.transport) == (layer, reason, transport)
        server.mode("healthy")
        await told(agent, Verdict.HEALTHY)


def _runs(agent: Agent) -> dict[str, Any]:
    return {name: agent._box.run("e1", name) for name in PACE}


async def test_a_killed_process_and_its_return(server: ModelServer) -> None:
    async with watching(server) as agent:
        server.kill()
        vote = await told(agent, Verdict.UNHEALTHY, "liveness")
        assert (vote.reason, vote.transport, vote.errors) == ("connection refused", True, ())
        server.restart()
        await told(agent, Verdict.HEALTHY)


async def test_a_killed_engine_process_behind_a_live_front() -> None:
    with ModelServer(engine_process=True) as server:
        async with watching(server) as agent:
            server.kill_engine()
            vote = await told(agent, Verdict.UNHEALTHY)
            # Whichever of the two comes first; its health is as well as ever.
            assert (vote.check, vote.reason) in {
                ("user_path", "no first token in time"),
                ("progress", "no progress: busy and not one step"),
            }
            assert vote.transport
            assert _runs(agent)["liveness"].state == 0


async def test_only_long_prompts_go_wrong(server: ModelServer) -> None:
    long = {"long_every": 3, "long_words": 400}
    async with watching(server, user_path=long) as agent:
        server.mode("long")
        vote = await told(agent, Verdict.UNHEALTHY)
        assert (vote.layer, vote.reason) == (Layer.CORRECTNESS, "gibberish: one character repeated")
        server.mode("healthy")
        await told(agent, Verdict.HEALTHY)


async def test_a_silent_fall_back_to_the_cpu_is_degraded(server: ModelServer) -> None:
    async with watching(server, user_path={"token_rate": 100.0, "ttft": 4.0, "ttft_limit": 4.0}) as agent:
        server.mode("cpu", factor=40.0)
        vote = await told(agent, Verdict.DEGRADED, "user_path")
        assert (vote.layer, vote.reason) == (Layer.USER_PATH, "tokens come slower than their objective")
        server.mode("healthy")
        await told(agent, Verdict.HEALTHY)


@pytest.mark.parametrize(
    ("mode", "check", "needle"),
    [
        ("stale", "progress", "stale"),
        ("scrape-hang", "progress", "cannot be read"),
        ("unauthorized", "user_path", "credentials refused"),
    ],
)
async def test_what_the_target_is_not_to_blame_for_is_an_alert(
    server: ModelServer, mode: str, check: str, needle: str
) -> None:
    ears = Ears()
    async with watching(server, ears) as agent:
        server.mode(mode)
        await until(lambda: any(c == check and needle in reason for _, c, reason, _ in ears.errors), 20.0)
        await until(lambda: any(needle in error for error in agent.vote_of("e1").errors), 20.0)
        assert agent.verdict_of("e1") is not Verdict.UNHEALTHY
        assert all(not host for _, _, _, host in ears.errors)
        server.mode("healthy")
        await until(lambda: ("e1", check) in ears.over, 20.0)


async def test_a_look_that_ran_out_of_time_is_suspect_while_the_counters_are_asked(server: ModelServer) -> None:
    async with Listener().serve() as listener:
        if not server.alive:
            server.restart()
        server.mode("healthy")
        fleet = _every_second(replace(fleet_of(server.url), coordinators=_coordinator(listener)))
        async with running(fleet) as agent:
            await until(lambda: verdict(agent) is Verdict.HEALTHY, 20.0)
            server.mode("busy")
            await told(agent, Verdict.SATURATED)
            await until(lambda: listener.votes["e1"].verdict is Verdict.SATURATED)
        votes = [v for b in listener.ballots for v in b.votes]
        first = next(n for n, v in enumerate(votes) if v.suspect)
        assert votes[first].verdict is Verdict.HEALTHY  # said at once, before it is known
        assert not any(v.verdict is Verdict.UNHEALTHY for v in votes)


def _every_second(fleet: Fleet) -> Fleet:
    """Liveness each second: a vote whose last look is over 3 intervals old is not sent, and asking the counters takes one."""
    (service,) = fleet.services
    checks = tuple(replace(c, interval_s=1.0) if c.name == "liveness" else c for c in service.checks)
    return replace(fleet, services=(replace(service, checks=checks),))


def _coordinator(listener: Listener) -> tuple[Any, ...]:
    from steerd.model.fleet import Coordinator  # noqa: PLC0415 - the rig's own name is in use here

    return (Coordinator("co1", "r1", listener.url),)


async def test_thirty_seconds_of_saturation_never_become_unhealthy(server: ModelServer) -> None:
    async with watching(server) as agent:
        server.mode("busy")
        loop = asyncio.get_running_loop()
        end, seen = loop.time() + 30.0, set()

        def over() -> bool:
            seen.add(agent.verdict_of("e1"))
            return loop.time() > end

        await until(over, 60.0)
        # A busy machine may make the agent doubt itself (unknown), which blames nobody either.
        assert Verdict.SATURATED in seen
        assert seen <= {Verdict.HEALTHY, Verdict.SATURATED, Verdict.UNKNOWN}
        server.mode("healthy")
        await told(agent, Verdict.HEALTHY)


@pytest.fixture
def full_disk() -> Iterator[Any]:
    """A file that cannot be written to."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as out:
        yield out


async def test_a_full_disk_at_the_agent_blames_nobody(full_disk: Any) -> None:
    """Everything the agent writes fails."""
    async with Listener().serve() as listener, Targets().serve() as targets:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.agent_process", listener.url, targets.url),
            cwd=ROOT,
            stdout=full_disk,
            stderr=subprocess.STDOUT,
        )
        try:
            await until(lambda: [v.verdict for v in listener.votes.values()] == [Verdict.HEALTHY] * 2, 20.0)
            targets.status["e1"] = 500
            await until(lambda: listener.votes["e1"].verdict is Verdict.UNHEALTHY, 20.0)
            assert listener.votes["e2"].verdict is Verdict.HEALTHY
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 10.0)
