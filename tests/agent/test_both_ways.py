"""Looks by beat and looks by task: the same answers make the same votes, counts, metrics and doubts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from probes.wire import AVAILABLE
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker
from steerd.agent.looks import Looks
from steerd.agent.references import References
from steerd.agent.scheduler import Due, Scheduler
from steerd.agent.voter import Voter
from steerd.agent.watchlist import Watch, watchlist
from steerd.core.ballot_box import BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.model.vote import Vote
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry
from tests.support.agent_rig import make_fleet, secret
from tests.support.wait import until

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the wire engine needs Linux and httptools")

ANSWERS = {
    "pass": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "fail": b"HTTP/1.1 500 Bad\r\nContent-Length: 3\r\n\r\nbad",
    "full": b"HTTP/1.1 429 Full\r\nContent-Length: 0\r\n\r\n",
    "refused": b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok",
    "closed": b"",
}


@dataclass
class Script:
    """A server that answers each request with the next of `answers`."""

    answers: list[str] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Script]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                word = self.answers[self.asked]
                self.asked += 1
                writer.write(ANSWERS[word])
                await writer.drain()
                if word in ("cut", "closed"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Side:
    """One agent's looks without its schedule: everything from the look to the ballot and the metrics."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        fleet = make_fleet(url, {}, endpoints=("e1",), interval_s=1.0)
        plan = watchlist(fleet, "a1")
        now = asyncio.get_running_loop().time()
        self.meters = Meters()
        observer = AgentTelemetry(self.meters)
        self.box = BallotBox("a1", 1)
        self.box.configure(plan.subjects, plan.shared, fleet.verdict, "hash", now)
        self.confirms: list[Any] = []
        lag = LagMonitor(lambda *_: None)
        references = References(session, lambda *_: None)
        self.looks = Looks(
            Looker(secret, lambda _: None), Voter(self.box, SelfDoubt(now), observer), lag, references, observer
        )
        self.looks.scheduler = Scheduler(self.looks.look, asyncio.ensure_future, limit=9, missed=lambda _: None)
        self.looks.configure(plan.watches, 0.0)
        self.watch: Watch = plan.watches[0]

    def seen(self) -> tuple[Vote, tuple[str, ...], int, list[tuple[dict[str, str], int]], list[str]]:
        """Everything that may differ between two ways of looking, and must not."""
        return (
            self.box.vote("e1"),
            self.box.waiting,
            self.looks.count,
            sorted(self.meters.tally("steerd.check.duration").counts(), key=str),
            sorted(f"{key} {reason}" for key, (_, reason) in self.looks.errors.items()),
        )


async def both(answers: list[str]) -> int:
    """Makes the same looks both ways, comparing after each. Returns how many plain passes took the short way."""
    async with (
        Script(list(answers)).serve() as one,
        Script(list(answers)).serve() as two,
        aiohttp.ClientSession() as session,
    ):
        beaten, tasked = Side(one.url, session), Side(two.url, session)
        ended: list[int] = []
        beat = beaten.looks.beat(beaten.watch, lambda: ended.append(1))
        assert beat is not None
        short = 0
        passes = beaten.box.passes

        def counted(*args: Any) -> bool:
            nonlocal short
            took = passes(*args)
            short += took
            return took

        beaten.box.passes = counted  # type: ignore[method-assign]  # counts, and changes nothing
        for number in range(len(answers)):
            now = asyncio.get_running_loop().time()
            beat.start(now, now, queued=False)
            await until(lambda number=number: len(ended) == number + 1)
            await tasked.looks.look(Due(tasked.watch, now))
            left, right = beaten.seen(), tasked.seen()
            assert left == right, (number, answers[: number + 1])
        assert (one.asked, two.asked) == (len(answers), len(answers))
        beat.close()
        await tasked.looks.looker.close()
        await beaten.looks.looker.close()
        return short


async def test_a_healthy_endpoint_takes_the_short_way_and_nothing_differs() -> None:
    assert await both(["pass"] * 30) >= 25


@pytest.mark.parametrize("seed", range(6))
async def test_any_row_of_answers_makes_the_same_votes_both_ways(seed: int) -> None:
    """Rows of the same answer are common, as in life; else no latch would ever close."""
    chance = random.Random(seed)
    answers: list[str] = []
    while len(answers) < 60:
        answers += [chance.choice(["pass", "pass", *ANSWERS])] * chance.randint(1, 6)
    await both(answers)
