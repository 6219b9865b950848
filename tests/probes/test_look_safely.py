"""Whatever a probe does, `look_safely` ends with an outcome, and its faults never blame the target."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from probes.outcome import Layer, Outcome, Status
from probes.probe import look_safely
from probes.target import Target

TARGET = Target("e1", "http://127.0.0.1:1")
OVERRUN = "the probe did not keep its deadline"


class Scripted:
    """A probe whose look is the given coroutine function."""

    layer = Layer.READINESS

    def __init__(self, script: Any) -> None:
        self._script = script

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        result: Outcome = await self._script()
        return result

    async def close(self) -> None:
        pass


async def looked(script: Any, within_s: float = 0.05) -> Outcome:
    return await look_safely(Scripted(script), TARGET, asyncio.get_running_loop().time() + within_s)


async def test_an_outcome_goes_through_untouched() -> None:
    given = Outcome(Status.FAIL, Layer.READINESS, "no", transport=True)

    async def script() -> Outcome:
        return given

    assert await looked(script) is given


@pytest.mark.parametrize(
    "bug", [KeyError("x"), ZeroDivisionError(), RecursionError(), AssertionError("no"), ValueError("password=abcdef")]
)
async def test_a_bug_is_an_error_that_names_it_and_blames_nobody(bug: Exception) -> None:
    async def script() -> Outcome:
        raise bug

    outcome = await looked(script)
    assert (outcome.status, outcome.layer) == (Status.ERROR, Layer.READINESS)
    assert type(bug).__name__ in (outcome.reason or "")
    assert not outcome.transport
    assert not outcome.host_error
    assert "abcdef" not in (outcome.detail or "")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENETUNREACH, errno.EADDRNOTAVAIL])
async def test_what_this_host_lacks_is_its_own_error(number: int) -> None:
    async def script() -> Outcome:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise RuntimeError("wrapped by some library") from error

    outcome = await looked(script)
    assert outcome.status is Status.ERROR
    assert outcome.host_error


async def test_a_probe_that_ignores_its_deadline_is_cut_off_and_in_error() -> None:
    async def script() -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    outcome = await looked(script)
    assert outcome.status is Status.ERROR
    # On a host so busy that the cut-off itself comes late, it is the host that is named.
    assert outcome.reason == ("the event loop of this host is late" if outcome.host_error else OVERRUN)


async def test_a_probe_that_swallows_its_cancellation_does_not_hold_the_look() -> None:
    release = asyncio.Event()
    ended = asyncio.Event()

    async def script() -> Outcome:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        raise RuntimeError("too late for anybody to hear")

    outcome = await looked(script)
    assert outcome.status is Status.ERROR
    release.set()
    await ended.wait()


async def test_a_late_event_loop_is_the_hosts_error_not_the_targets() -> None:
    async def script() -> Outcome:
        # Nothing else runs until the cut-off is long past: this is what a starved host looks like.
        os.sched_yield()
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.6
        loop.call_soon(lambda: _burn(end))
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def _burn(end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            pass

    outcome = await looked(script)
    assert outcome.status is Status.ERROR
    assert outcome.host_error


@pytest.mark.parametrize("answer", [None, "PASS", True])
async def test_something_that_is_no_outcome_is_an_error(answer: Any) -> None:
    async def script() -> Any:
        return answer

    outcome = await looked(script)
    assert outcome.status is Status.ERROR
    assert "not an Outcome" in (outcome.reason or "")


async def test_a_probe_that_cancels_itself_is_an_error_and_the_caller_lives() -> None:
    async def script() -> Outcome:
        raise asyncio.CancelledError

    assert (await looked(script)).status is Status.ERROR


async def test_cancelling_the_caller_cancels_the_look() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def script() -> Outcome:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("unreachable")

    task = asyncio.create_task(looked(script, within_s=30.0))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
