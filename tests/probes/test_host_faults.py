"""What this host lacks, provoked for real: each look runs in a process of its own that lacks it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_server import ModelServer

ROOT = Path(__file__).resolve().parents[2]

LOOK = """
import asyncio, json, resource, socket, sys
from probes import Target, look_safely
from probes.registry import make

async def main(kind, url, settings, lack):
    probe = make(kind, "liveness", settings, str)
    loop = asyncio.get_running_loop()
    held = []
    if lack == "descriptors":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            while True:
                held.append(socket.socket())
        except OSError:
            pass
    outcome = await look_safely(probe, Target("e1", url, model="demo-7b"), loop.time() + 5)
    for one in held:
        one.close()
    again = await look_safely(probe, Target("e1", url, model="demo-7b"), loop.time() + 5) if held else None
    await probe.close()
    print(json.dumps([[o.status, o.host_error, o.transport, o.reason] for o in (outcome, again) if o]))

asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]))
"""


def looked(kind: str, url: str, settings: dict[str, Any], lack: str, *prefix: str) -> list[list[Any]]:
    command = [*prefix, sys.executable, "-c", LOOK, kind, url, json.dumps(settings), lack]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout)
    return found


TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
KINDS = [
    ("http", {"path": "/health"}),
    ("openai-chat", {}),
    ("tcp", {}),
    ("openai-completions", {}),
    ("openai-embeddings", {}),
    ("kserve-infer", {"inputs": [TENSOR]}),
    ("script", {"steps": [{"path": "/health"}]}),
    ("progress", {"running": "vllm:num_requests_running"}),
    ("version", {"json": "version"}),
    ("dns", {"name": "chat.example.test"}),
    ("dns", {"name": "chat.example.test", "transport": "tcp"}),
]


@pytest.mark.parametrize(("kind", "settings"), KINDS[:9])
def test_no_descriptors_left_blames_this_host_and_passes_again_after(
    model_server: ModelServer, kind: str, settings: dict[str, Any]
) -> None:
    starved, again = looked(kind, model_server.url, settings, "descriptors")
    assert starved[:3] == ["ERROR", True, False], starved
    assert again[0] == "PASS", again


def test_no_descriptors_for_a_command_blames_this_host(model_server: ModelServer) -> None:
    command = {"command": ["sh", "-c", """echo '{"status": "PASS"}'"""]}
    starved, again = looked("exec", model_server.url, command, "descriptors")
    assert starved[:3] == ["ERROR", True, False], starved
    assert again[0] == "PASS", again


@pytest.fixture(scope="module")
def no_network() -> str:
    """A program that runs another without any network, not even loopback."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("needs root and unshare (util-linux) to take the network away from a process")
    if subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this system does not allow network namespaces")
    return unshare


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_no_network_blames_this_host(
    model_server: ModelServer, no_network: str, kind: str, settings: dict[str, Any]
) -> None:
    ((status, host_error, transport, reason),) = looked(kind, model_server.url, settings, "-", no_network, "--net")
    assert (status, host_error, transport) == ("ERROR", True, False), reason


@pytest.mark.parametrize(("kind", "settings"), KINDS[:9])
def test_no_resolver_blames_this_host(no_network: str, kind: str, settings: dict[str, Any]) -> None:
    url = "http://chat.example.com:8000"
    ((status, _, transport, reason),) = looked(kind, url, settings, "-", no_network, "--net")
    assert (status, transport) == ("ERROR", False), reason
