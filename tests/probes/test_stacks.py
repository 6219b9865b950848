"""Every stack of the table, its YAML against a server that speaks that stack's URLs and metric names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from probes import stacks
from probes.outcome import Layer, Outcome, Status
from probes.probe import look_safely
from probes.registry import KINDS, make
from probes.target import Target
from tests.support.model_server import ModelServer

MODEL = "demo-7b"
NEEDED = {"kserve-infer": {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}}
"""What only a user can say; `settings` of optional checks need it."""


@pytest.fixture(scope="module", params=stacks.names())
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    with ModelServer(model=MODEL, stack=request.param) as running:
        yield running


@pytest.fixture
async def stack_looks(server: ModelServer) -> AsyncIterator[Any]:
    """`outcomes = await stack_looks(**overrides)`: all checks of the stack, the optional ones too, once."""
    server.mode("healthy")
    checks = {check.name: check for check in stacks.load(server.stack).checks}
    made: dict[str, Any] = {}

    async def look(model: str = MODEL, **overrides: Any) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        for name, check in checks.items():
            if name not in made:
                own = {key: value for key, value in overrides.items() if KINDS[check.kind].setting(key)}
                settings = {**NEEDED.get(check.kind, {}), **check.settings, **own}
                made[name] = make(check.kind, check.layer, settings, str)
            deadline = asyncio.get_running_loop().time() + 2.0
            found[name] = await look_safely(made[name], Target("e1", server.url, model=model), deadline)
        return found

    yield look
    for probe in made.values():
        await probe.close()


def told(outcomes: dict[str, Outcome]) -> dict[str, tuple[str, str | None]]:
    return {name: (one.status.value, one.reason) for name, one in outcomes.items()}


async def test_a_healthy_server_passes_every_check(stack_looks: Any, server: ModelServer) -> None:
    assert {status for status, _ in told(await stack_looks()).values()} == {"PASS"}, server.stack


async def test_another_model_is_not_ready(stack_looks: Any, server: ModelServer) -> None:
    if server.stack in {"http", "ray-serve"}:
        pytest.skip("knows nothing of models")
    outcomes = await stack_looks(model="demo-70b")
    gates = [o for o in outcomes.values() if o.layer in (Layer.LIVENESS, Layer.READINESS) and o.status is Status.FAIL]
    assert gates, told(outcomes)


async def test_weights_that_still_load_are_not_ready(stack_looks: Any, server: ModelServer) -> None:
    server.mode("loading")
    outcomes = await stack_looks()
    if server.stack != "http":
        gates = [o for o in outcomes.values() if o.layer in (Layer.LIVENESS, Layer.READINESS)]
        assert any(o.status is Status.FAIL and (o.reason or "").startswith("HTTP ") for o in gates), told(outcomes)
    needed = [check.name for check in stacks.load(server.stack).checks if not check.optional and check.kind == "http"]
    assert not any(outcomes[name].status is Status.ERROR for name in needed), told(outcomes)
    assert not any(o.transport and o.status is Status.FAIL for o in outcomes.values())  # not ready, and not dead


async def test_a_health_url_that_says_loading_is_not_dead(stack_looks: Any, server: ModelServer) -> None:
    if server.stack not in {"llamacpp", "tgi"}:
        pytest.skip("has a URL for being alive, or none that answers while the weights load")
    server.mode("loading")
    outcomes = await stack_looks()
    assert outcomes["liveness"].status is Status.PASS
    assert (outcomes["readiness"].status, outcomes["readiness"].reason) == (Status.FAIL, "HTTP 503")
    assert not any(o.layer is Layer.LIVENESS and o.status is Status.FAIL for o in outcomes.values())


async def test_the_use_of_the_gpus_is_told_where_the_stack_does(stack_looks: Any, server: ModelServer) -> None:
    if server.stack != "triton":
        pytest.skip("does not tell")
    server.mode("busy", delay_s=0)
    assert 0.0 < (await stack_looks())["progress"].readings["gpu_utilization"] <= 1.0


async def test_an_engine_that_stands_still_is_seen_by_its_own_names(stack_looks: Any, server: ModelServer) -> None:
    checks = {check.name for check in stacks.load(server.stack).checks}
    if "progress" not in checks:
        pytest.skip("has no metrics")
    server.mode("stall")
    async with asyncio.timeout(20.0):
        while True:
            outcome = (await stack_looks(stall=0.3, ttft_limit=0.1, connect=0.1))["progress"]
            if outcome.status is Status.FAIL:
                break
            assert outcome.status is Status.PASS, outcome
    assert (outcome.reason, outcome.transport) == ("no progress: busy and not one step", True)


async def test_a_busy_engine_is_never_taken_for_a_stalled_one(stack_looks: Any, server: ModelServer) -> None:
    if "progress" not in {check.name for check in stacks.load(server.stack).checks}:
        pytest.skip("has no metrics")
    server.mode("busy", delay_s=0)
    for _ in range(5):
        outcome = (await stack_looks(stall=1.0))["progress"]
        assert (outcome.status, outcome.reason) == (Status.PASS, None)
        assert outcome.readings.get("running", outcome.readings.get("waiting")) > 0


async def test_a_fall_back_to_the_cpu_is_seen_where_the_stack_tells(stack_looks: Any, server: ModelServer) -> None:
    if server.stack != "ollama":
        pytest.skip("does not tell where it runs")
    server.mode("cpu")
    placement = (await stack_looks())["placement"]
    assert (placement.status, placement.reason) == (Status.SLOW, "runs on the CPU in part")
