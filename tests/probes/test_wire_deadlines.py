"""Deadlines: each is told once it has passed, and what ends soon costs no timer."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from probes.wire.deadlines import STEP_S, SWEEP_S, Deadlines
from tests.support.wait import until


class Ask:
    """Ends at its deadline, or when told to."""

    def __init__(self, within_s: float) -> None:
        self.start_at = monotonic()
        self.deadline = self.start_at + within_s
        self.busy = True
        self.expired_at = 0.0

    def expire(self, now: float) -> None:
        if self.busy and self.deadline <= now:
            self.busy = False
            self.expired_at = now


@pytest.mark.parametrize("within_s", [0.0, 0.02, 2 * SWEEP_S, 0.2])
async def test_an_ask_ends_with_its_deadline(within_s: float) -> None:
    deadlines = Deadlines(asyncio.get_running_loop(), lambda: None, pytest.fail)
    ask = Ask(within_s)
    deadlines.watch(ask)
    await until(lambda: not ask.busy, 5.0)
    assert ask.expired_at >= ask.deadline
    deadlines.close()


async def test_asks_that_end_soon_leave_nothing_behind() -> None:
    deadlines = Deadlines(asyncio.get_running_loop(), lambda: None, pytest.fail)
    asks = [Ask(60.0) for _ in range(100)]
    for ask in asks:
        deadlines.watch(ask)
        ask.busy = False
    await until(lambda: not deadlines._begun, 5.0)
    assert not deadlines._buckets
    assert deadlines._timer is None
    deadlines.close()


async def test_answers_that_are_here_are_taken_before_an_ask_is_late() -> None:
    ask = Ask(STEP_S)

    def listen() -> None:
        ask.busy = False

    deadlines = Deadlines(asyncio.get_running_loop(), listen, pytest.fail)
    deadlines.watch(ask)
    await until(lambda: not ask.busy, 5.0)
    assert ask.expired_at == 0.0
    deadlines.close()
