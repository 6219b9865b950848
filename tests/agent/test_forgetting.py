"""Targets come and go under a probe that stays: nothing is kept of those that went."""

from __future__ import annotations

import gc
from collections import deque
from typing import Any

import pytest

from probes.probe import Probe
from steerd.agent.looker import Looker, close_probes
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import Watch, watchlist
from steerd.model.fleet import Agent, Check, Endpoint, Fleet, Region, Service
from steerd.model.sample import Layer
from tests.support.model_server import ModelServer

TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [2, 3]}
CHECKS = (
    Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0, {"path": "/health"}),
    Check("followed", Layer.LIVENESS, "http", 5.0, 2.0, {"path": "/health", "follow": True}),
    Check("progress", Layer.PROGRESS, "progress", 5.0, 2.0, {"running": ("vllm:num_requests_running",)}),
    Check("chat", Layer.USER_PATH, "openai-chat", 5.0, 2.0, {}),
    Check("infer", Layer.USER_PATH, "kserve-infer", 5.0, 2.0, {"inputs": [TENSOR]}),
    Check("script", Layer.USER_PATH, "script", 5.0, 2.0, {"steps": [{"path": "/health"}]}),
    Check("redis", Layer.READINESS, "redis", 5.0, 0.2, {"url": "redis://127.0.0.1:1"}),
)


def watches(url: str, *names: str) -> tuple[Watch, ...]:
    endpoints = tuple(Endpoint(name, "s", "z", url, 1.0) for name in names)
    service = Service(name="s", model="demo-7b", checks=CHECKS, endpoints=endpoints)
    fleet = Fleet(name="t", regions=(Region("r", ("z",)),), agents=(Agent("a1", "z"),), services=(service,))
    return watchlist(fleet, "a1").watches


def mentions(probe: Probe, name: str) -> int:
    """How often the name stands in what the probe holds."""
    found, seen, rest = 0, set[int](), list[Any]([probe])
    while rest:
        one = rest.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, str):
            found += one == name
        elif isinstance(one, dict):
            rest += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset, deque)) or type(one).__module__.startswith("probes"):
            rest += gc.get_referents(one)
    return found


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
async def test_a_probe_forgets_a_target_that_left(server_process: ModelServer, check: str) -> None:
    server_process.mode("healthy")
    url = server_process.url
    looker = Looker(str, lambda _: None)
    looker.set_watches(watches(url, "stays", "leaves"))
    for watch in watches(url, "stays", "leaves"):
        if watch.check.name == check:
            await looker.look(Due(watch, 0.0), 2.0)
    probe = looker._probes["s", check]
    before = mentions(probe, "leaves")
    assert (before > 0) == (check != "redis")  # nothing of a redis that was never there
    assert looker.set_watches(watches(url, "stays")) == []
    assert looker._probes["s", check] is probe
    assert mentions(probe, "leaves") == 0
    if before:
        assert mentions(probe, "stays") > 0
    await close_probes(list(looker._probes.values()))
