"""Looks by lane where more follows from them than a verdict: what is busy or hung, and what costs tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from probes.wire import AVAILABLE
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker
from steerd.agent.looks import Looks
from steerd.agent.observer import NullObserver
from steerd.agent.references import References
from steerd.agent.scheduler import Scheduler
from steerd.agent.voter import Voter
from steerd.agent.watchlist import watchlist
from steerd.core.ballot_box import BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.model.fleet import Fleet
from steerd.model.sample import Layer
from tests.agent.test_failure_modes import fleet_of
from tests.support.agent_rig import secret
from tests.support.model_server import ModelServer
from tests.support.wait import until

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the wire engine needs Linux and httptools")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as found:
        yield found


@asynccontextmanager
async def looking(fleet: Fleet) -> AsyncIterator[Looks]:
    """An agent's looks without its schedule."""
    plan, now = watchlist(fleet, "a1"), asyncio.get_running_loop().time()
    box, observer = BallotBox("a1", 1), NullObserver()
    box.configure(plan.subjects, plan.shared, fleet.verdict, "hash", now)
    voter = Voter(box, SelfDoubt(now), observer)
    looker = Looker(secret, lambda watch: voter.doubt_endpoint(watch.subject, watch.check.name))
    async with aiohttp.ClientSession() as session:
        references = References(session, lambda *_: None)
        looks = Looks(looker, voter, LagMonitor(lambda *_: None), references, observer)
        looks.scheduler = Scheduler(looks.look, asyncio.ensure_future, limit=9, missed=lambda _: None)
        looks.purse.configure(plan.watches, None, 1, now)
        looker.set_watches(plan.watches)
        looks.configure(plan.watches, 0.0)
        yield looks
        await looker.close()


async def test_a_look_is_in_flight_until_busy_is_told_from_hung(server: ModelServer) -> None:
    fleet = fleet_of(server.url)
    watch = next(w for w in watchlist(fleet, "a1").watches if w.check.name == "liveness")
    ended: list[bool] = []
    async with looking(fleet) as looks:
        run = looks.box.run("e1", "liveness")
        beat = looks.beat(watch, lambda: ended.append(run.doubted))
        assert beat is not None
        server.mode("busy")
        now = time.monotonic()
        beat.start(now, now, queued=False)
        await until(lambda: run.doubted)
        assert (ended, looks.count, looks.box.vote("e1").suspect) == ([], 0, True)
        await until(lambda: looks.count == 1)
        assert ended == [True]  # once, when the counters had answered
        assert not run.doubted
        assert (run.reason or "").startswith("busy: "), run.reason
        beat.close()


async def test_what_costs_tokens_is_asked_for_and_has_no_lane(server: ModelServer) -> None:
    fleet = fleet_of(server.url)
    (service,) = fleet.services
    paid = tuple(replace(c, layer=Layer.USER_PATH) if c.name == "readiness" else c for c in service.checks)
    fleet = replace(fleet, services=(replace(service, checks=paid),))
    async with looking(fleet) as looks:
        beats = {w.check.name: looks.beat(w, lambda: None) for w in watchlist(fleet, "a1").watches}
        assert beats["liveness"] is not None
        assert beats["readiness"] is None
        beats["liveness"].close()
