"""The coordinator's loop: whatever waits, other tasks have their turn in between."""

from __future__ import annotations

import asyncio

import pytest

from steerd.coordinator.inbox import Inbox
from steerd.coordinator.turns import work
from steerd.core.events import AgentLost, BallotReceived, Event, Tick
from steerd.model.vote import Ballot
from tests.coordinator.rig import VirtualClock
from tests.support.virtual_loop import run_virtual
from tests.support.wait import until


@pytest.mark.parametrize("step_s", [0.0, 0.003, 0.05])
def test_a_backlog_is_worked_off_between_the_turns_of_others(step_s: float) -> None:
    """A lease is renewed by another task: it must not wait until hundreds of ballots are judged."""

    async def main() -> None:
        inbox, taken, turns, seen = Inbox(), list[Event](), [0], [0]
        clock = VirtualClock()

        def step(event: Event, now: float) -> None:
            del now
            taken.append(event)
            seen[0] = turns[0]
            clock.skew += step_s  # what judging a ballot takes

        async def other() -> None:
            for _ in range(2000):
                turns[0] += 1
                await asyncio.sleep(0)

        for n in range(100):
            inbox.offer(BallotReceived(Ballot(agent=f"a{n}", incarnation=1, number=1, full=True)))
        beside = asyncio.ensure_future(other())
        worker = asyncio.ensure_future(work(inbox, clock, lambda now: now + 1.0, step))
        await until(lambda: sum(not isinstance(e, Tick) for e in taken) == 100, 60)
        for task in (beside, worker):
            task.cancel()
        await asyncio.gather(beside, worker, return_exceptions=True)
        assert seen[0] >= 100 // 8

    run_virtual(main())


def test_our_own_events_go_first() -> None:
    async def main() -> None:
        inbox, taken = Inbox(), list[Event]()
        inbox.offer(BallotReceived(Ballot(agent="a", incarnation=1, number=1, full=True)))
        inbox.post(AgentLost("b"))
        task = asyncio.ensure_future(work(inbox, VirtualClock(), lambda now: now + 1.0, lambda e, _: taken.append(e)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [type(e) for e in taken[:2]] == [AgentLost, BallotReceived]

    run_virtual(main())
