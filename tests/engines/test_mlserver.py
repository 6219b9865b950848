"""The failure modes of probes.md on MLServer, over the open inference protocol: a front and a worker process behind it.

Not provoked here: a revoked key (it knows no keys), a 429 (it queues without limit), streams and long prompts (an inference has
none), stale metrics (it makes them when asked), TLS and names (of the connection, not of the engine).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from probes.outcome import Status
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.engines.cases import Case, agent_tells, probe_tells
from tests.engines.engine import starved
from tests.engines.kserve import INPUTS, MLServer
from tests.engines.telling import watching, write
from tests.support.wait import until, until_sync

pytestmark = pytest.mark.engines

PROGRESS = {
    "layer": "progress",
    "kind": "progress",
    "interval": "1s",
    "timeout": "1s",
    "settings": {
        "running": ["rest_server_requests_in_progress"],
        "steps": ["model_infer_request_duration_count", "model_infer_request_success_total"],
        "stall": "3s",
    },
    "why": "requests are in progress and none ends",
}
OWN = {"mlserver": {"extends": "kserve", "help": "MLServer", "checks": {"progress": PROGRESS}}}
GATES = ("liveness", "readiness", "model", "metadata")
CHECKS: dict[str, dict[str, Any]] = {
    **{name: {"interval": "1s", "timeout": "1s"} for name in GATES},
    "progress": {},
    "user_path": {
        "inputs": INPUTS,
        "interval": "3s",
        "timeout": "3s",
        "slow": "1s",
        "json": {"path": "outputs.0.data.1", "equals": 4},
    },
}


@contextlib.contextmanager
def killed(server: MLServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def frozen(server: MLServer) -> Iterator[None]:
    with server.frozen():
        yield


@contextlib.contextmanager
def another(server: MLServer, **options: Any) -> Iterator[None]:
    """A bad deploy: started again with other options on the same ports."""
    server.restart(**options)
    yield
    server.restart()


@contextlib.contextmanager
def loading(server: MLServer) -> Iterator[None]:
    with server.gate():
        server.restart(wait=False)
        until_sync(lambda: server.status("/v2/health/live") == 200, 60.0)
        yield
    until_sync(server.up, 60.0)


@contextlib.contextmanager
def worker_killed(server: MLServer) -> Iterator[None]:
    """MLServer starts another at once, which does not get its model."""
    with server.gate():
        os.kill(server.worker(), signal.SIGKILL)
        until_sync(lambda: server.ask("/v2/models/doubler/infer", {"inputs": INPUTS}) == 500, 20.0)
        yield
    server.until_infers()


@contextlib.contextmanager
def worker_frozen(server: MLServer) -> Iterator[None]:
    with server.frozen(server.worker()), server.users(1):
        yield
    server.restart()


@contextlib.contextmanager
def busy(server: MLServer) -> Iterator[None]:
    """Ten users of a worker that needs 0.5 s for each of them."""
    server.restart(work_s=0.5)
    with server.users(10):
        yield
    server.restart()


@contextlib.contextmanager
def hungry(server: MLServer) -> Iterator[None]:
    with starved(server.worker()):
        yield


NO_ANSWER = ("FAIL", "no answer in time")
NOT_READY = ("FAIL", "HTTP 400: not ready")
WELL = dict.fromkeys(GATES, ("PASS", None))
CASES = (
    Case(
        "process dead, refused",
        killed,
        "unhealthy",
        {
            **dict.fromkeys((*GATES, "user_path"), ("FAIL", "connection refused")),
            "progress": ("ERROR", "the metrics cannot be read: connection refused"),
        },
        (*GATES, "user_path"),
        transport=True,
    ),
    Case(
        "accepts, never answers",
        frozen,
        "unhealthy",
        {
            **dict.fromkeys((*GATES, "user_path"), NO_ANSWER),
            "progress": ("ERROR", "the metrics cannot be read: no answer in time"),
        },
        (*GATES, "user_path"),
        transport=True,
    ),
    Case(
        "engine frozen behind a live front",
        worker_frozen,
        "unhealthy",
        {**WELL, "progress": ("FAIL", "no progress: busy and not one step"), "user_path": NO_ANSWER},
        ("progress", "user_path"),
        transport=True,
        probe=("--for", "6s"),
    ),
    Case(
        "engine killed behind a live front",
        worker_killed,
        "unhealthy",
        {**WELL, "progress": ("PASS", None), "user_path": ("FAIL", "HTTP 500")},
        ("user_path",),
        Layer.USER_PATH,
        transport=False,
    ),
    Case(
        "still loading weights",
        loading,
        "unhealthy",
        {
            "liveness": ("PASS", None),
            "readiness": NOT_READY,
            "model": NOT_READY,
            "user_path": ("FAIL", "model not ready"),
        },
        ("readiness", "model", "user_path"),
        Layer.READINESS,
        transport=False,
    ),
    Case(
        "busy",
        busy,
        "saturated",
        {  # its worker answers the first question for metadata, in its turn
            **dict.fromkeys(("liveness", "readiness", "model", "progress"), ("PASS", None)),
            "user_path": ("SATURATED", "busy: no answer in time, its counters move"),
        },
        ("user_path",),
        Layer.USER_PATH,
    ),
    Case(
        "slow",
        partial(another, work_s=1.5),
        "degraded",
        {**WELL, "user_path": ("SLOW", "slower than 1 s")},
        ("user_path",),
        Layer.USER_PATH,
    ),
    Case(
        "slow for want of cpu",
        hungry,
        "degraded",
        {**WELL, "user_path": ("SLOW", "slower than 0.1 s")},
        ("user_path",),
        Layer.USER_PATH,
        settings={"user_path": {"slow": "100ms"}},
    ),
    Case(
        "wrong answers",
        partial(another, factor=3),
        "unhealthy",
        {**WELL, "user_path": ("FAIL", "wrong answer")},
        ("user_path",),
        Layer.CORRECTNESS,
        transport=False,
    ),
    Case(
        "answers that are no numbers",
        partial(another, factor="nan"),
        "unhealthy",
        {**WELL, "user_path": ("FAIL", "output has values that are no numbers")},
        ("user_path",),
        transport=False,
    ),
    Case(
        "wrong model id",
        partial(another, model="other"),
        "unhealthy",
        {
            "liveness": ("PASS", None),
            "readiness": ("PASS", None),
            "model": ("FAIL", "HTTP 404"),
            "metadata": ("FAIL", "HTTP 404"),
            "user_path": ("FAIL", "model not found"),
        },
        ("model", "metadata", "user_path"),
        Layer.READINESS,
        transport=False,
    ),
    Case(
        "no metrics",
        partial(another, metrics=False),
        "healthy",
        {
            **WELL,
            "user_path": ("PASS", None),
            "progress": ("ERROR", "the metrics cannot be read: connection refused"),
        },
    ),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MLServer]:
    made = MLServer(tmp_path)
    try:
        yield made
    finally:
        made.kill()


def config_of(server: MLServer, case: Case | None = None) -> Path:
    settings = {} if case is None else case.settings
    checks = {name: {**common, **settings.get(name, {})} for name, common in CHECKS.items()}
    checks["progress"]["port"] = server.metrics_port
    server.start()
    return write(server.home, server.url, "doubler", "mlserver", checks, OWN)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_probe_tells(case: Case, server: MLServer) -> None:
    probe_tells(case, server, config_of(server, case))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_running_agent_tells(case: Case, server: MLServer) -> None:
    await agent_tells(case, server, config_of(server, case))


async def test_a_restart_under_load_is_no_standstill(server: MLServer) -> None:
    """Counters that go back to 0 while requests run: progress begins anew, and the endpoint is healthy again."""
    file = config_of(server)
    async with watching(file) as watched:
        with server.users(1):
            told = watched.ears.outcomes["progress"]
            await until(lambda: (told[-1].detail or "").startswith("moving"), 20.0)
            await asyncio.to_thread(server.restart)
            await until(lambda: told[-1].status is Status.PASS, 20.0)
        await watched.until(Verdict.HEALTHY)
    assert {one.status for one in told} <= {Status.PASS, Status.ERROR}  # an ERROR while it was down
