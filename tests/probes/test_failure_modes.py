"""The failure modes of the design, provoked on real model servers and told apart by `steerd probe`."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from steerd.cli import probe
from tests.support.model_server import ModelServer
from tests.support.wait import until_sync

QUICK = [
    *("--set", "checks.liveness.timeout=500ms", "--set", "checks.readiness.timeout=500ms"),
    *("--set", "checks.user_path.ttft_limit=500ms", "--set", "checks.progress.timeout=500ms"),
]
WATCHED = ["--for", "1500ms", "--set", "checks.progress.interval=200ms", "--set", "checks.progress.stall=500ms"]


def seen(server: ModelServer, *more: str, model: str = "demo-7b", stack: str = "vllm") -> dict[str, Any]:
    """Verdict, and (layer, status, reason) by check."""
    arguments = ["--url", server.url, "--stack", stack, "--model", model, "--json", *more]
    result = CliRunner().invoke(probe.command, arguments, prog_name="steerd")
    answer = json.loads(result.stdout)
    found = {check["name"]: (check["layer"], check["status"], check["reason"]) for check in answer["checks"]}
    return {"verdict": answer["verdict"], **found}


def test_a_dead_process(model_server: ModelServer) -> None:
    model_server.kill()
    found = seen(model_server, *QUICK)
    assert found["verdict"] == "unhealthy"
    assert found["liveness"] == ("liveness", "FAIL", "connection refused")


def test_one_that_accepts_and_never_answers(model_server: ModelServer) -> None:
    model_server.pause()
    try:
        found = seen(model_server, *QUICK)
    finally:
        model_server.resume()
    assert (found["verdict"], found["liveness"][1:]) == ("unhealthy", ("FAIL", "no answer in time"))
    assert found["progress"][1] == "ERROR"


def test_a_frozen_engine_behind_health_that_is_well(model_server: ModelServer) -> None:
    model_server.mode("stall")
    found = seen(model_server, *QUICK, *WATCHED)
    assert found["verdict"] == "unhealthy"
    assert [found[name][1] for name in ("liveness", "readiness", "progress", "user_path")] == [
        "PASS",
        "PASS",
        "FAIL",
        "FAIL",
    ]
    assert found["progress"][2] == "no progress: busy and not one step"
    assert found["user_path"][2] == "no first token in time"


@contextmanager
def asking(server: ModelServer) -> Iterator[None]:
    """A user whose request is in the engine and waits for ever."""
    body = {"model": "demo-7b", "messages": [{"role": "user", "content": "What is 2+2?"}]}
    request = urllib.request.Request(
        f"{server.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )

    def ask() -> None:
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except (urllib.error.URLError, OSError):
            return  # the server went away, as it does at the end

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.kill()
        thread.join(10)


def test_a_killed_engine_process_behind_a_live_front() -> None:
    with ModelServer(engine_process=True) as server:
        assert seen(server)["verdict"] == "healthy"
        server.kill_engine()
        with asking(server):
            until_sync(lambda: 'vllm:num_requests_running{model_name="demo-7b"} 1.0' in metrics(server))
            found = seen(server, *QUICK, *WATCHED)
    assert found["verdict"] == "unhealthy"
    assert (found["liveness"][1], found["readiness"][1]) == ("PASS", "PASS")
    assert (found["progress"][1], found["progress"][2]) == ("FAIL", "no progress: busy and not one step")
    assert found["user_path"][1] == "FAIL"


def metrics(server: ModelServer) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_busy_is_saturated_and_not_dead(model_server: ModelServer) -> None:
    model_server.mode("busy")  # /health takes 30 s
    found = seen(model_server, *QUICK)
    assert found["verdict"] == "saturated"
    assert found["liveness"] == ("liveness", "SATURATED", "busy: no answer in time, its counters move")
    assert found["progress"][1] == "PASS"


@pytest.mark.parametrize(
    ("mode", "layer", "reason"),
    [
        ("cut", "user_path", "stream broken off"),
        ("error-frame", "user_path", "error frame in the stream"),
        ("no-finish", "user_path", "stream cut before its finish_reason"),
        ("gibberish", "correctness", "gibberish: one character repeated"),
        ("garbage", "correctness", "wrong answer"),
        ("empty", "correctness", "empty answer"),
        ("long", "correctness", "gibberish: one character repeated"),
    ],
)
def test_what_only_a_user_would_notice(model_server: ModelServer, mode: str, layer: str, reason: str) -> None:
    model_server.mode(mode)
    long = ["--set", "checks.user_path.long_every=1"] if mode == "long" else []
    found = seen(model_server, *QUICK, *long)
    assert found["verdict"] == "unhealthy"
    assert [found[name][1] for name in ("liveness", "readiness", "progress")] == ["PASS"] * 3
    assert found["user_path"] == (layer, "FAIL", reason)


@pytest.mark.parametrize("mode", ["healthy", "wrong-model"])
def test_a_wrong_model_is_not_ready(model_server: ModelServer, mode: str) -> None:
    model_server.mode(mode)
    found = seen(model_server, *QUICK, model="demo-70b")
    assert found["verdict"] == "unhealthy"
    assert found["liveness"][1] == "PASS"
    assert found["readiness"] == ("readiness", "FAIL", "model not found")
    assert found["user_path"] == ("readiness", "FAIL", "model not found")


def test_a_front_whose_engine_lost_the_model_is_not_ready(model_server: ModelServer) -> None:
    model_server.mode("unloaded")  # as llama.cpp's router answers once the model's process was killed
    found = seen(model_server, *QUICK)
    assert found["verdict"] == "unhealthy"
    assert [found[name][1] for name in ("liveness", "readiness", "progress")] == ["PASS"] * 3
    assert found["user_path"] == ("readiness", "FAIL", "model not loaded")


def test_a_first_token_ten_times_as_slow_is_degraded(model_server: ModelServer) -> None:
    model_server.mode("slow", factor=20)
    found = seen(model_server, "--set", "checks.user_path.ttft=100ms")
    assert found["verdict"] == "degraded"
    assert found["user_path"] == ("user_path", "SLOW", "time to first token over its objective")


def test_a_silent_fall_back_to_the_cpu_is_degraded(model_server: ModelServer) -> None:
    model_server.mode("cpu", factor=20)
    found = seen(model_server, "--set", "checks.user_path.token_rate=200")
    assert (found["verdict"], found["user_path"][2]) == ("degraded", "tokens come slower than their objective")
    with ModelServer(stack="ollama") as ollama:
        ollama.mode("cpu", factor=2)
        told = seen(ollama, stack="ollama")
    assert (told["verdict"], told["placement"]) == ("degraded", ("readiness", "SLOW", "runs on the CPU in part"))


def test_weights_that_still_load_are_not_ready_and_not_dead(model_server: ModelServer) -> None:
    model_server.mode("loading")
    found = seen(model_server, *QUICK)
    assert found["verdict"] == "unhealthy"
    assert found["readiness"] == ("readiness", "FAIL", "HTTP 503")  # an answer, and no transport failure


def test_a_full_queue_is_saturated(model_server: ModelServer) -> None:
    model_server.mode("refuse")
    found = seen(model_server, *QUICK)
    assert (found["verdict"], found["user_path"][1:]) == ("saturated", ("SATURATED", "HTTP 429: full"))


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("stale", "the metrics are stale"), ("scrape-hang", "the metrics cannot be read: no answer in time")],
)
def test_metrics_that_cannot_be_trusted_are_unknown(model_server: ModelServer, mode: str, reason: str) -> None:
    model_server.mode(mode)
    found = seen(model_server, *QUICK)
    assert (found["verdict"], found["progress"][1]) == ("healthy", "ERROR")
    assert found["progress"][2].startswith(reason)


def test_a_revoked_key_is_the_checks_and_not_the_targets(model_server: ModelServer) -> None:
    model_server.mode("unauthorized")
    found = seen(model_server, *QUICK)
    assert found["verdict"] == "healthy"
    assert found["user_path"][1:] == ("ERROR", "HTTP 401: credentials refused")
