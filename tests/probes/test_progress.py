"""`progress` and busy-or-hung, against the model server and against metrics no server of ours gives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from probes.busy import busy_or_hung
from probes.outcome import Layer, Outcome, Status
from probes.progress import ProgressProbe
from probes.target import Target
from tests.support.looking import Look
from tests.support.model_server import ModelServer

Site = Callable[..., Awaitable[str]]
VLLM = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "steps": ("vllm:iteration_tokens_total_count",),
    "cache": ("vllm:kv_cache_usage_perc",),
    "finished": ("vllm:request_success_total",),
}


async def progress(look: Look, url: str, **settings: Any) -> Outcome:
    model = settings.pop("model", None)
    within_s = settings.pop("within_s", 2.0)
    return await look("progress", url, {**VLLM, **settings}, layer="progress", within_s=within_s, model=model)


async def until_status(look: Look, url: str, status: Status, **settings: Any) -> Outcome:
    """Looks again and again, as an agent does, until one has this status."""
    async with asyncio.timeout(20.0):
        while True:
            outcome = await progress(look, url, **settings)
            if outcome.status is status:
                return outcome
            assert outcome.status is Status.PASS
            await asyncio.sleep(0.02)


async def test_idle_and_moving_pass_with_their_readings(look: Look, model_server: ModelServer) -> None:
    idle = await progress(look, model_server.url)
    assert (idle.status, idle.layer, idle.reason) == (Status.PASS, Layer.PROGRESS, None)
    idle = await progress(look, model_server.url)
    assert (idle.detail or "").startswith("idle")
    assert {"running", "waiting", "kv_cache", "served"} <= idle.readings.keys()
    model_server.mode("busy", delay_s=0)
    for _ in range(5):
        busy = await until_status(look, model_server.url, Status.PASS, stall=0.5)
    assert busy.readings["running"] > 0


async def test_a_stalled_engine_fails_although_its_health_is_well(look: Look, model_server: ModelServer) -> None:
    model_server.mode("stall")
    assert (await look("http", f"{model_server.url}/health")).status is Status.PASS
    failed = await until_status(look, model_server.url, Status.FAIL, stall=0.3)
    assert (failed.reason, failed.transport) == ("no progress: busy and not one step", True)
    assert "no step for" in (failed.detail or "")
    model_server.mode("healthy")
    await until_status(look, model_server.url, Status.PASS, stall=0.3)


async def test_a_restart_is_told_apart(look: Look, model_server: ModelServer) -> None:
    model_server.mode("busy", delay_s=0)
    async with asyncio.timeout(20.0):
        # Another probe sees steps first: one that has seen none at all knows a new start's counters as its own.
        while not ((await progress(look, model_server.url, stall=9.0)).detail or "").startswith("moving"):
            pass
        while not ((await progress(look, model_server.url)).detail or "").startswith("moving"):
            pass
    model_server.restart()
    restarted = await progress(look, model_server.url)
    assert (restarted.status, (restarted.detail or "").split(":")[0]) == (Status.PASS, "restarted")


async def test_a_queue_over_its_limit_is_saturated(look: Look, site: Site) -> None:
    steps = [0]

    async def metrics(_: web.Request) -> web.Response:
        steps[0] += 1
        text = (
            f"vllm:num_requests_running 8\nvllm:num_requests_waiting 60\nvllm:iteration_tokens_total_count {steps[0]}\n"
        )
        return web.Response(text=text)

    url = await site({"/metrics": metrics})
    await progress(look, url, queue=50)
    full = await progress(look, url, queue=50)
    assert (full.status, full.reason) == (Status.SATURATED, "queue over its limit")


@pytest.mark.parametrize("mode", ["scrape-hang", "stale", "hang"])
async def test_unknown_is_not_idle_and_nobodys_fault(look: Look, model_server: ModelServer, mode: str) -> None:
    model_server.mode(mode)
    outcome = await progress(look, model_server.url, within_s=0.3)
    assert (outcome.status, outcome.host_error, outcome.transport) == (Status.ERROR, False, False)
    assert "metrics" in (outcome.reason or "")


async def test_a_scrape_that_never_got_there_says_so(look: Look) -> None:
    outcome = await progress(look, "http://127.0.0.1:1")
    assert (outcome.status, outcome.transport) == (Status.ERROR, True)
    assert outcome.reason == "the metrics cannot be read: connection refused"


@pytest.mark.parametrize(
    ("status", "text", "needle"),
    [
        (404, "", "HTTP 404"),
        (401, "", "HTTP 401"),
        (200, "", "no metrics text"),
        (200, "<html>hello</html>", "no metrics text"),
        (200, "other 1\n", "without vllm:num_requests_running"),
        (200, "vllm:num_requests_running 1\n", "without vllm:iteration_tokens_total_count"),
        (200, "vllm:num_requests_running 1\n" * 400, "over 4096 bytes"),
    ],
)
async def test_metrics_that_say_nothing_are_an_error(
    look: Look, site: Site, status: int, text: str, needle: str
) -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    outcome = await progress(look, await site({"/metrics": metrics}), max_bytes=4096)
    assert outcome.status is Status.ERROR
    assert needle in (outcome.reason or "")


async def test_only_the_models_own_series_count(look: Look, site: Site) -> None:
    async def metrics(_: web.Request) -> web.Response:
        names = ("num_requests_running", "num_requests_waiting", "iteration_tokens_total_count")
        rows = [
            f'vllm:{name}{{model_name="{model}"}} {value}' for name in names for model, value in (("a", 0), ("b", 3))
        ]
        return web.Response(text="\n".join(rows))

    url = await site({"/metrics": metrics})
    assert (await progress(look, url, model="a")).readings["running"] == 0
    assert (await progress(look, url, model="b")).readings["running"] == 3
    assert (await progress(look, url, model="c")).readings["running"] == 3  # nobody names it: all count


async def test_the_version_label_and_latencies_of_real_traffic(look: Look, site: Site) -> None:
    count = [0]

    async def metrics(_: web.Request) -> web.Response:
        count[0] += 1
        rows = ["vllm:num_requests_running 0", 'build_info{rev="r42"} 1', f"ttft_sum {count[0] * 0.6}"]
        rows += [f"ttft_count {count[0] * 2}", 'vllm:request_success_total{finished_reason="stop"} 5']
        rows += [f'vllm:request_success_total{{finished_reason="error"}} {count[0]}']
        rows += [f'vllm:request_success_total{{finished_reason="abort"}} {count[0] * 9}']
        return web.Response(text="\n".join(rows))

    url = await site({"/metrics": metrics})
    settings = {"ttft_metric": "ttft", "version": {"metric": "build_info", "label": "rev"}}
    first = await progress(look, url, **settings)
    second = await progress(look, url, **settings)
    assert (first.version, second.version) == ("r42", "r42")
    assert second.readings["engine_ttft_s"] == pytest.approx(0.3)
    assert (second.readings["served"], second.readings["failed"]) == (0.0, 1.0)


async def test_busy_is_saturated_and_hung_stays_failed(model_server: ModelServer) -> None:
    probe = ProgressProbe(Layer.PROGRESS, VLLM, str)
    target = Target("e1", model_server.url)
    waited = Outcome(Status.FAIL, Layer.LIVENESS, "no answer in time", transport=True, unanswered=True)
    try:
        model_server.mode("busy")
        busy = await busy_or_hung(waited, probe, target)
        assert (busy.status, busy.transport) == (Status.SATURATED, False)
        model_server.mode("stall")
        hung = await busy_or_hung(waited, probe, target)
        assert (hung.status, hung.transport, hung.reason) == (Status.FAIL, True, "no answer in time")
        assert "stand still" in (hung.detail or "")
        model_server.mode("scrape-hang")
        began = time.monotonic()
        unknown = await busy_or_hung(waited, probe, target)
        assert (unknown.status, "say nothing" in (unknown.detail or "")) == (Status.FAIL, True)
        assert time.monotonic() - began < 30  # it ends; how soon is not for a test
        refused = Outcome(Status.FAIL, Layer.LIVENESS, "connection refused", transport=True)
        assert await busy_or_hung(refused, probe, target) is refused
    finally:
        await probe.close()


async def test_looks_at_once_share_one_answer(site: Site) -> None:
    asked = [0]

    async def metrics(_: web.Request) -> web.Response:
        asked[0] += 1
        text = f"vllm:num_requests_running 1\nvllm:iteration_tokens_total_count {asked[0]}\n"
        return web.Response(text=text)

    probe = ProgressProbe(Layer.PROGRESS, VLLM, str)
    target = Target("e1", await site({"/metrics": metrics}))
    deadline = asyncio.get_running_loop().time() + 3.0
    try:
        assert await asyncio.gather(*(probe.moves(target, deadline, gap_s=0.05) for _ in range(20))) == [True] * 20
    finally:
        await probe.close()
    assert asked == [2]


async def test_metrics_on_a_port_of_their_own_are_those_of_each_endpoints_host(
    look: Look, site: Site, model_server: ModelServer
) -> None:
    asked: list[str] = []

    async def metrics(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.Response(text="vllm:num_requests_running 0\nvllm:iteration_tokens_total_count 1\n")

    port = int((await site({"/metrics": metrics})).rpartition(":")[2])
    outcome = await progress(look, f"{model_server.url}/v1", path="/metrics", port=port)
    assert outcome.status is Status.PASS
    await progress(look, "http://localhost:1", port=port)
    assert asked == [f"127.0.0.1:{port}", f"localhost:{port}"]


async def test_metrics_of_one_model_of_several_are_asked_for_by_its_id(look: Look, site: Site) -> None:
    async def metrics(request: web.Request) -> web.Response:
        known = request.query.get("model") == "org/big model"
        return web.Response(status=200 if known else 400, text="vllm:num_requests_running 0\n")

    url = await site({"/metrics": metrics})
    outcome = await progress(look, url, path="/metrics?model=$model", model="org/big model")
    assert outcome.status is Status.PASS
    outcome = await progress(look, url, path="/metrics?model=$model")
    assert outcome.status is Status.ERROR
    assert "set `model` of the service" in (outcome.reason or outcome.detail or "")


async def test_only_metrics_of_the_endpoints_own_server_are_another_checks_news_when_refused(
    look: Look, serve: Callable[..., Awaitable[int]]
) -> None:
    async def nothing(*_: Any) -> None: ...

    port = await serve(nothing)
    refused = await progress(look, "http://127.0.0.1:1")
    elsewhere = await progress(look, f"http://127.0.0.1:{port}", port=1)
    assert (refused.status, refused.transport) == (Status.ERROR, True)
    assert (elsewhere.status, elsewhere.transport) == (Status.ERROR, False)  # to be told: nobody else looks there
    assert refused.reason == elsewhere.reason == "the metrics cannot be read: connection refused"
