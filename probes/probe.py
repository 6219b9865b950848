"""The primitive, and the wrapper that keeps its promises.

`Probe.look` answers with an `Outcome` and keeps its deadline. `look_safely` holds any probe to that: what it raises is
an ERROR (a bug of ours never blames the target), and what overruns its deadline is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from probes.errors import host_errno
from probes.outcome import Layer, Outcome, Stages, Status
from probes.target import Target

__all__ = ["GRACE_S", "Lane", "Probe", "look_safely"]

GRACE_S = 0.25
"""Seconds a look may run past its deadline before it is cut off."""

LAG_S = 0.1
"""Seconds the event loop may be late at the cut-off before the host is to blame rather than the probe."""


@runtime_checkable
class Probe(Protocol):
    """Looks at any number of targets, one after the other or at once. Made by `probes.registry.make`.

    One that remembers its targets has a method `forget(target: str)` besides, by the target's name, for one that is gone: a probe
    lives as long as its check, and targets come and go.
    """

    @property
    def layer(self) -> Layer:
        """The layer of the check that the probe serves."""

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
        """Look once. `deadline` is in seconds of the running loop's `time()`; `fresh` asks for a new connection."""

    async def close(self) -> None:
        """Release connections; safe to call twice."""


class Lane(Protocol):
    """One target looked at again and again, one look at a time, without a task for each (`HttpProbe.lane` makes them).

    `told` is called once a look, with its outcome, or with None for a pass that has nothing else to tell.
    """

    told: Callable[[Any, Outcome | None], None]
    addresses: dict[str, Outcome | None]
    """Address -> its last outcome (None: a plain pass), where the target's name has more than one."""

    @property
    def duration_s(self) -> float:
        """How long the look that ended last took."""

    def prepare(self) -> None:
        """Does what the first look would do first. What cannot be done is that look's to tell."""

    def start(self, deadline: float, *, fresh: bool = False) -> None:
        """Looks, as `Probe.look`. The end may be told before this returns."""

    def passed(self) -> Outcome:
        """The outcome of the plain pass that was just told."""

    def close(self) -> None:
        """Closes the connections; a look under way ends without a word. Safe to call twice."""


async def look_safely(probe: Probe, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:
    """One look that always ends, `GRACE_S` (twice that if it resists) after its deadline at most, with an `Outcome`.

    Any exception is an ERROR that names it; descriptors, memory or network missing on this host set `host_error`.
    Cancelling the caller cancels the look.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    # A task of its own, because a probe that swallows its cancellation must not take the caller with it.
    task = asyncio.ensure_future(probe.look(target, deadline, fresh=fresh))
    try:
        done, _ = await asyncio.wait((task,), timeout=max(0.0, deadline + GRACE_S - started))
        if not done:
            overdue_s = loop.time() - (deadline + GRACE_S)
            task.cancel()
            await asyncio.wait((task,), timeout=GRACE_S)
            task.add_done_callback(_collect)
            return _overrun(probe, started, loop.time(), overdue_s)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,), timeout=GRACE_S)
        task.add_done_callback(_collect)
        raise
    duration_s = loop.time() - started
    if task.cancelled():
        return _error(probe, "the probe cancelled itself", duration_s)
    error = task.exception()
    if error is not None:
        return _broken(probe, error, duration_s)
    outcome: object = task.result()
    if isinstance(outcome, Outcome):
        return outcome
    return _error(probe, f"the probe returned {type(outcome).__name__}, not an Outcome", duration_s)


def _collect(task: asyncio.Future[Outcome]) -> None:
    """Fetch the result of a look that was cut off, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()


def _overrun(probe: Probe, started: float, now: float, overdue_s: float) -> Outcome:
    if overdue_s > LAG_S:
        reason = "the event loop of this host is late"
        return _error(probe, reason, now - started, host_error=True, detail=f"woke {overdue_s:.2f} s after the cut-off")
    return _error(probe, "the probe did not keep its deadline", now - started)


def _broken(probe: Probe, error: BaseException, duration_s: float) -> Outcome:
    if not isinstance(error, Exception):
        raise error  # KeyboardInterrupt and SystemExit are not about the look
    number = host_errno(error)
    name = type(error).__name__
    return _error(
        probe, f"the probe raised {name}", duration_s, host_error=number is not None, detail=f"{name}: {error}"
    )


def _error(
    probe: Probe, reason: str, duration_s: float, *, host_error: bool = False, detail: str | None = None
) -> Outcome:
    return Outcome(
        Status.ERROR,
        _layer(probe),
        reason,
        host_error=host_error,
        duration_s=duration_s,
        stages=Stages(total_s=duration_s),
        detail=detail,
    )


def _layer(probe: Probe) -> Layer:
    """The probe's layer; a probe so broken that it has none still gets its outcome."""
    layer = getattr(probe, "layer", Layer.LIVENESS)
    return layer if isinstance(layer, Layer) else Layer.LIVENESS
