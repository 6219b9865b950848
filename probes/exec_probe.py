"""`exec`: a command of any language that prints its outcome as JSON.

The command gets, on standard input and as one line, {"name", "url", "address", "model", "layer", "timeout_s", "fresh"}, and prints
{"status": "PASS"|"FAIL"|"SLOW"|"SATURATED"|"ERROR", "reason", "detail", "transport", "version", "readings", "tokens"}; all but
`status` may be left out. It runs in a process group of its own that is killed when its time is over, or when it has ended and left
somebody behind. Its environment is PATH, LANG and what `env` gives; its working directory is `/`.

What is no outcome (another exit code and no JSON, no such program, too much output, time over) is ERROR: it tells of the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from probes.clock import StageClock
from probes.errors import MisconfiguredError, SettingError, host_errno
from probes.guard import result, scrubbed
from probes.json_path import BadJsonError, parse
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, headers_of, strings, substitute
from probes.target import Target

__all__ = ["ExecProbe", "build", "problem_of"]

_MOST_BYTES = 65536
_SPARE_S = 0.1
"""Before the deadline the command is killed, so that what it left is cleaned up in time."""

_KEYS = {"status", "reason", "detail", "transport", "version", "readings", "tokens"}


class _Running(asyncio.SubprocessProtocol):
    """A command at work. `said` is what came from its standard output (1) and error (2), each to a bound; `ended` is done once it
    has ended and its pipes are closed, which nobody of its group can hold open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.said = {1: bytearray(), 2: bytearray()}
        self.too_much = False
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one in all but its class.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said[fd] += data
        if len(self.said[fd]) > _MOST_BYTES:
            self.too_much = True
            self.kill()

    def process_exited(self) -> None:
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.ended.done():
            self.ended.set_result(None)

    def say(self, data: bytes) -> None:
        """Write to its standard input, which it need not read, and close that."""
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is not None:
            pipe.write(data)
            pipe.close()

    def let_go(self) -> None:
        """Close its pipes, which somebody outside the group may hold open, and the rest once it has ended: closing that
        earlier would take the process's end from the loop, which then complains of a child it does not know."""
        transport = self._transport
        assert transport is not None
        for number in range(3):
            pipe = transport.get_pipe_transport(number)
            if pipe is not None:
                pipe.close()
        self.ended.add_done_callback(lambda _: transport.close())

    def kill(self) -> None:
        """Kill the whole group, also when its first process has ended."""
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):  # nobody is left
                os.killpg(self._transport.get_pid(), signal.SIGKILL)


class ExecProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.layer = layer
        self._resolve = resolve
        self._command = strings(settings, "command")
        if not self._command:
            raise SettingError("command: write the program and its arguments as a list")
        self._env = headers_of({"headers": settings.get("env")})

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        """Run the command once. See `probes.probe.Probe`."""
        clock = StageClock()
        hidden: list[str] = []
        left_s = deadline - asyncio.get_running_loop().time()
        said = {
            "name": target.name,
            "url": target.url,
            "address": target.address,
            "model": target.model,
            "layer": self.layer.value,
            "timeout_s": round(max(0.0, left_s - 2 * _SPARE_S), 3),
            "fresh": fresh,
        }
        try:
            outcome = await self._run(target, json.dumps(said).encode() + b"\n", deadline, clock, hidden)
        except MisconfiguredError as error:
            outcome = self._error(clock, f"misconfigured probe: {error}")
        except OSError as error:
            host = host_errno(error) is not None and not isinstance(error, PermissionError)
            reason = f"the command cannot be started: {error.strerror or error}"
            outcome = replace(self._error(clock, reason), host_error=host)
        return scrubbed(outcome, hidden)

    async def close(self) -> None:
        """Nothing is kept."""

    async def _run(self, target: Target, said: bytes, deadline: float, clock: StageClock, hidden: list[str]) -> Outcome:
        command = [substitute(part, target) for part in self._command]
        environment = self._environment(hidden)
        loop = asyncio.get_running_loop()
        transport, running = await loop.subprocess_exec(
            lambda: _Running(loop), *command, env=environment, cwd="/", start_new_session=True
        )
        try:
            running.say(said)
            async with asyncio.timeout_at(deadline - _SPARE_S) as limit:
                await asyncio.shield(running.ended)
        except TimeoutError:
            if not limit.expired():
                raise
            return self._error(clock, "the command did not end in time", detail=f"{command[0]} was killed")
        finally:
            running.kill()
            await asyncio.wait((running.ended,), timeout=_SPARE_S)
            running.let_go()
        if running.too_much:
            return self._error(clock, "the command printed too much", detail=f"over {_MOST_BYTES} bytes")
        return self._read(clock, bytes(running.said[1]), bytes(running.said[2]), transport.get_returncode() or 0)

    def _environment(self, hidden: list[str]) -> dict[str, str]:
        found = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        for name, value in self._env.items():
            found[name] = value.read(self._resolve, f"env.{name}")
            if value.secret:
                hidden.append(found[name])
        return found

    def _read(self, clock: StageClock, out: bytes, err: bytes, code: int) -> Outcome:
        try:
            answer = parse(out)
        except BadJsonError as error:
            words = err.decode("utf-8", "replace").strip() or str(error)
            return self._error(clock, "the command printed no outcome", detail=f"exit code {code}: {words}")
        problem = problem_of(answer)
        if problem is not None:
            return self._error(clock, f"the command's outcome is wrong: {problem}")
        status = Status(answer["status"])
        found = result(
            status,
            self.layer,
            clock,
            answer.get("reason") or (None if status is Status.PASS else f"the command says {status}"),
            detail=answer.get("detail"),
            version=answer.get("version"),
            readings={name: float(value) for name, value in (answer.get("readings") or {}).items()},
            tokens=answer.get("tokens") or 0,
        )
        return replace(found, transport=bool(answer.get("transport")) and status is Status.FAIL)

    def _error(self, clock: StageClock, reason: str, *, detail: str | None = None) -> Outcome:
        return result(Status.ERROR, self.layer, clock, reason, detail=detail)


def problem_of(answer: Any) -> str | None:
    """Why `answer` is no outcome, or None."""
    if not isinstance(answer, dict) or answer.get("status") not in {one.value for one in Status}:
        return f"`status` must be one of {', '.join(Status)}"
    unknown = set(answer) - _KEYS
    if unknown:
        return f"unknown key {min(unknown)!r}"
    for key in ("reason", "detail", "version"):
        if answer.get(key) is not None and not isinstance(answer[key], str):
            return f"`{key}` must be text"
    tokens = answer.get("tokens")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < 10**9):
        return "`tokens` must be a count"
    readings = answer.get("readings")
    if readings is None:
        return None
    if (
        not isinstance(readings, dict)
        or len(readings) > 50
        or not all(_is_number(value) for value in readings.values())
    ):
        return "`readings` must be numbers by name, at most 50"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> ExecProbe:
    """See `probes.registry.make`."""
    return ExecProbe(layer, settings, resolve)
