"""The coordinator's loop: what waits for the engine is stepped through, and other tasks get their turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steerd.coordinator.clock import Clock
from steerd.coordinator.inbox import Inbox
from steerd.core.events import BallotReceived, Event, Tick

__all__ = ["take_in", "work"]

BATCH = 8
"""Events in a row before other tasks get their turn."""
INSTANT_S = 0.02
"""Frames that wait together are taken as of one time; those that are left after this long, as of another."""

Step = Callable[[Event, float], None]
WakeAt = Callable[[float], float]


async def work(inbox: Inbox, clock: Clock, wake_at: WakeAt, step: Step) -> None:
    """Step through what comes in; a Tick when nothing came until the engine asked for one. Until cancelled."""
    while True:
        await take_in(inbox, clock, wake_at, step)
        now = clock.now()
        if not await inbox.wait(max(wake_at(now) - now, 0.001)):
            step(Tick(), clock.now())


async def take_in(inbox: Inbox, clock: Clock, wake_at: WakeAt, step: Step) -> None:
    """Step through what waits, frames as of one time: a Tick at the end has them judged together."""
    if not inbox:
        return
    now = clock.now()
    until = now + INSTANT_S
    for nth in range(1, len(inbox) + 1):
        event = inbox.take()
        if not isinstance(event, BallotReceived):
            now = clock.now()
        step(event, now)
        if nth % BATCH == 0:
            await asyncio.sleep(0)
        if clock.now() > until:
            break
    if wake_at(now) <= now:
        step(Tick(), now)
    if inbox:
        await asyncio.sleep(0)  # `wait` would not pause: renewals of the lease and calls have their turn under any load
