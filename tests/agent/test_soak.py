"""A day of an agent in virtual time: nothing is missed, nothing drifts, nothing grows.

Everything of the agent that a regular look touches is the real one: schedule, beats, runs and verdicts, the ballots' state,
doubt, costs and metrics. Only what needs the world outside the process is not here: the lane at the end of each beat, which would
open sockets, answers at once. Sockets, TLS and parsers are soaked for real by `benchmarks/probe_soak.py`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import aiohttp
import pytest

from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome, Status
from probes.probe import Lane
from steerd.agent.beat import LaneBeat
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker
from steerd.agent.looks import Looks
from steerd.agent.references import References
from steerd.agent.scheduler import TICK_S, Beat, Scheduler
from steerd.agent.voter import Voter
from steerd.agent.watchlist import Watch, watchlist
from steerd.core.ballot_box import BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.model.fleet import Agent, Check, Endpoint, Fleet, Region, Service
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry
from tests.support.virtual_loop import VirtualLoop, run_virtual

ENDPOINTS, PERIOD_S, HOURS = 10_000, 3600.0, 24
CHECK = Check("liveness", Layer.LIVENESS, "http", PERIOD_S, 2.0)


class Answers:
    """A lane whose target answers at once."""

    addresses: dict[str, Outcome | None] = {}  # noqa: RUF012 - a name with one address, as most are
    duration_s = 0.001

    def __init__(self) -> None:
        self.told: Callable[[Lane, Outcome | None], None] = lambda _lane, _outcome: None

    def prepare(self) -> None:
        pass

    def start(self, deadline: float, *, fresh: bool = False) -> None:
        del deadline, fresh
        self.told(self, None)

    def breathe(self) -> None:
        pass

    def passed(self) -> Outcome:
        return Outcome(Status.PASS, ProbeLayer.LIVENESS, duration_s=self.duration_s)

    def close(self) -> None:
        pass


def fleet() -> Fleet:
    endpoints = tuple(Endpoint(f"e{n}", "s", "z", "http://unused.test", 1.0) for n in range(ENDPOINTS))
    return Fleet(
        name="t",
        regions=(Region("r", ("z",)),),
        agents=tuple(Agent(f"a{n}", "z") for n in (1, 2, 3)),
        services=(Service(name="s", checks=(CHECK,), endpoints=endpoints),),
    )


def kept() -> int:
    """Objects that hold others, and are still there."""
    gc.collect()
    return len(gc.get_objects())


async def no_network(_: object) -> None:
    raise AssertionError("every look has its beat, and none failed")


@pytest.mark.slow
def test_a_day_of_ten_thousand_endpoints_misses_nothing_and_grows_nowhere() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        missed = [0]
        whole, observer = fleet(), AgentTelemetry(Meters())
        plan = watchlist(whole, "a1")
        box = BallotBox("a1", 1, version="1")
        box.configure(plan.subjects, plan.shared, whole.verdict, "hash", loop.time())
        voter = Voter(box, SelfDoubt(loop.time()), observer)
        async with aiohttp.ClientSession() as session:
            lag = LagMonitor(lambda _lag_s, _now: None)
            looks = Looks(Looker(str, lambda _: None), voter, lag, References(session, lambda _f, _t: None), observer)

            def beat(watch: Watch, ended: Callable[[], None]) -> Beat:
                passed = observer.passes(watch.subject, watch.service, watch.zone, watch.check.name)
                return LaneBeat(looks, watch, Answers(), passed, ended)

            looks.scheduler = scheduler = Scheduler(
                no_network,
                asyncio.ensure_future,
                limit=100,
                missed=lambda n: missed.__setitem__(0, missed[0] + n),
                beats=beat,
                wall=lambda: loop.time() + 1.7e9,
            )
            looks.configure(plan.watches, 0.25)
            scheduler.set_watches(plan.watches)
            work = asyncio.ensure_future(scheduler.run())
            await asyncio.sleep(4 * PERIOD_S)
            assert {box.verdict(f"e{n}") for n in range(ENDPOINTS)} == {Verdict.HEALTHY}
            early, count, looks.worst_delay_s = kept(), looks.count, 0.0
            await asyncio.sleep(HOURS * 3600.0)
            grown = kept() - early
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            assert missed == [0]
            assert abs(looks.count - count - ENDPOINTS * HOURS * 3600.0 / PERIOD_S) <= 0.1 * ENDPOINTS
            assert looks.costs.of("http").looks == looks.count
            assert looks.worst_delay_s <= TICK_S + 0.001  # a row of looks at most
            assert voter.doubt.score(loop.time()) == 0
            assert sum(len(row) for row in scheduler._rows._rows.values()) == ENDPOINTS
            assert grown < 100

    run_virtual(main())
