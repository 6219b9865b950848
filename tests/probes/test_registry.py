from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from probes import stacks
from probes.probe import Probe
from probes.registry import KINDS, ProbeUnavailableError, make
from probes.stacks import StackCheck
from probes.units import duration_s

ROOT = Path(__file__).resolve().parents[2]
BUILT = {
    *("http", "tcp", "tls", "dns", "openai-chat", "openai-completions", "openai-embeddings", "kserve-infer", "script"),
    *("progress", "version", "exec"),
    *("grpc", "redis", "postgres", "rabbitmq", "nats-jetstream", "kafka", "sqs", "qdrant", "milvus", "weaviate", "s3"),
    *("dcgm", "prometheus", "icmp", "kserve-grpc"),
}
TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
REQUIRED: dict[str, dict[str, object]] = {
    "dns": {"name": "a.test"},
    "kserve-infer": {"inputs": [TENSOR]},
    "script": {"steps": [{"path": "/"}]},
    "progress": {"running": "engine_running"},
    "version": {"json": "version"},
    "exec": {"command": ["true"]},
    "sqs": {"queue": "jobs"},
    "s3": {"bucket": "models", "object": "canary"},
    "prometheus": {"query": "up"},
}


def test_every_kind_of_the_design_is_known() -> None:
    assert set(KINDS) == BUILT


@pytest.mark.parametrize("name", sorted(KINDS))
def test_kinds_say_what_they_take(name: str) -> None:
    kind = KINDS[name]
    assert kind.name == name
    assert kind.help
    names = [setting.name for setting in kind.settings]
    assert len(names) == len(set(names))
    assert all(setting.help for setting in kind.settings)
    for setting in kind.settings:
        assert not setting.choices or setting.default in (None, *setting.choices)
        assert not (setting.required and setting.default is not None)


@pytest.mark.parametrize("name", sorted(BUILT))
async def test_every_kind_can_be_made_from_its_own_defaults(name: str) -> None:
    defaults = {s.name: s.default for s in KINDS[name].settings if s.default is not None}
    probe = make(name, "readiness", {**defaults, **REQUIRED.get(name, {})}, str)
    assert isinstance(probe, Probe)
    assert probe.layer == "readiness"
    await probe.close()
    await probe.close()


def test_a_kind_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ProbeUnavailableError, match="'htpp'"):
        make("htpp", "liveness", {}, str)


@pytest.mark.parametrize(
    ("kind", "settings", "needle"),
    [
        ("http", {"status": "ok"}, "status"),
        ("http", {"status": []}, "status"),
        ("http", {"status": True}, "status"),
        ("http", {"pattern": "("}, "pattern"),
        ("http", {"json": "data"}, "json"),
        ("http", {"json": {"path": "a", "is": 1}}, "'is'"),
        ("http", {"slow": -1}, "slow"),
        ("http", {"headers": "X: 1"}, "headers"),
        ("http", {"version": "X"}, "version"),
        ("http", {"key": "/k"}, "cert"),
        ("http", {"path": 7}, "path"),
        ("tcp", {"port": 70000}, "port"),
        ("dns", {}, "name"),
        ("dns", {"name": "a" * 70}, "name"),
        ("dns", {"name": "a", "type": "ADDRESS"}, "type"),
        ("dns", {"name": "a", "expect": 5}, "expect"),
        ("openai-chat", {"body": "x"}, "body"),
        ("openai-chat", {"prompts": []}, "prompts"),
        ("openai-chat", {"max_tokens": 0}, "max_tokens"),
        ("openai-chat", {"prefix": "none"}, "prefix"),
        ("kserve-infer", {}, "inputs"),
        ("kserve-infer", {"inputs": [{"name": "x"}]}, "inputs"),
        ("script", {"steps": []}, "steps"),
        ("script", {"steps": [{"pth": "/"}]}, "'pth'"),
        ("script", {"steps": [{"send": {}, "body": "x"}]}, "send"),
        ("script", {"steps": [{"method": "BREW"}]}, "BREW"),
        ("script", {"steps": [{"expect": {"state": 200}}]}, "expect"),
        ("script", {"steps": [{"expect": {"slow": "soon"}}]}, "duration"),
        ("script", {"steps": [{"path": "/${id}"}]}, "no earlier step captures"),
        ("script", {"steps": [{"capture": {"id": {"pattern": "x"}}}]}, "group"),
        ("script", {"steps": [{"capture": {"id": {"cookie": "x"}}}]}, "capture"),
        ("progress", {}, "running"),
        ("version", {}, "json"),
        ("version", {"json": "a", "metric": "b"}, "json"),
        ("exec", {"command": []}, "command"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(kind: str, settings: dict[str, object], needle: str) -> None:
    with pytest.raises(ValueError, match=needle):
        make(kind, "liveness", settings, str)


def test_reading_stacks_and_kinds_loads_no_client_library() -> None:
    """`steerd config check` does this: it must start quickly and work without any client installed."""
    code = "import sys; from probes import stacks; [stacks.load(n) for n in stacks.names()]; "
    code += "print([m for m in ('aiohttp', 'dns', 'yarl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_probes_import_nothing_of_steerd() -> None:
    code = "import sys, probes.registry; [__import__(m) for m in probes.registry._MODULES.values()]; "
    code += "print([m for m in sys.modules if m.split('.')[0] == 'steerd'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STACKS = [
    *("dynamo", "http", "kserve", "litellm", "llamacpp", "nim", "ollama", "openai", "ray-serve", "sglang", "tgi"),
    *("triton", "trtllm", "vllm"),
]


def test_every_stack_of_the_design_is_known() -> None:
    assert stacks.names() == STACKS


@pytest.mark.parametrize("name", STACKS)
def test_stacks_read_well(name: str) -> None:
    stack = stacks.load(name)
    assert stack.name == name
    assert stack.help
    for check in stack.checks:
        assert check.why
        assert check.kind in BUILT
        make(check.kind, check.layer, {**REQUIRED.get(check.kind, {}), **check.settings}, str)
    always = {check.layer for check in stack.checks if not check.optional}
    assert always & {"liveness", "readiness"}


def test_what_vllm_checks() -> None:
    found = {check.name: (check.layer, check.kind) for check in stacks.load("vllm").checks}
    assert found == {
        "liveness": ("liveness", "http"),
        "readiness": ("readiness", "http"),
        "progress": ("progress", "progress"),
        "user_path": ("user_path", "openai-chat"),
    }


def test_an_unknown_stack_names_the_known() -> None:
    with pytest.raises(KeyError, match="vllm"):
        stacks.load("vlm")
    with pytest.raises(KeyError):
        stacks.load("../registry")


def test_a_stack_of_ones_own() -> None:
    text = """
name: mine
help: my own
checks:
  readiness: {kind: http, interval: 1m30s, timeout: 250ms, settings: {path: /up, slow: 1s}, why: because}
"""
    assert stacks.read(text, "mine.yaml").checks == (
        StackCheck("readiness", "readiness", "http", 90.0, 0.25, {"path": "/up", "slow": 1.0}, "because"),
    )


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("[", "mine.yaml"),
        ("7", "name"),
        ("{name: x, checks: 7}", "checks"),
        ("{name: x, check: {}}", "'check'"),
        ("{name: x, checks: {a: 7}}", "checks.a"),
        ("{name: x, checks: {a: {kind: htp}}}", "'htp'"),
        ("{name: x, checks: {a: {kind: http}}}", "layer"),
        ("{name: x, checks: {liveness: {kind: http, settings: {pth: /}}}}", "'pth'"),
        ("{name: x, checks: {liveness: {kind: http, interval: soon}}}", "duration"),
    ],
)
def test_a_stack_that_is_wrong_says_where(text: str, needle: str) -> None:
    with pytest.raises(ValueError, match=needle):
        stacks.read(text, "mine.yaml")


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("5s", 5), ("2m30s", 150), ("1h", 3600), (1.5, 1.5)])
def test_durations(text: str | float, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5sm", "1h!", "ms"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_s(text)
