"""`steerd probe` and `steerd stacks`, run as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from probes.outcome import Layer, Outcome, Status
from probes.registry import KINDS
from steerd.cli import probe, stacks
from steerd.model.vote import Verdict
from tests.support.model_server import ModelServer

WITH_STACK = ["--stack", "vllm", "--model", "demo-7b"]
QUICK = ["--set", "checks.user_path.ttft_limit=400ms", "--set", "checks.liveness.timeout=1s"]
QUICK += ["--set", "checks.readiness.timeout=1s"]


def run(*arguments: str, command: Any = probe.command, **env: str) -> Result:
    result = CliRunner().invoke(command, list(arguments), env=env or None, prog_name="steerd")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def found(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_json_is_as_documented(model_server: ModelServer) -> None:
    answer = found("--url", model_server.url, *WITH_STACK)
    assert list(answer) == ["target", "verdict", "checks"]
    assert (answer["target"], answer["verdict"]) == (model_server.url, "healthy")
    assert [check["name"] for check in answer["checks"]] == ["liveness", "readiness", "progress", "user_path"]
    for check in answer["checks"]:
        assert list(check) == ["name", "layer", "kind", "status", "reason", "duration_s", "stages"]
        assert (check["status"], check["reason"]) == ("PASS", None)
        assert check["kind"] in KINDS
        assert set(check["stages"]) <= {"dns_s", "connect_s", "tls_s", "first_byte_s", "first_token_s"}
        assert sum(check["stages"].get(name, 0.0) for name in ("connect_s", "first_byte_s")) <= check["duration_s"]


@pytest.mark.parametrize(
    ("mode", "verdict", "code", "statuses"),
    [
        ("stall", "unhealthy", 1, ["PASS", "PASS", "PASS", "FAIL"]),  # progress needs a second look: --for
        ("hang", "unhealthy", 1, ["FAIL", "FAIL", "ERROR", "FAIL"]),
        ("garbage", "unhealthy", 1, ["PASS", "PASS", "PASS", "FAIL"]),
        ("wrong-model", "unhealthy", 1, ["PASS", "FAIL", "PASS", "FAIL"]),
        ("refuse", "saturated", 0, ["PASS", "PASS", "PASS", "SATURATED"]),
        ("unauthorized", "healthy", 0, ["PASS", "ERROR", "PASS", "ERROR"]),
    ],
)
def test_what_is_broken_is_told(
    model_server: ModelServer, mode: str, verdict: str, code: int, statuses: list[str]
) -> None:
    model_server.mode(mode)
    answer = found("--url", model_server.url, *WITH_STACK, *QUICK, exit_code=code)
    assert answer["verdict"] == verdict
    assert [check["status"] for check in answer["checks"]] == statuses


def test_a_slow_first_token_is_degraded(model_server: ModelServer) -> None:
    model_server.mode("slow", factor=20)
    answer = found("--url", model_server.url, *WITH_STACK, "--set", "checks.user_path.ttft=50ms")
    assert (answer["verdict"], answer["checks"][3]["status"]) == ("degraded", "SLOW")


def test_for_people_the_reason_and_what_to_fix_are_there(model_server: ModelServer) -> None:
    model_server.mode("unauthorized")
    result = run("--url", model_server.url, "--stack", "openai", "--model", "demo-7b")
    assert result.exit_code == 2
    assert "unknown" in result.stdout
    assert "HTTP 401: credentials refused" in result.stdout
    assert "`api_key`" in result.stdout
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100


def test_looking_for_a_while_counts_the_looks(model_server: ModelServer) -> None:
    model_server.mode("errors", rate=0.5)
    url = f"{model_server.url}/health"
    result = run("--url", url, "--for", "500ms", "--set", "checks.liveness.interval=100ms")
    assert result.exit_code in (0, 1)
    assert "did not pass" in result.stdout


def test_secrets_go_by_reference(model_server: ModelServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k-12345\n")
    base = ["--url", model_server.url, *WITH_STACK]
    assert run(*base, "--set", f"checks.user_path.api_key=file:{key}").exit_code == 0
    assert run(*base, "--set", "checks.user_path.api_key=env:PROBE_KEY", PROBE_KEY="k").exit_code == 0
    plain = run(*base, "--set", "checks.user_path.api_key=k-12345")
    assert plain.exit_code == 2
    assert "env:NAME" in plain.stderr


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ([], "ENDPOINT"),
        (["e1", "--url", "http://127.0.0.1:1"], "not both"),
        (["e1"], "--config"),
        (["e1", "--config", "/nonexistent/steerd.yaml"], "steerd.yaml"),
        (["--url", "http://127.0.0.1:1", "--stack", "vlm"], "vllm"),
        (["--url", "http://127.0.0.1:1", "--stack", "triton", "--set", "checks.user_path.slow=1s"], "inputs"),
        (["--url", "http://127.0.0.1:1", "--set", "liveness.path=/"], "checks.NAME.KEY=VALUE"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.live.path=/"], "liveness"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.pth=/"], "path"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.timeout=soon"], "duration"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.timeout=0s"], "longer than 0"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.status=ok"], "status"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.method=PUSH"], "GET"),
        (["--url", "http://127.0.0.1:1", "--set", "checks.liveness.json={a"], "json"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(arguments: Sequence[str], needle: str) -> None:
    result = run(*arguments, STEERD_CONFIG="")
    assert result.exit_code == 2, result.output
    assert needle in result.stderr
    assert "Traceback" not in result.output


CONFIG = """
fleet: test
regions: {{r1: {{zones: [z1]}}}}
agents: {{a1: {{zone: z1}}}}
coordinators: {{c1: {{region: r1, url: "http://127.0.0.1:7443"}}}}
services:
  chat:
    stack: vllm
    model: demo-7b
    objectives: {{ttft: 5s}}
    depends_on: [cache, store]
    endpoints:
      chat-1: {{zone: z1, url: "{url}", capacity: 10}}
dependencies:
  cache: {{kind: tcp, url: "tcp://127.0.0.1:{cache}"}}
  store:
    kind: http
    instances: {{r1: {{url: "{url}/health"}}}}
quorum: {{voices: 1, vantage_regions: 1}}
"""


@pytest.fixture
def config(model_server: ModelServer, tmp_path: Path) -> Path:
    path = tmp_path / "steerd.yaml"
    path.write_text(CONFIG.format(url=model_server.url, cache=model_server.port))
    return path


def test_an_endpoint_of_a_config_with_its_dependencies(config: Path, model_server: ModelServer) -> None:
    answer = found("chat-1", "--config", str(config))
    assert answer["verdict"] == "healthy"
    assert {check["name"]: check["layer"] for check in answer["checks"]} == {
        "liveness": "liveness",
        "readiness": "readiness",
        "progress": "progress",
        "user_path": "user_path",
        "dependency:cache": "dependency",
        "dependency:store": "dependency",
    }
    config.write_text(CONFIG.format(url=model_server.url, cache=1))
    degraded = found("chat-1", "--config", str(config))
    assert degraded["verdict"] == "degraded"


def test_an_endpoint_that_is_not_in_the_config(config: Path) -> None:
    result = run("chat-2", STEERD_CONFIG=str(config))
    assert result.exit_code == 2
    assert "chat-1" in result.stderr


def test_a_config_with_problems_shows_them(config: Path) -> None:
    config.write_text(config.read_text().replace("stack: vllm", "stack: vlm"))
    result = run("chat-1", "--config", str(config))
    assert result.exit_code == 2
    assert "steerd.yaml:" in result.stderr


def outcomes(*pairs: tuple[Layer, Status]) -> list[Outcome]:
    return [Outcome(status, layer) for layer, status in pairs]


LIVE, READY, USER = Layer.LIVENESS, Layer.READINESS, Layer.USER_PATH
GOOD = (LIVE, Status.PASS)


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        (outcomes(GOOD), Verdict.HEALTHY),
        (outcomes(GOOD, (USER, Status.FAIL), (READY, Status.SATURATED)), Verdict.UNHEALTHY),
        (outcomes(GOOD, (Layer.CORRECTNESS, Status.FAIL)), Verdict.UNHEALTHY),
        (outcomes(GOOD, (USER, Status.SATURATED), (Layer.DEPENDENCY, Status.FAIL)), Verdict.SATURATED),
        (outcomes(GOOD, (USER, Status.SLOW)), Verdict.DEGRADED),
        (outcomes(GOOD, (Layer.DEPENDENCY, Status.FAIL)), Verdict.DEGRADED),
        (outcomes(GOOD, (USER, Status.ERROR)), Verdict.HEALTHY),
        (outcomes((LIVE, Status.ERROR), (USER, Status.PASS)), Verdict.UNKNOWN),
        (outcomes((LIVE, Status.ERROR), (USER, Status.FAIL)), Verdict.UNHEALTHY),
        (outcomes((USER, Status.PASS)), Verdict.HEALTHY),
        (outcomes((USER, Status.ERROR)), Verdict.UNKNOWN),
        ([], Verdict.UNKNOWN),
    ],
)
def test_the_verdict_of_single_looks(looks: list[Outcome], verdict: Verdict) -> None:
    assert probe.verdict_of(looks) is verdict


def test_stacks_are_listed_and_shown() -> None:
    listed = run(command=stacks.command)
    assert listed.exit_code == 0
    assert "vllm" in listed.stdout
    assert "(generate)" in listed.stdout  # optional
    shown = run("vllm", command=stacks.command)
    assert "/v1/models" in shown.stdout
    assert "vllm:num_requests_running" in shown.stdout
    optional = run("sglang", command=stacks.command)
    assert "`checks: {generate: {}}` switches it on" in optional.stdout
    facts = json.loads(run("vllm", "--json", command=stacks.command).stdout)
    assert [check["name"] for check in facts["checks"]] == ["liveness", "readiness", "progress", "user_path"]
    assert all(check["why"] for check in facts["checks"])
    everything = json.loads(run("--json", command=stacks.command).stdout)
    triton = next(stack for stack in everything if stack["name"] == "triton")
    assert {check["name"]: check["optional"] for check in triton["checks"]}["progress"] is True


def test_an_unknown_stack_has_a_hint() -> None:
    result = run("vlm", command=stacks.command)
    assert result.exit_code == 2
    assert "did you mean `vllm`?" in result.stderr


@pytest.mark.parametrize("command", [probe.command, stacks.command])
def test_help_keeps_its_examples_in_lines(command: Any) -> None:
    text = run("--help", command=command).stdout
    assert "\n  Examples:\n    steerd " in text
    assert "\\b" not in text
