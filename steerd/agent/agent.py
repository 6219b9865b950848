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
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from probes.outcome import Outcome, Status
from probes.probe import Probe
from steerd import __version__
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker, close_probes, sample_of
from steerd.agent.observer import AgentObserver, NullObserver
from steerd.agent.purse import Purse
from steerd.agent.references import References, reference_urls
from steerd.agent.scheduler import Due, Scheduler
from steerd.agent.stream import CoordinatorStream, StreamContext, Timing
from steerd.agent.voter import Voter
from steerd.agent.watchlist import Watch, Watchlist, watchlist
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

    group: asyncio.TaskGroup
    context: StreamContext
    looker: Looker
    purse: Purse
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
        self._errors: dict[tuple[str, str], tuple[str, str]] = {}
        self._watched: frozenset[tuple[str, str]] = frozenset()
        self._looks = 0
        self._missed = 0
        self._rate = 0.0

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
                if running is not None:
                    await running.looker.close()

    def reload(self, fleet: Fleet) -> None:
        """Takes a new config while running; what did not change goes on undisturbed.

        Raises ValueError, and keeps the old config, when the new one does not have this agent.
        """
        plan = watchlist(fleet, self.name)
        self._fleet, self._plan = fleet, plan
        if self._running is not None:
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
        running = _Running(
            group=group,
            context=context,
            looker=Looker(self._resolve, lambda watch: voter.doubt_endpoint(watch.subject, watch.check.name)),
            purse=Purse(),
            lag=LagMonitor(self._on_lag),
            references=References(session, self._on_references),
            scheduler=Scheduler(self._look, group.create_task, limit=_look_limit(), missed=self._on_missed),
            voter=voter,
            streams={},
        )
        for work in (
            running.lag.run(),
            running.references.run(),
            running.scheduler.run(),
            voter.run_deltas(),
            voter.run_heartbeats(),
            self._measure_rate(),
        ):
            group.create_task(work)
        return running

    def _apply(self, running: _Running, plan: Watchlist) -> None:
        """Gives every part its share of the config. The box comes first: looks that end later find their tracker."""
        fleet, now = self._fleet, asyncio.get_running_loop().time()
        self._box.configure(plan.subjects, plan.shared, fleet.verdict, fleet.config_hash, now)
        running.purse.configure(plan.watches, fleet.tokens_per_day, len(fleet.agents), now)
        gone = running.looker.set_watches(plan.watches)
        if gone:
            running.group.create_task(_retire(gone, self._longest_look_s(plan)))
        running.scheduler.set_watches(plan.watches)
        running.references.set_urls(reference_urls(fleet, self.name))
        self._forget_errors(plan)
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

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _look(self, due: Due) -> None:
        """One look, from its start to what follows from it."""
        running = self._running
        assert running is not None
        loop, check = asyncio.get_running_loop(), due.watch.check
        started = loop.time()
        doubt = running.voter.doubt
        if not due.queued:
            doubt.late_look(started - due.intended, check.interval_s, started)
        outcome = running.purse.instead(due, started)
        if outcome is None:
            outcome = await running.looker.look(due, check.timeout_s * doubt.timeout_factor(started))
            running.purse.paid(due, outcome, loop.time())
        elif outcome.status is Status.ERROR:
            self._tell(due.watch, outcome, max(0.0, started - due.intended))
            return  # nothing was seen, so what the votes say stays
        ended = loop.time()
        if check.kind == "progress":
            running.purse.progress(due.watch.subject, outcome, ended)
        outcome = _believed(outcome, running.lag.during(started, ended))
        self._looks += 1
        self._tell(due.watch, outcome, max(0.0, started - due.intended))
        if outcome.host_error:
            doubt.host_error(outcome.reason, ended)
        elif outcome.status is not Status.ERROR:
            doubt.looked()
        sample = sample_of(due, outcome, at=started, tokens=running.looker.tokens(due.watch.subject))
        seen = running.voter.observe(sample, ended)
        if seen.urgent:
            running.references.kick()
        if self._box.abstaining is None:  # a host in trouble would only make more of it
            for recheck in seen.confirm:
                running.scheduler.confirm(due.watch.key, recheck, self._fleet.verdict.confirm_gap_s)

    def _asked(self, confirm: Confirm) -> None:
        """A coordinator says: look at these now."""
        running = self._running
        if running is None or self._box.abstaining is not None:
            return
        now = asyncio.get_running_loop().time()
        for endpoint in confirm.endpoints:
            for recheck in self._box.asked(endpoint, now, paid=endpoint in confirm.paid):
                running.scheduler.confirm((endpoint, recheck.check), recheck, self._fleet.verdict.confirm_gap_s)

    def _tell(self, watch: Watch, outcome: Outcome, delay_s: float) -> None:
        self._observer.on_look(
            watch.subject,
            watch.service,
            watch.zone,
            watch.check.name,
            outcome=outcome,
            delay_s=delay_s,
        )
        if watch.key not in self._watched:
            return  # the look ended after a reload took its check away: nobody would ever say that it is well again
        if outcome.status is Status.ERROR and not outcome.transport:
            reason = outcome.reason or "the probe could not do its job"
            if self._errors.get(watch.key) != (watch.service, reason):
                self._errors[watch.key] = watch.service, reason
                self._observer.on_error_outcome(
                    watch.subject,
                    watch.service,
                    watch.check.name,
                    reason,
                    host=outcome.host_error,
                    detail=outcome.detail,
                )
        elif watch.key in self._errors:
            del self._errors[watch.key]
            self._observer.on_error_over(watch.subject, watch.service, watch.check.name)

    def _forget_errors(self, plan: Watchlist) -> None:
        self._watched = frozenset(watch.key for watch in plan.watches)
        for key in self._errors.keys() - self._watched:
            service, _ = self._errors.pop(key)
            self._observer.on_error_over(key[0], service, key[1])

    # -- itself -------------------------------------------------------------------------------------------------------

    def _on_lag(self, lag_s: float, now: float) -> None:
        self._observer.on_loop_lag(lag_s)
        if self._running is not None:
            self._running.voter.doubt.loop_lag(lag_s, now)
            self._running.voter.reconsider(now)

    def _on_references(self, failing: int, total: int) -> None:
        if self._running is not None:
            self._running.voter.doubt.references(failing, total)
            self._running.voter.reconsider(asyncio.get_running_loop().time())

    def _on_missed(self, count: int) -> None:
        self._missed += count
        self._observer.on_missed(count)

    async def _measure_rate(self) -> None:
        loop = asyncio.get_running_loop()
        looks, at = self._looks, loop.time()
        while True:
            await asyncio.sleep(2.0)
            now = loop.time()
            self._rate, looks, at = (self._looks - looks) / (now - at), self._looks, now

    # -- what others may ask ------------------------------------------------------------------------------------------

    def vote_of(self, endpoint: str) -> Vote:
        """This agent's vote on an endpoint, as it would be sent now. Raises KeyError for one it does not look at."""
        return self._box.vote(endpoint)

    def verdict_of(self, endpoint: str) -> Verdict:
        """The verdict of `vote_of`."""
        return self._box.verdict(endpoint)

    def status(self) -> dict[str, Any]:
        """The agent's own state, ready for JSON. Times in seconds."""
        state: dict[str, Any] = {
            "agent": self.name,
            "zone": self._fleet.agent_by_name[self.name].zone,
            "incarnation": self._box.incarnation,
            "running": self._running is not None,
            "abstaining": self._box.abstaining,
            "endpoints": len(self._box.endpoints),
            "looks": self._looks,
            "looks_per_s": round(self._rate, 1),
            "missed": self._missed,
            "errors": {f"{subject} {check}": reason for (subject, check), (_, reason) in sorted(self._errors.items())},
        }
        running = self._running
        if running is not None:
            state |= {
                "score": running.voter.doubt.score(asyncio.get_running_loop().time()),
                "loop_lag_s": round(running.lag.last_s, 4),
                "loop_lag_worst_s": round(running.lag.worst_s, 4),
                "tokens": running.purse.status(asyncio.get_running_loop().time()),
                "in_flight": running.scheduler.in_flight,
                "waiting": running.scheduler.waiting,
                "references": {"total": running.references.total, "failing": dict(running.references.failing)},
                "streams": {
                    name: {"state": s.state, "text": s.text, "leading": s.leading, "config_hash": s.config_hash}
                    for name, (s, _) in running.streams.items()
                },
            }
        return state


def _believed(outcome: Outcome, lag_s: float) -> Outcome:
    """The outcome, unless it blames the target for time that this process lost itself."""
    if lag_s <= 0.0 or outcome.status not in {Status.FAIL, Status.SLOW}:
        return outcome
    return replace(
        outcome,
        status=Status.ERROR,
        reason="the event loop of this host was late during the look",
        detail=f"{lag_s:.2f} s late; without that: {outcome.status} {outcome.reason}",
        transport=False,
        host_error=True,
    )


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
