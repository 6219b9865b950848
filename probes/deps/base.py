"""What every look at a dependency shares: its deadline, its faults, its secrets, and what it remembers per target.

A look makes a connection of its own: dependencies are looked at every few seconds, once per agent, and a kept connection
would hide a revoked password, a full accept queue and an expired certificate. Missing replication, backlogs and the like
are judged by the files beside this one.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, ClassVar, Final

from probes.address import Address
from probes.clock import StageClock
from probes.dial import connected
from probes.faults import Fault
from probes.guard import guarded, outcome_of, result, scrubbed
from probes.json_path import BadJsonError
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number
from probes.target import Target

__all__ = ["CLOSE_S", "DependencyProbe", "ended", "reach", "remaining_s"]

CLOSE_S: Final = 0.1
"""Seconds a client may take for its farewell: a peer that hangs must not hold the look (see `probes.probe.GRACE_S`)."""


_DEADLINE: ContextVar[float] = ContextVar("probes_dependency_deadline")


def remaining_s() -> float:
    """Seconds until the deadline of the look that runs in this task, for servers that can be told."""
    return max(0.0, _DEADLINE.get() - asyncio.get_running_loop().time())


class DependencyProbe(ABC):
    """Holds `_ask` to its deadline and scrubs what it says. Keeps nothing open between looks."""

    instrument: ClassVar[str | None] = None
    """Set where what is asked only measures the thing looked at: when it cannot be asked, nothing is known (ERROR)."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.layer = layer
        self._resolve = resolve
        self._slow_s = number(settings, "slow")
        self._seen: set[tuple[str, str]] = set()

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Look once. See `probes.probe.Probe`."""
        clock, hidden, told = StageClock(), list[str](), list[Outcome]()
        _DEADLINE.set(deadline)  # a look is a task of its own: see `look_safely`

        async def ask() -> Outcome:
            try:
                told.append(await self._ask(target, clock, hidden))
            except BadJsonError as error:
                told.append(self._failed(clock, "malformed answer", detail=f"not JSON: {error}"))
            return told[0]

        outcome = await guarded(self.layer, deadline, clock, ask())
        if self.instrument is not None and not told and outcome.status is Status.FAIL:
            reason = f"{self.instrument} cannot be asked: {outcome.reason}"
            outcome = replace(outcome, status=Status.ERROR, transport=False, reason=reason)
        return scrubbed(outcome, hidden)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._seen = {(name, thing) for name, thing in self._seen if name != target}

    async def close(self) -> None:  # noqa: B027 - most kinds keep nothing
        """Release what is kept between looks; safe to call twice."""

    @abstractmethod
    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        """One look, without a deadline. Secrets that it reads go to `hidden`, for no outcome may repeat them."""

    # -- outcomes

    def _passed(
        self, clock: StageClock, readings: Mapping[str, float] | None = None, *, detail: str | None = None
    ) -> Outcome:
        """PASS, or SLOW when the look took longer than `slow`."""
        if self._slow_s is not None and clock.elapsed_s > self._slow_s:
            reason = f"slower than {self._slow_s:g} s"
            return result(Status.SLOW, self.layer, clock, reason, detail=detail, readings=readings)
        return result(Status.PASS, self.layer, clock, detail=detail, readings=readings)

    def _failed(
        self,
        clock: StageClock,
        reason: str,
        *,
        detail: str | None = None,
        readings: Mapping[str, float] | None = None,
        status: Status = Status.FAIL,
        layer: Layer | None = None,
    ) -> Outcome:
        return result(status, layer or self.layer, clock, reason, detail=detail, readings=readings)

    def _lost(self, clock: StageClock, error: BaseException | str) -> Outcome:
        """The connection broke after it stood."""
        fault = Fault(Status.FAIL, "connection closed without an answer", transport=True, detail=str(error) or None)
        return outcome_of(fault, self.layer, clock)

    def _misconfigured(self, clock: StageClock, reason: str, detail: str | None = None) -> Outcome:
        """ERROR: the check's own settings or rights are wrong, and nobody is blamed."""
        return outcome_of(Fault(Status.ERROR, reason, detail=detail), self.layer, clock)

    # -- what was there once

    def _saw(self, target: Target, thing: str) -> None:
        """`thing` (a queue, a bucket) exists."""
        self._seen.add((target.name, thing))

    def _missing(self, target: Target, clock: StageClock, thing: str, setting: str) -> Outcome:
        """`thing` is not there. What was there once is gone, which is a failure; what never was is most likely a slip of
        the config, and a slip must not blame anybody.
        """
        if (target.name, thing) in self._seen:
            return self._failed(clock, f"{thing} is gone", detail="it was there at an earlier look")
        return self._misconfigured(clock, f"there is no {thing}", f"fix `{setting}` of this check, or create it")


async def reach(
    address: Address, clock: StageClock, context: ssl.SSLContext | None = None, server_name: str | None = None
) -> None:
    """Connects once and closes again, so that what keeps a client from connecting has its exact cause and stage: client
    libraries wrap it, each in its own way. Raises what `probes.dial.connected` raises.
    """
    async with connected(address, clock, context, server_name):
        pass


async def ended(farewell: Awaitable[object]) -> None:
    """Awaits a client's farewell for `CLOSE_S` at most. What goes wrong in it says nothing about the target."""
    task = asyncio.ensure_future(farewell)
    done, _ = await asyncio.wait((task,), timeout=CLOSE_S)
    if not done:
        task.cancel()
        await asyncio.wait((task,), timeout=CLOSE_S)
    elif not task.cancelled():
        task.exception()
