"""Many rehearsals at once: each in a process of its own, told in the order in which they were asked for."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from steerd.sim.report import lines
from steerd.sim.run import Result, simulate
from steerd.sim.scenario import Scenario
from steerd.sim.svg import draw

__all__ = ["Run", "Told", "cores", "tell"]

_SLOW_S = 5.0
"""Until then nobody wonders whether anything happens."""
_STORY = 200


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario with one seed (None: its own). `as_json` says what is wanted of it, `picture` whether an SVG too; `timing`
    puts the real time into the JSON."""

    scenario: Scenario
    seed: int | None
    as_json: bool = False
    timing: bool = False
    picture: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a run: `lines` for people or `data` for JSON."""

    passed: bool
    lines: tuple[str, ...] = ()
    data: dict[str, Any] | None = None
    picture: str | None = None


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tell(runs: Sequence[Run], jobs: int) -> Iterator[Told]:
    """Carries out all runs, at most `jobs` at a time, and yields what came of each in their order."""
    jobs = min(jobs, len(runs))
    if jobs <= 1:
        yield from map(_carry_out, runs)
        return
    # A fresh interpreter each: what a run gives may depend on nothing but its scenario and seed, and forks of a process with
    # threads are not safe.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts_to_the_parent)
    try:
        yield from _in_order([pool.submit(_carry_out, run) for run in runs])
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True)


def _in_order(futures: list[Future[Told]]) -> Iterator[Told]:
    progress = _Progress(len(futures))
    for number, future in enumerate(futures):
        while not future.done():
            wait((future,), timeout=1.0)
            progress.show(sum(f.done() for f in futures))
        progress.clear()
        yield future.result()
        futures[number] = _TAKEN  # a long list of results is not kept twice


_TAKEN: Future[Told] = Future()
_TAKEN.set_result(Told(True))


class _Progress:
    """A line on stderr while a person waits there."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._shown = 0

    def show(self, done: int) -> None:
        """`done` of all runs are over."""
        waited_s = time.monotonic() - self._began
        if waited_s < _SLOW_S or not sys.stderr.isatty():
            return
        text = f"{done} of {self._total} runs done, {waited_s:.0f} s"
        sys.stderr.write("\r" + text.ljust(self._shown))
        sys.stderr.flush()
        self._shown = len(text)

    def clear(self) -> None:
        """The result comes next."""
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
            self._shown = 0


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _carry_out(run: Run) -> Told:
    began = time.perf_counter()
    with _quiet():
        result = simulate(run.scenario, run.seed)
    wall_s = time.perf_counter() - began
    result.wall_s = round(wall_s, 3) if run.timing or not run.as_json else None
    picture = draw(result) if run.picture else None
    if run.as_json:
        return Told(result.passed, data=result.data(), picture=picture)
    told = [*lines(result)]
    if not run.scenario.expect and result.passed:
        told += _story(result)
    return Told(result.passed, tuple(told), picture=picture)


@contextmanager
def _quiet() -> Iterator[None]:
    """No log of the simulated processes: the timeline tells what matters, in virtual time."""
    log = logging.getLogger("steerd")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def _story(result: Result) -> Iterator[str]:
    """Nothing was expected, so everything that happened is the answer."""
    rows = result.recorder.timeline
    for row in rows[:_STORY]:
        yield f"  {row['at']:>9.1f} s  {row['kind']:<12} {row['of']}: {row['text']}"
    if len(rows) > _STORY:
        yield f"  {rows[_STORY]['at']:>9.1f} s  {'...':<12} {len(rows) - _STORY} lines more: see --json"
