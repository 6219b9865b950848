"""Activation hooks: how a coordinator starts capacity in a region that is about to take over (decisions.md, section 10).

A hook says what is wanted ("8 replicas"), so it may be sent again: after a lost answer, or by the next leader. Everything is
bounded: time, answers, how many run at once. URLs, headers and answers may carry secrets, so no text made here repeats them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp

from steerd.coordinator.clock import Clock
from steerd.core.effects import RunHook
from steerd.core.events import Event, HookFinished
from steerd.model.fleet import Secret

__all__ = ["HookRunner", "Hooks", "NoHooks", "SystemHooks"]

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 300.0
TRY_S = 30.0
RETRY_S = 2.0
ANSWER_BYTES = 4096
AT_ONCE = 8


class HookRunner(Protocol):
    """Carries out one hook; a simulator has its own."""

    async def __call__(self, hook: Mapping[str, Any], service: str, region: str, /) -> tuple[bool, str]:
        """Whether it was done, and in words what came of it. Never raises for what the far side does."""


class Hooks:
    """Runs hooks beside everything else; each ends in exactly one `HookFinished`."""

    def __init__(self, runner: HookRunner, clock: Clock, emit: Callable[[Event], None]) -> None:
        self._runner = runner
        self._clock = clock
        self._emit = emit
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[tuple[str, str, int], asyncio.Task[None]] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        """Tasks run in `group`."""
        self._group = group

    def submit(self, effect: RunHook) -> None:
        """Run one; a newer one for the same step replaces it."""
        assert self._group is not None, "start comes first"
        key = (effect.service, effect.region, effect.step)
        old = self._running.pop(key, None)
        if old is not None:
            old.cancel()
        if len(self._running) >= AT_ONCE:
            self._emit(HookFinished(*key, False, f"{AT_ONCE} hooks run already"))
            return
        self._running[key] = self._group.create_task(self._run(effect), name=f"hook {effect.service}/{effect.region}")

    def cancel(self) -> None:
        """The lead is gone, or the coordinator ends."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    async def _run(self, effect: RunHook) -> None:
        key = (effect.service, effect.region, effect.step)
        timeout_s = float(effect.hook.get("timeout_s") or DEFAULT_TIMEOUT_S)
        try:
            async with asyncio.timeout(timeout_s):
                ok, text = await self._runner(effect.hook, effect.service, effect.region)
        except TimeoutError:
            ok, text = False, f"not done within {timeout_s:g} s"
        if self._running.get(key) is asyncio.current_task():
            del self._running[key]
        self._emit(HookFinished(*key, ok, text))


class NoHooks:
    """For a coordinator that was given none: every hook fails and says so."""

    async def __call__(self, _hook: Mapping[str, Any], _service: str, _region: str) -> tuple[bool, str]:
        return False, "this coordinator was started without a way to run hooks"


class SystemHooks:
    """The real ones: a webhook or a command. `resolve` turns a secret reference of a header into its value."""

    def __init__(self, resolve: Callable[[Secret], str]) -> None:
        self._resolve = resolve

    async def __call__(self, hook: Mapping[str, Any], service: str, region: str) -> tuple[bool, str]:
        if "webhook" in hook:
            return await self._webhook(hook)
        if "command" in hook:
            return await self._command(hook, service, region)
        kind = next((k for k in ("autoscaling", "kubernetes") if k in hook), "this hook")
        return False, f"{kind} is not built yet: use `webhook` or `command`"

    async def _webhook(self, hook: Mapping[str, Any]) -> tuple[bool, str]:
        """POST until it is taken: what cannot be reached or answers 429 or 5xx is asked again, anything else is an answer."""
        try:
            headers = {name: self._value(value) for name, value in (hook.get("headers") or {}).items()}
        except Exception as error:  # noqa: BLE001  whatever keeps a secret from being read fails the step
            log.warning("activation hook: a header cannot be had: %s", error)  # it names the reference, never the value
            return False, f"a header of the webhook cannot be had: {error}"
        timeout = aiohttp.ClientTimeout(total=TRY_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    async with session.post(
                        hook["webhook"], json=hook.get("body"), headers=headers, allow_redirects=False
                    ) as answer:
                        await answer.content.read(ANSWER_BYTES)
                        text = f"the webhook answered {answer.status}"
                        if answer.status < 300:
                            return True, text
                        if answer.status != 429 and answer.status < 500:
                            return False, text
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    text = f"the webhook cannot be reached ({type(error).__name__})"
                log.warning("activation hook: %s, again in %g s", text, RETRY_S)
                await asyncio.sleep(RETRY_S)

    def _value(self, value: Any) -> str:
        if isinstance(value, Mapping):
            kind, ref = next(iter(value.items()))
            return self._resolve(Secret(kind, ref))
        return str(value)

    async def _command(self, hook: Mapping[str, Any], service: str, region: str) -> tuple[bool, str]:
        """Run a program without a shell; its output goes nowhere, its exit code is the answer."""
        program, *arguments = (str(part) for part in hook["command"])
        env = {**os.environ, "STEERD_SERVICE": service, "STEERD_REGION": region}
        try:
            process = await asyncio.create_subprocess_exec(
                program, *arguments, env=env, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            return False, f"the command cannot be started: {error.strerror or type(error).__name__}"
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return code == 0, f"the command ended with exit code {code}"
