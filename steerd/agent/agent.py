"""A probe agent: looks at what the config gives it, and tells every coordinator what it thinks of it.

Everything runs in one task group: a background task that dies takes the agent with it, and whoever runs the agent
decides what then. Nothing that a target or a coordinator does ends it.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import aiohttp

from probes.probe import Probe
from steerd import __version__
from steerd.agent.garbage import Garbage
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker, close_probes
from steerd.agent.looks import Looks
from steerd.agent.observer import AgentObserver, NullObserver
from steerd.agent.references import References, reference_urls
from steerd.agent.scheduler import Scheduler
from steerd.agent.selfview import EVERY_S, SelfView
from steerd.agent.stream import CoordinatorStream, StreamContext, Timing
from steerd.agent.voter import Voter
from steerd.agent.watchlist import Watchlist, watchlist
from steerd.core.ballot_box import BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.model.fleet import Fleet, Secret
from steerd.model.vote import Confirm, Verdict, Vote

__all__ = ["Agent"]

_MIN_IN_FLIGHT = 64
_MAX_IN_FLIGHT = 4096
_SPARE_DESCRIPTORS = 128


class _StoppedError(Exception):
    """Ends the task group when the agent is asked to stop."""


@dataclass(slots=True)
class _Running:
    """What exists only while the agent runs."""

    view: SelfView
    group: asyncio.TaskGroup
    context: StreamContext
    looks: Looks
    lag: LagMonitor
    references: References
    scheduler: Scheduler
    voter: Voter
    streams: dict[str, tuple[CoordinatorStream, asyncio.Task[None]]]


class Agent:
    """One agent of a fleet. `run` it once; `reload`, `status`, `vote_of` and `verdict_of` may be called meanwhile.

    `resolve` turns a secret reference into its value. `urls` replaces coordinators' URLs by name. `tls` is used to
    connect to coordinators (a client certificate, a private authority). Raises ValueError for a name that is not in
    the config.
    """

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        *,
        resolve: Callable[[Secret], str],
        observer: AgentObserver | None = None,
        urls: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.name = name
        self._plan = watchlist(fleet, name)
        self._fleet = fleet
        self._resolve = resolve
        self._observer: AgentObserver = observer if observer is not None else NullObserver()
        self._urls = dict(urls or {})
        self._tls = tls
        self._timing = timing if timing is not None else Timing()
        # Grows with every start, across restarts of the host too, as long as its clock is roughly right.
        self._box = BallotBox(name, time.time_ns(), version=__version__)
        self._running: _Running | None = None
        self._missed = 0
        self._garbage = Garbage()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then ends within about a second. Raises what a background task died of."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            running: _Running | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    running = self._running = self._start(group, session)
                    self._apply(running, self._plan)
                    await stop.wait()
                    raise _StoppedError
            except BaseExceptionGroup as group_error:
                _, others = group_error.split(_StoppedError)
                if others is not None:
                    raise others.exceptions[0] if len(others.exceptions) == 1 else others from None
            finally:
                self._running = None
                self._garbage.release()
                if running is not None:
                    await running.looks.looker.close()

    def reload(self, fleet: Fleet) -> None:
        """Takes a new config while running; what did not change goes on undisturbed.

        Raises ValueError, and keeps the old config, when the new one does not have this agent.
        """
        plan = watchlist(fleet, self.name)
        self._fleet, self._plan = fleet, plan
        if self._running is not None:
            self._garbage.release()
            self._apply(self._running, plan)

    def _start(self, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> _Running:
        now = asyncio.get_running_loop().time()
        voter = Voter(self._box, SelfDoubt(now), self._observer)
        context = StreamContext(
            agent=self.name,
            session=session,
            token=self._token,
            full=voter.full,
            outrank=voter.outrank,
            asked=self._asked,
            told=self._observer.on_stream,
            tls=self._tls,
            timing=self._timing,
        )
        lag, references = LagMonitor(self._on_lag), References(session, self._on_references)
        looker = Looker(self._resolve, lambda watch: voter.doubt_endpoint(watch.subject, watch.check.name))
        looks = Looks(looker, voter, lag, references, self._observer)
        looks.scheduler = Scheduler(
            looks.look,
            group.create_task,
            limit=_look_limit(),
            missed=self._on_missed,
            beats=looks.beat,
            clock=time.monotonic,
        )
        view = SelfView(looks, lag, references)
        running = _Running(
            view=view,
            group=group,
            context=context,
            looks=looks,
            lag=lag,
            references=references,
            scheduler=looks.scheduler,
            voter=voter,
            streams={},
        )
        for work in (
            running.lag.run(),
            running.references.run(),
            running.scheduler.run(),
            voter.run_deltas(),
            voter.run_heartbeats(),
            self._look_at_itself(view),
        ):
            group.create_task(work)
        return running

    def _apply(self, running: _Running, plan: Watchlist) -> None:
        """Gives every part its share of the config. The box comes first: looks that end later find their tracker."""
        fleet, now = self._fleet, asyncio.get_running_loop().time()
        self._box.configure(plan.subjects, plan.shared, fleet.verdict, fleet.config_hash, now)
        running.looks.purse.configure(plan.watches, fleet.tokens_per_day, len(fleet.agents), now)
        gone = running.looks.looker.set_watches(plan.watches)
        if gone:
            running.group.create_task(_retire(gone, self._longest_look_s(plan)))
        running.looks.configure(plan.watches, fleet.verdict.confirm_gap_s)
        running.scheduler.set_watches(plan.watches, made=lambda: self._garbage.settle(len(plan.watches)))
        running.references.set_urls(reference_urls(fleet, self.name))
        self._set_streams(running)
        running.voter.ask_full()

    def _set_streams(self, running: _Running) -> None:
        wanted = {c.name: self._urls.get(c.name, c.url) for c in self._fleet.coordinators}
        for name, (stream, task) in list(running.streams.items()):
            if wanted.get(name) != stream.url:
                task.cancel()
                del running.streams[name]
                self._observer.on_stream(name, "removed", "")
        for name, url in wanted.items():
            if name not in running.streams:
                stream = CoordinatorStream(name, url, running.context)
                running.streams[name] = stream, running.group.create_task(stream.run())
        running.voter.set_streams(stream for stream, _ in running.streams.values())

    def _longest_look_s(self, plan: Watchlist) -> float:
        return max((w.check.timeout_s for w in plan.watches), default=1.0) * 4.0 + 1.0

    def _token(self) -> str | None:
        secret = self._fleet.agent_by_name[self.name].token
        return self._resolve(secret) if secret is not None else None

    def _asked(self, confirm: Confirm) -> None:
        if self._running is not None:
            self._running.looks.asked(confirm)

    # -- itself -------------------------------------------------------------------------------------------------------

    def _on_lag(self, lag_s: float, now: float) -> None:
        self._observer.on_loop_lag(lag_s)
        if self._running is not None:
            self._running.voter.doubt.loop_lag(lag_s, now)
            self._running.voter.reconsider(now)
            self._box.follow(now)  # all of a large fleet in one heartbeat would keep looks from their time

    def _on_references(self, failing: int, total: int) -> None:
        if self._running is not None:
            self._running.voter.doubt.references(failing, total)
            self._running.voter.reconsider(asyncio.get_running_loop().time())

    def _on_missed(self, count: int) -> None:
        self._missed += count
        self._observer.on_missed(count)

    async def _look_at_itself(self, view: SelfView) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            values = view.measure(self._missed)
            self._observer.on_self(values)
            self._box.note_self(values, asyncio.get_running_loop().time())

    # -- what others may ask ------------------------------------------------------------------------------------------

    def vote_of(self, endpoint: str) -> Vote:
        """This agent's vote on an endpoint, as it would be sent now. Raises KeyError for one it does not look at."""
        return self._box.vote(endpoint)

    def verdict_of(self, endpoint: str) -> Verdict:
        """The verdict of `vote_of`."""
        return self._box.verdict(endpoint)

    def status(self) -> dict[str, Any]:
        """The agent's own state, ready for JSON. Times in seconds."""
        running = self._running
        errors = running.looks.errors if running is not None else {}
        state: dict[str, Any] = {
            "agent": self.name,
            "zone": self._fleet.agent_by_name[self.name].zone,
            "incarnation": self._box.incarnation,
            "running": running is not None,
            "abstaining": self._box.abstaining,
            "endpoints": len(self._box.endpoints),
            "looks": running.looks.count if running is not None else 0,
            "looks_per_s": round(running.view.values.get("looks_per_s", 0.0), 1) if running is not None else 0.0,
            "missed": self._missed,
            "errors": {f"{subject} {check}": reason for (subject, check), (_, reason) in sorted(errors.items())},
        }
        if running is not None:
            state |= {
                "score": running.voter.doubt.score(asyncio.get_running_loop().time()),
                "loop_lag_s": round(running.lag.last_s, 4),
                "loop_lag_worst_s": round(running.lag.worst_s, 4),
                "self": {name: round(value, 6) for name, value in running.view.values.items() if isfinite(value)},
                "addresses": running.looks.addresses(),
                "tokens": running.looks.purse.status(asyncio.get_running_loop().time()),
                "in_flight": running.scheduler.in_flight,
                "waiting": running.scheduler.waiting,
                "references": {"total": running.references.total, "failing": dict(running.references.failing)},
                "streams": {
                    name: {"state": s.state, "text": s.text, "leading": s.leading, "config_hash": s.config_hash}
                    for name, (s, _) in running.streams.items()
                },
            }
        return state


async def _retire(probes: list[Probe], after_s: float) -> None:
    """Closes probes that left the config, once looks that still use them have ended."""
    try:
        await asyncio.sleep(after_s)
    finally:
        await close_probes(probes)


def _look_limit() -> int:
    """Looks in flight at once: half of the descriptors this process may have, for each may hold a connection
    besides.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_IN_FLIGHT
    return max(_MIN_IN_FLIGHT, min(_MAX_IN_FLIGHT, (soft - _SPARE_DESCRIPTORS) // 2))
