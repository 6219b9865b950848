"""Carries out what the engine asks of providers: one thing per route at a time, routes beside each other, all bounded.

A route's work waits in its own short queue, a provider's calls share a few slots: a slow provider delays its own routes
and nobody else. Every Apply and every Verify is answered by exactly one event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

from steerd.coordinator.calls import Calls
from steerd.coordinator.clock import Clock
from steerd.coordinator.journal import Receipt
from steerd.coordinator.observer import CoordinatorObserver
from steerd.coordinator.remote import Remote
from steerd.core.effects import Apply, Verify
from steerd.core.events import ApplyFinished, Event, VerifyFinished
from steerd.model.route import Route

__all__ = ["Executor"]

SLOTS = 8
"""Routes of one provider that may be worked on at the same time."""
WAITING = 8
"""Jobs of one route in its queue. The engine asks for one at a time, so more is a sign that the oldest is stale."""

Job = Apply | Verify | None
"""None is a read."""


class Executor:
    """`emit` gets the answers, `receipt` what providers took; `persisted` tells whether a decision is in the store."""

    def __init__(
        self,
        calls: Calls,
        clock: Clock,
        *,
        emit: Callable[[Event], None],
        receipt: Callable[[Receipt], None],
        persisted: Callable[[str], bool],
        observer: CoordinatorObserver,
        remote: Remote | None = None,
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._emit = emit
        self._receipt = receipt
        self._persisted = persisted
        self._observer = observer
        self._remote = remote
        self._routes: dict[str, Route] = {}
        self._jobs: dict[str, deque[Job]] = {}
        self._running: dict[str, Job] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._accepted: dict[str, tuple[str, float]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Workers run in `group`: one that fails takes the coordinator with it."""
        self._group = group

    def set_routes(self, routes: dict[str, Route]) -> None:
        """A new config. Work in progress goes on with the route it began with."""
        for gone in self._routes.keys() - routes.keys():
            self._calls.forget(gone)
        self._calls.anew()
        self._routes = dict(routes)

    def submit(self, effect: Apply | Verify) -> None:
        """Queue a write or verification; its answer comes by `emit`."""
        if isinstance(effect, Apply) and not self._persisted(effect.decision):
            self.refuse(effect, "not-persisted", "the decision is not in the store yet, so it is not applied")
            return
        if effect.route not in self._routes:
            self._answer_gone(effect)
            return
        if self._remote is not None and self._remote.elsewhere(effect.route) is not None:
            self._remote.submit(effect)
            return
        self._queue(effect.route, effect)

    def read(self, route: str) -> bool:
        """Queue a read unless work on this route is on its way, which reads it anyway. True when queued."""
        if route not in self._routes or route in self._workers:
            return False
        if self._remote is not None and self._remote.elsewhere(route) is not None:
            return self._remote.read(route)
        self._queue(route, None)
        return True

    def refuse(self, effect: Apply, result: Literal["not-persisted", "no-lease", "conflict"], text: str) -> None:
        """Answer a write that is not even tried."""
        self._emit(ApplyFinished(effect.route, effect.decision, result, text))
        self._observer.on_write(self._provider(effect.route), effect.route, result, 0.0)

    @property
    def in_flight(self) -> set[str]:
        """Ids of the decisions queued or being worked on."""
        jobs = [j for queue in self._jobs.values() for j in queue] + list(self._running.values())
        return {j.decision for j in jobs if j is not None}

    async def settle(self, within_s: float) -> bool:
        """Wait for the work under way, not for what is queued behind it. False when time ran out."""
        for queue in self._jobs.values():
            queue.clear()
        if not self._workers:
            return True
        _, pending = await asyncio.wait(self._workers.values(), timeout=within_s)
        return not pending

    def cancel(self) -> None:
        """Stop whatever still runs: the coordinator ends."""
        for worker in self._workers.values():
            worker.cancel()

    def _queue(self, route: str, job: Job) -> None:
        assert self._group is not None, "start comes first"
        queue = self._jobs.setdefault(route, deque())
        if len(queue) >= WAITING:
            stale = queue.popleft()
            if isinstance(stale, Apply):
                self.refuse(stale, "conflict", "newer decisions for this route came before it could start")
            elif stale is not None:
                self._emit(VerifyFinished(stale.route, stale.decision, False, "newer decisions came in between"))
        queue.append(job)
        if route not in self._workers:
            self._workers[route] = self._group.create_task(self._work(route), name=f"route {route}")

    async def _work(self, key: str) -> None:
        """Do a route's jobs in order until there are none."""
        queue = self._jobs[key]
        try:
            while queue:
                route = self._routes.get(key)
                job = queue.popleft()
                if route is None:
                    if job is not None:
                        self._answer_gone(job)
                    continue
                self._running[key] = job
                async with self._slots.setdefault(route.provider, asyncio.Semaphore(SLOTS)):
                    await self._do(route, job)
                del self._running[key]
        finally:
            self._running.pop(key, None)
            self._workers.pop(key, None)

    async def _do(self, route: Route, job: Job) -> None:
        if job is None:
            seen = await self._calls.read(route)
            if seen is not None:
                self._emit(seen)
        elif isinstance(job, Apply):
            began = self._clock.loop_time()
            applied = await self._calls.apply(route, job)
            self._observer.on_write(route.provider, route.key, applied.result, self._clock.loop_time() - began)
            if applied.accepted_at is not None:
                self._accepted[route.key] = (job.decision, applied.accepted_at)
                self._receipt(Receipt(job.decision, route.key, applied.accepted_at, None, applied.text))
            self._emit(applied)
        else:
            waiting = self._jobs[route.key]
            verified = await self._calls.verify(
                route, job, superseded=lambda: any(isinstance(j, Apply) for j in waiting)
            )
            if verified.in_sync:
                seen_at = verified.authoritative_at if verified.authoritative_at is not None else self._clock.now()
                decision, accepted_at = self._accepted.get(route.key, ("", 0.0))
                accepted_at = accepted_at if decision == job.decision else seen_at  # unknown after a restart
                self._receipt(Receipt(job.decision, route.key, accepted_at, seen_at, verified.text))
            self._emit(verified)

    def _answer_gone(self, effect: Apply | Verify) -> None:
        text = f"{effect.route} is no longer in the config"
        if isinstance(effect, Apply):
            self._emit(ApplyFinished(effect.route, effect.decision, "misconfigured", text))
        else:
            self._emit(VerifyFinished(effect.route, effect.decision, False, text))

    def _provider(self, route: str) -> str:
        known = self._routes.get(route)
        return known.provider if known else route.partition("/")[0]
