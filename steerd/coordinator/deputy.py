"""Executors (ha.md): routes whose provider only one region's coordinator can reach are carried out there, from the stored decision.

    leader: persists the decision ............................ sees the report -> ApplyFinished, VerifyFinished, RouteObserved
    deputy: reads who leads -> newest decision of its routes -> apply, verify -> writes the report, fenced by the leader's key

The decision in the store is the authority, so the deputy needs no order. It is the only one that writes its routes, one at a time
and never an older decision than before; it acts only for a leader it has just seen in the store, for as long as a leader may act
itself.

    /{fleet}/executed/{route}   the newest report of each such route
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from steerd.coordinator.calls import CallRules, Calls, GetProvider
from steerd.coordinator.clock import Clock
from steerd.coordinator.journal import Journal
from steerd.coordinator.leadership import LeaseRules
from steerd.core.effects import Apply, Verify
from steerd.model.fleet import Fleet
from steerd.model.plan import Decision
from steerd.model.route import Fence, Observed, Route
from steerd.stores.base import StoreError

__all__ = ["Deputy", "Report", "executor_of"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
READ_EVERY_S = 60.0
BACKOFF_FIRST_S, BACKOFF_MOST_S = 1.0, 30.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a route: the newest write (`result` as in `ApplyFinished`), and what was last read. Times: steady seconds."""

    by: str
    decision: str = ""
    result: str = ""
    text: str = ""
    at: float = 0.0
    accepted_at: float | None = None
    authoritative_at: float | None = None
    observed: Observed | None = None
    observed_at: float = 0.0
    error: str | None = None


def executor_of(fleet: Fleet, provider: str) -> str | None:
    """The coordinator that must carry this provider's writes out; None: whoever leads."""
    spec = fleet.provider_by_name.get(provider)
    if spec is None or spec.region is None:
        return None
    return next((c.name for c in fleet.coordinators if c.region == spec.region), None)


@dataclass(slots=True)
class _Job:
    """One route of the deputy: the newest decision, what became of it, and when to try again."""

    decision: Decision | None = None
    done: str = ""
    tries: int = 0
    next_at: float = 0.0
    read_at: float = float("-inf")
    report: Report = field(default_factory=lambda: Report(by=""))


class Deputy:
    """`follows()` tells that this coordinator does not lead: a leader carries its own routes out as any other."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        get: GetProvider,
        clock: Clock,
        fleet: Callable[[], Fleet],
        follows: Callable[[], bool],
    ) -> None:
        self._name = name
        self._journal = journal
        self._clock = clock
        self._fleet = fleet
        self._follows = follows
        self._calls = Calls(get, self._remaining, clock, CallRules())
        self._until = 0.0
        self._token: int | None = None
        self._after = ""
        self._jobs: dict[str, _Job] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.look()
            except StoreError as error:
                log.warning("this coordinator cannot act for the leader: %s", error)

    async def look(self) -> None:
        """One round over the routes that are this coordinator's to carry out. Raises `StoreError`."""
        fleet = self._fleet()
        routes = {k: r for k, r in fleet.route_by_key.items() if executor_of(fleet, r.provider) == self._name}
        if not routes or not self._follows():
            self._until, self._token = 0.0, None
            return
        if not await self._see_leader():
            return
        self._after, found = await self._journal.decisions_after(self._after)
        for decision in found:
            for key in decision.routes.keys() & routes.keys():
                job = self._jobs.setdefault(key, _Job())
                job.decision, job.tries, job.next_at = decision, 0, 0.0
        for key, route in sorted(routes.items()):
            await self._work(route, self._jobs.setdefault(key, _Job()))

    async def _see_leader(self) -> bool:
        """Who leads, by a linearizable read: for that leader this coordinator may act as long as the leader itself might."""
        sent = self._clock.now()
        token = await self._journal.leader_token()
        if token != self._token:
            self._token = token
            for job in self._jobs.values():
                job.read_at = float("-inf")  # a new leader wants to know what stands
        self._until = sent + LeaseRules().act_for_s if token is not None else 0.0
        return token is not None

    def _remaining(self) -> float:
        return max(0.0, self._until - self._clock.now()) if self._follows() else 0.0

    async def _work(self, route: Route, job: _Job) -> None:
        now = self._clock.now()
        decision = job.decision
        if decision is not None and job.done != decision.id and not _observe_only(self._fleet(), route):
            if now >= job.next_at:
                await self._carry_out(route, job, decision)
        elif now >= job.read_at + READ_EVERY_S:
            seen = await self._calls.read(route)
            if seen is not None:
                job.read_at = self._clock.now()
                old = job.report
                await self._tell(
                    route, job, replace_report(old, self._name, seen.observed or old.observed, job.read_at, seen.error)
                )

    async def _carry_out(self, route: Route, job: _Job, decision: Decision) -> None:
        desired = decision.routes[route.key]
        fence = Fence(self._fleet().name, decision.epoch, decision.seq, decision.plan)
        job.tries += 1
        applied = await self._calls.apply(route, Apply(route.key, decision.id, desired, fence, job.tries))
        report = Report(
            by=self._name, decision=decision.id, result=applied.result, text=applied.text, at=self._clock.now(),
            accepted_at=applied.accepted_at, observed=_plain(applied.observed) or job.report.observed,
            observed_at=self._clock.now() if applied.observed is not None else job.report.observed_at,
        )  # fmt: skip
        if applied.result in ("applied", "unchanged"):
            verified = await self._calls.verify(route, Verify(route.key, decision.id, desired, fence))
            seen = _plain(verified.observed)
            report = msgspec.structs.replace(
                report,
                text=verified.text or report.text,
                authoritative_at=verified.authoritative_at if verified.in_sync else None,
                observed=seen or report.observed,
                observed_at=self._clock.now() if seen is not None else report.observed_at,
            )
            if verified.in_sync:
                job.done, job.read_at = decision.id, self._clock.now()
        if job.done != decision.id:
            job.next_at = self._clock.now() + min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(job.tries - 1, 10))
        await self._tell(route, job, report)

    async def _tell(self, route: Route, job: _Job, report: Report) -> None:
        """Store the report while the same leader leads; what cannot be stored is told with the next one."""
        job.report = report
        if self._token is not None:
            await self._journal.report(self._token, route.key, msgspec.json.encode(report))


def replace_report(old: Report, by: str, observed: Observed | None, at: float, error: str | None) -> Report:
    """`old` with a newer look at the route."""
    return msgspec.structs.replace(old, by=by, observed=_plain(observed), observed_at=at, error=error)


def _plain(observed: Observed | None) -> Observed | None:
    """Without the provider's own handle, which means nothing elsewhere."""
    return replace(observed, token=None) if observed is not None else None


def _observe_only(fleet: Fleet, route: Route) -> bool:
    return "observe" in (fleet.mode, fleet.service_by_name[route.service].mode)
