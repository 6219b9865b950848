"""The failure modes of probes.md on llama.cpp's own server, alone and as a router (a front with an engine process behind it).

Not provoked here: a real fall back to the CPU (it has no GPU to fall from; the token rate that gives it away is, by starving it), a
429 (this server queues without limit; a full queue is told by its depth), stale metrics (it makes them when asked), TLS and names
(of the connection, not of the engine: tests/probes/test_tls.py, test_addresses.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
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
from tests.engines.llama import LlamaServer
from tests.engines.telling import seen, watching, write
from tests.support.wait import until, until_sync

pytestmark = pytest.mark.engines

WELL = {"liveness": ("PASS", None), "readiness": ("PASS", None)}
CHECKS: dict[str, dict[str, Any]] = {
    "liveness": {"interval": "1s", "timeout": "1s"},
    "readiness": {"interval": "1s", "timeout": "1s"},
    "progress": {"interval": "1s", "timeout": "1s", "stall": "5s"},
    "user_path": {"interval": "3s", "timeout": "3s", "ttft": "1s", "ttft_limit": "2500ms"},
}
ROUTED = {"path": "/metrics?model=$model"}


@contextlib.contextmanager
def killed(server: LlamaServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def frozen(server: LlamaServer) -> Iterator[None]:
    with server.frozen():
        yield


@contextlib.contextmanager
def another(server: LlamaServer, **options: Any) -> Iterator[None]:
    """A bad deploy: started again with other options on the same port."""
    server.restart(**options)
    yield
    server.restart()


@contextlib.contextmanager
def loading(server: LlamaServer) -> Iterator[None]:
    """Started again, with a larger file and hardly any CPU to read it with."""
    server.restart(wait=False, inner=12_000)
    with starved(server.pid):
        until_sync(lambda: server.status("/health") == 503, 60.0)
        yield
    until_sync(server.up, 60.0)
    server.restart()


@contextlib.contextmanager
def busy(server: LlamaServer) -> Iterator[None]:
    """More users than slots."""
    with server.users(4):
        until_sync(lambda: server.metric("llamacpp:requests_deferred") >= 2, 20.0)
        yield
    server.restart()  # what users asked for and no longer wait for


@contextlib.contextmanager
def hungry(server: LlamaServer) -> Iterator[None]:
    with starved(server.pid):
        yield


@contextlib.contextmanager
def cut(server: LlamaServer, *, router: bool = False) -> Iterator[None]:
    """SIGKILL to the engine's process whenever a long answer is on its way; the router starts another."""
    over = threading.Event()

    def shoot() -> None:
        while not over.is_set():
            if server.metric("llamacpp:requests_processing") > 0:
                over.wait(0.2)
                if router:
                    server.kill_worker()
                else:
                    os.kill(server.pid, signal.SIGKILL)
                    return

    gunman = threading.Thread(target=shoot)
    gunman.start()
    try:
        yield
    finally:
        over.set()
        gunman.join()
        server.restart(router=router)


@contextlib.contextmanager
def worker_frozen(server: LlamaServer) -> Iterator[None]:
    with server.frozen(server.worker()):
        yield


@contextlib.contextmanager
def worker_killed(server: LlamaServer, *, autoload: bool) -> Iterator[None]:
    """The model's process is gone for good: nobody loads it again, or the file is damaged."""
    if autoload:
        server.damage()
    server.kill_worker()
    yield
    server.restart(router=True, more=() if autoload else ("--no-models-autoload",))


NO_ANSWER = ("FAIL", "no answer in time")
NO_TOKEN = ("FAIL", "no first token in time")
BUSY = ("SATURATED", "busy: no first token in time, its counters move")
LONG = {"user_path": {"long_every": 2, "long_words": 80}}
PATIENT = {"timeout": "5s", "interval": "5s", "ttft_limit": "5s"}
ENDLESS = {"user_path": {"max_tokens": 600, **PATIENT}}
ALONE = (
    Case(
        "process dead, refused",
        killed,
        "unhealthy",
        {
            **dict.fromkeys(("liveness", "readiness", "user_path"), ("FAIL", "connection refused")),
            "progress": ("ERROR", "the metrics cannot be read: connection refused"),
        },
        ("liveness", "readiness", "user_path"),
        transport=True,
    ),
    Case(
        "accepts, never answers",
        frozen,
        "unhealthy",
        {
            "liveness": NO_ANSWER,
            "readiness": NO_ANSWER,
            "user_path": NO_TOKEN,
            "progress": ("ERROR", "the metrics cannot be read: no answer in time"),
        },
        ("liveness", "readiness", "user_path"),
        transport=True,
    ),
    Case(
        "still loading weights",
        loading,
        "unhealthy",
        dict.fromkeys(("liveness", "readiness", "user_path"), ("FAIL", "HTTP 503")),
        ("liveness", "readiness", "user_path"),
        transport=False,
    ),
    Case(
        "busy",
        busy,
        "saturated",
        {**WELL, "progress": ("PASS", None), "user_path": BUSY},
        ("user_path",),
        Layer.USER_PATH,
    ),
    Case(
        "queue full",
        busy,
        "saturated",
        {**WELL, "progress": ("SATURATED", "queue over its limit"), "user_path": BUSY},
        ("progress", "user_path"),
        settings={"progress": {"queue": 2}},
        probe=("--for", "3s"),
    ),
    Case(
        "ttft x10",
        hungry,
        "degraded",
        {"user_path": ("SLOW", "time to first token over its objective")},
        ("user_path",),
        settings={"user_path": {"ttft": "300ms", "prefix": "nonce", **PATIENT}},
    ),
    Case(
        "silent cpu fallback by its token rate",
        hungry,
        "degraded",
        {"user_path": ("SLOW", "tokens come slower than their objective")},
        ("user_path",),
        settings={"user_path": {"ttft": "5s", "token_rate": 100, **PATIENT}},
    ),
    Case(
        "wrong answers",
        partial(another, kind="random"),
        "unhealthy",
        {**WELL, "progress": ("PASS", None), "user_path": ("FAIL", "wrong answer|gibberish: .*|empty answer")},
        ("user_path",),
        Layer.CORRECTNESS,
        transport=False,
    ),
    Case(
        "gibberish with long prompts only",
        partial(another, kind="forgetful"),
        "unhealthy",
        {**WELL, "progress": ("PASS", None), "user_path": ("FAIL", "gibberish: one word repeated")},
        ("user_path",),
        Layer.CORRECTNESS,
        transport=False,
        settings=LONG,
        probe=("--for", "4s"),
    ),
    Case(
        "wrong model id",
        partial(another, alias="other"),
        "unhealthy",
        {"liveness": ("PASS", None), "readiness": ("FAIL", "model not found")},
        ("readiness",),
        Layer.READINESS,
        transport=False,
    ),
    Case(
        "stream cut half way",
        cut,
        "unhealthy",
        {**WELL, "user_path": ("FAIL", "stream broken off")},
        ("user_path",),
        Layer.USER_PATH,
        settings=ENDLESS,
        agent=False,
    ),
    Case(
        "probe key revoked",
        partial(another, more=("--api-key", "another")),
        "healthy",
        {"liveness": ("PASS", None), "user_path": ("ERROR", "HTTP 401: credentials refused")},
    ),
    Case(
        "no metrics",
        partial(another, metrics=False),
        "healthy",
        {**WELL, "user_path": ("PASS", None), "progress": ("ERROR", "the metrics cannot be read: HTTP 501")},
    ),
    Case(
        "prompt refused as too long",
        partial(another, context=256),
        "healthy",
        {**WELL, "user_path": ("ERROR", "HTTP 400: request refused")},
        settings=LONG,
        probe=("--for", "4s"),
    ),
)
ROUTER = {"router": True}
BEHIND = (
    Case(
        "engine frozen behind a live front",
        worker_frozen,
        "unhealthy",
        {**WELL, "user_path": NO_TOKEN, "progress": ("ERROR", "the metrics cannot be read: no answer in time")},
        ("user_path",),
        Layer.USER_PATH,
        transport=True,
        start=ROUTER,
    ),
    Case(
        "engine killed behind a live front",
        partial(worker_killed, autoload=False),
        "unhealthy",
        {
            **WELL,
            "user_path": ("FAIL", "model not loaded"),
            "progress": ("ERROR", "the metrics cannot be read: HTTP [45]00"),
        },
        ("user_path",),
        Layer.READINESS,
        start={**ROUTER, "more": ("--no-models-autoload",)},
    ),
    Case(
        "engine killed behind a live front and its file damaged",
        partial(worker_killed, autoload=True),
        "unhealthy",
        {**WELL, "user_path": ("FAIL", "HTTP 500"), "progress": ("ERROR", "the metrics cannot be read: HTTP [45]00")},
        ("user_path",),
        Layer.USER_PATH,
        start=ROUTER,
    ),
    Case(
        "stream cut behind a live front",
        partial(cut, router=True),
        "unhealthy",
        {**WELL, "user_path": ("FAIL", "stream cut before its finish_reason")},
        ("user_path",),
        Layer.USER_PATH,
        start=ROUTER,
        settings=ENDLESS,
        agent=False,
    ),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[LlamaServer]:
    made = LlamaServer(tmp_path, models)
    try:
        yield made
    finally:
        made.kill()


def config_of(case: Case, server: LlamaServer) -> Path:
    checks = {name: {**common, **case.settings.get(name, {})} for name, common in CHECKS.items()}
    if case.start.get("router"):
        checks["progress"] |= ROUTED
    server.start(**case.start)
    return write(server.home, server.url, "demo", "llamacpp", checks)


@pytest.mark.parametrize("case", [*ALONE, *BEHIND], ids=str)
def test_the_probe_tells(case: Case, server: LlamaServer) -> None:
    probe_tells(case, server, config_of(case, server))


@pytest.mark.parametrize("case", [case for case in (*ALONE, *BEHIND) if case.agent], ids=str)
async def test_a_running_agent_tells(case: Case, server: LlamaServer) -> None:
    await agent_tells(case, server, config_of(case, server))


def test_the_stack_as_it_is_suits_the_server(server: LlamaServer) -> None:
    server.start()
    found = seen(server.home, "--url", server.url, "--stack", "llamacpp", "--model", "demo", endpoint=None)
    assert found.code == 0
    assert found.statuses("liveness", "readiness", "progress", "user_path") == ["PASS"] * 4


def test_a_model_that_the_router_does_not_know(server: LlamaServer) -> None:
    server.start(router=True)
    file = write(server.home, server.url, "other", "llamacpp", {**CHECKS, "progress": {**CHECKS["progress"], **ROUTED}})
    found = seen(file)
    assert (found.code, found.verdict) == (1, "unhealthy")
    assert found.checks["readiness"] == ("readiness", "FAIL", "model not found")
    assert found.checks["user_path"] == ("readiness", "FAIL", "model not found")


async def test_a_restart_under_load_is_no_standstill(server: LlamaServer) -> None:
    """Counters that go back to 0 while requests run: progress begins anew, and the endpoint is healthy again."""
    server.start()
    file = write(server.home, server.url, "demo", "llamacpp", CHECKS)
    async with watching(file) as watched:
        with server.users(1):
            told = watched.ears.outcomes["progress"]
            await until(lambda: (told[-1].detail or "").startswith("moving"), 20.0)
            await asyncio.to_thread(server.restart)
            await until(lambda: any((one.detail or "").startswith("restarted") for one in told), 20.0)
        await watched.until(Verdict.HEALTHY)
    assert {one.status for one in told} <= {Status.PASS, Status.ERROR}  # an ERROR while it was down
