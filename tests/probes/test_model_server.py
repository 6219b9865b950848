"""The demo's model server itself: what the other tests build on."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from steerd.demo.model_engine import answer_to
from steerd.demo.model_modes import Behaviour, Mode
from tests.support.model_server import ModelServer
from tests.support.wait import until_sync

ROOT = Path(__file__).resolve().parents[2]


def get(url: str, body: object = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def counter(server: ModelServer, name: str) -> float:
    _, text = get(f"{server.url}/metrics")
    return next(float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines() if line.startswith(name + "{"))


def chat(server: ModelServer, text: str, **more: object) -> tuple[int, bytes]:
    body = {"model": "demo-7b", "messages": [{"role": "user", "content": text}], **more}
    return get(f"{server.url}/v1/chat/completions", body)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 2+2? Answer with the number only.", "The answer is 4."),
        ("9 - 12", "The answer is -3."),
        ("3x7", "The answer is 21."),
        ("How are you?", "Hello! How can I help you today?"),
    ],
)
def test_answers(question: str, answer: str) -> None:
    assert answer_to(question) == answer


def test_a_whole_answer_and_a_streamed_one(model_server: ModelServer) -> None:
    status, body = chat(model_server, "What is 20+22?")
    found = json.loads(body)
    assert (status, found["choices"][0]["message"]["content"]) == (200, "The answer is 42.")
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    status, body = chat(model_server, "What is 20+22?", stream=True, stream_options={"include_usage": True})
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    frames = [json.loads(line) for line in lines[:-1]]
    content = "".join(frame["choices"][0]["delta"].get("content", "") for frame in frames if frame["choices"])
    assert content == "The answer is 42."
    assert frames[-1]["usage"]["completion_tokens"] == 4
    assert frames[-2]["choices"][0]["finish_reason"] == "stop"


def test_a_token_limit_is_kept(model_server: ModelServer) -> None:
    _, body = chat(model_server, "What is 20+22?", max_tokens=2)
    choice = json.loads(body)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The answer", "length")


def test_requests_that_are_none_are_refused(model_server: ModelServer) -> None:
    assert get(f"{model_server.url}/v1/chat/completions", {"model": "demo-7b"})[0] == 400
    assert chat(model_server, "hi", model="other")[0] == 404


def test_counters_move_with_requests(model_server: ModelServer) -> None:
    before = counter(model_server, "vllm:generation_tokens_total")
    chat(model_server, "What is 2+2?")
    assert counter(model_server, "vllm:generation_tokens_total") == before + 4
    assert counter(model_server, "vllm:num_requests_running") == 0


def test_a_stalled_engine_has_work_and_does_not_move(model_server: ModelServer) -> None:
    model_server.mode("stall")
    assert get(f"{model_server.url}/health")[0] == 200
    until_sync(lambda: counter(model_server, "vllm:num_requests_waiting") > 0)
    before = counter(model_server, "vllm:iteration_tokens_total_count")
    assert counter(model_server, "vllm:iteration_tokens_total_count") == before
    model_server.mode("healthy")
    until_sync(lambda: counter(model_server, "vllm:num_requests_waiting") == 0)
    assert chat(model_server, "What is 2+2?")[0] == 200


def test_a_busy_engine_moves(model_server: ModelServer) -> None:
    model_server.mode("busy", delay_s=0)
    before = counter(model_server, "vllm:iteration_tokens_total_count")
    until_sync(lambda: counter(model_server, "vllm:iteration_tokens_total_count") > before)


def test_errors_come_at_the_rate_asked_for(model_server: ModelServer) -> None:
    model_server.mode("errors", rate=0.25, status=502)
    statuses = [get(f"{model_server.url}/health")[0] for _ in range(20)]
    assert statuses.count(502) == 5
    assert statuses.count(200) == 15


def test_requests_are_counted_by_path(model_server: ModelServer) -> None:
    before = model_server.requests().get("/version", 0)
    get(f"{model_server.url}/version")
    assert model_server.requests()["/version"] == before + 1


def test_a_mode_that_is_none_is_refused(model_server: ModelServer) -> None:
    status, body = get(f"{model_server.url}/control", {"mode": "explode"})
    assert (status, b"healthy" in body) == (400, True)
    assert get(f"{model_server.url}/control", {"mode": "slow", "factor": 0})[0] == 400
    assert get(f"{model_server.url}/control", {"mode": "slow", "facto": 2})[0] == 400


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_can_be_asked_for(mode: Mode) -> None:
    assert Behaviour.of({"mode": mode.value}).mode is mode


def test_crash_stop_and_restart_on_the_same_port() -> None:
    with ModelServer() as server:
        port = server.port
        server.mode("crash")
        assert server.wait() == 137
        server.restart()
        assert server.port == port
        assert get(f"{server.url}/health")[0] == 200
        assert server.stop() == 0


def test_sigterm_ends_a_hung_server_too() -> None:
    with ModelServer() as server:
        server.mode("hang")
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{server.url}/health", timeout=0.2)
        assert server.stop() == 0


def test_it_ends_with_its_parent() -> None:
    code = "from tests.support.model_server import ModelServer; import os; s = ModelServer().start(); "
    code += "print(s.pid, flush=True); os._exit(1)"
    parent = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    pid = int(parent.stdout)
    until_sync(lambda: not Path(f"/proc/{pid}").exists(), within_s=10)


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with ModelServer() as server:
        command = [sys.executable, "-m", "steerd.demo.model_server", "--port", str(server.port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"cannot listen on 127.0.0.1:{server.port}")
    assert len(done.stderr.strip().splitlines()) == 1
