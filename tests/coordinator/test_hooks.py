"""Activation hooks against a real server and real programs: bounded, asked again where that is safe, and silent about secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from steerd.coordinator import hooks as room
from steerd.coordinator.clock import SystemClock
from steerd.coordinator.hooks import Hooks, NoHooks, SystemHooks
from steerd.core.effects import RunHook
from steerd.core.events import Event, HookFinished
from steerd.model.fleet import Secret
from tests.support.wait import until


class Scaler:
    """A webhook that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[Any, str | None]] = []
        self.hang = False

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((json.loads(await request.text() or "null"), request.headers.get("Authorization")))
        if self.hang:
            await asyncio.sleep(60)
        return web.Response(status=self.answers.pop(0) if self.answers else 202, text="s3cret-answer")


@pytest.fixture
async def scaler() -> AsyncIterator[tuple[Scaler, str]]:
    made = Scaler()
    app = web.Application()
    app.router.add_post("/scale", made.handle)
    server = TestServer(app)
    await server.start_server()
    yield made, f"http://127.0.0.1:{server.port}/scale?token=s3cret"
    await server.close()


def resolve(secret: Secret) -> str:
    if secret.ref == "GONE":
        raise LookupError("{env: GONE} is not set")
    return f"Bearer {secret.ref}"


async def run(hook: dict[str, Any], *, timeout_s: float = 10.0) -> HookFinished:
    said: list[Event] = []
    async with asyncio.TaskGroup() as group:
        hooks = Hooks(SystemHooks(resolve), SystemClock(), said.append)
        hooks.start(group)
        hooks.submit(RunHook("chat", "us", 0, {**hook, "timeout_s": timeout_s}))
        await until(lambda: said, timeout_s + 5)
    (finished,) = said
    assert isinstance(finished, HookFinished)
    return finished


async def test_a_webhook_gets_its_body_and_its_secret(scaler: tuple[Scaler, str]) -> None:
    far, url = scaler
    said = await run({"webhook": url, "body": {"replicas": 8}, "headers": {"Authorization": {"env": "TOKEN"}}})
    assert said == HookFinished("chat", "us", 0, True, "the webhook answered 202")
    assert far.got == [({"replicas": 8}, "Bearer TOKEN")]


async def test_it_is_asked_again_where_that_is_safe(
    scaler: tuple[Scaler, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    far, url = scaler
    monkeypatch.setattr(room, "RETRY_S", 0.01)
    far.answers = [503, 429]
    with caplog.at_level(logging.DEBUG):
        assert (await run({"webhook": url})).ok
    assert len(far.got) == 3
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("steerd")]
    assert len(ours) == 2
    assert not any("s3cret" in line for line in ours)


@pytest.mark.parametrize("status", [302, 400, 403])
async def test_a_refusal_is_an_answer(scaler: tuple[Scaler, str], status: int) -> None:
    far, url = scaler
    far.answers = [status]
    said = await run({"webhook": url})
    assert (said.ok, said.text) == (False, f"the webhook answered {status}")
    assert len(far.got) == 1


async def test_one_that_hangs_ends_at_its_timeout(scaler: tuple[Scaler, str]) -> None:
    far, url = scaler
    far.hang = True
    said = await run({"webhook": url}, timeout_s=0.3)
    assert (said.ok, said.text) == (False, "not done within 0.3 s")


async def test_a_secret_that_is_missing_is_named_by_its_reference(scaler: tuple[Scaler, str]) -> None:
    said = await run({"webhook": scaler[1], "headers": {"Authorization": {"env": "GONE"}}})
    assert not said.ok
    assert "GONE" in said.text
    assert scaler[0].got == []


@pytest.mark.parametrize(
    ("code", "ok"),
    [("import os,sys; sys.exit(os.environ['STEERD_REGION'] != 'us')", True), ("import sys; sys.exit(3)", False)],
)
async def test_a_commands_exit_code_is_its_answer(code: str, ok: bool) -> None:
    said = await run({"command": (sys.executable, "-c", code)})
    assert said.ok is ok
    assert said.text == f"the command ended with exit code {0 if ok else 3}"


async def test_a_command_that_hangs_is_ended() -> None:
    said = await run({"command": (sys.executable, "-c", "import time; time.sleep(60)")}, timeout_s=0.5)
    assert said.text == "not done within 0.5 s"


@pytest.mark.parametrize("hook", [{"command": ("/no/such/program",)}, {"kubernetes": {"replicas": 8}}])
async def test_what_cannot_be_run_says_why(hook: dict[str, Any]) -> None:
    said = await run(hook)
    assert not said.ok
    assert "cannot be started" in said.text or "use `webhook` or `command`" in said.text


async def test_too_many_at_once_are_refused_and_none_is_left_behind() -> None:
    said: list[Event] = []
    async with asyncio.TaskGroup() as group:
        hooks = Hooks(SystemHooks(resolve), SystemClock(), said.append)
        hooks.start(group)
        hang = {"command": (sys.executable, "-c", "import time; time.sleep(60)")}
        for step in range(room.AT_ONCE + 1):
            hooks.submit(RunHook("chat", "us", step, hang))
        assert [e.step for e in said if isinstance(e, HookFinished)] == [room.AT_ONCE]
        hooks.cancel()
    assert len(said) == 1
    assert (await NoHooks()({}, "chat", "us"))[0] is False
