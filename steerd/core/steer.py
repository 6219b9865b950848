"""Steer: one state machine per route, from a decision to `in_sync` (decisions.md, section 11).

    idle --assign--> pending --Apply--> applying --accepted--> verifying --in sync--> synced
                        ^                  |failed                 |not in sync
                        +---- backoff <----+-----------------------+

A newer decision may arrive at any moment: it replaces what is desired, and what is in flight is superseded when it comes back.
Narrowing writes go before widening ones, which wait for them at most 5 s. Nothing here does I/O: it asks with effects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from steerd.core.effects import Apply, Effect, Persist, Record, Verify
from steerd.core.events import ApplyFinished, VerifyFinished
from steerd.core.timers import Timers
from steerd.model.plan import Decision
from steerd.model.route import Capabilities, Desired, Fence, Member, Observed, Route

__all__ = ["RouteState", "Steer", "adopt", "differs", "narrowing"]

_WIDENING_WAIT_S = 5.0
_BACKOFF_FIRST_S = 1.0
_BACKOFF_MOST_S = 30.0
_MISCONFIGURED_S = 30.0

Phase = Literal["idle", "pending", "applying", "verifying", "backoff", "synced"]


@dataclass(slots=True)
class RouteState:
    """Where one route stands.

    `desired` is what is to be written; `wanted` the same before somebody's edits were put over it. `held` are those edits
    (target -> weight): kept like a pin until set back, on routes that report drift.
    """

    route: Route
    caps: Capabilities
    observe_only: bool = False
    desired: Desired | None = None
    wanted: Desired | None = None
    observed: Observed | None = None
    decision: Decision | None = None
    fence: Fence | None = None
    phase: Phase = "idle"
    attempt: int = 0
    next_at: float = 0.0
    wait_for: frozenset[str] = frozenset()
    wait_until: float = 0.0
    unpersisted: bool = False
    error: str = ""
    read_error: str = ""
    held: dict[str, int] = field(default_factory=dict)
    rewrite: bool = False
    accepted_at: float | None = None
    authoritative_at: float | None = None

    @property
    def busy(self) -> bool:
        return self.phase in ("applying", "verifying")

    @property
    def enforces(self) -> bool:
        """A difference is set back rather than kept."""
        return self.route.on_drift == "enforce" or self.caps.volatile

    def overtaken(self, seen: Observed) -> bool:
        """A paused writer of an older epoch landed after us, where the system cannot refuse it: nobody's edit, but our own past."""
        if seen.fence is None or self.fence is None:
            return False
        return seen.fence.fleet == self.fence.fleet and seen.fence.epoch < self.fence.epoch

    @property
    def in_sync(self) -> bool:
        """What is served is what is desired, as last read."""
        return (
            self.observed is not None
            and self.desired is not None
            and not self.held
            and self.phase in ("synced", "idle")
            and not differs(self.desired, self.observed, self.caps)
        )

    @property
    def served(self) -> dict[str, int]:
        """Target -> weight as last known to be served."""
        return dict(self.observed.weights) if self.observed is not None else {}


def adopt(route: Route, observed: Observed) -> Desired:
    """What is served, as a desired state: the starting point when nothing was decided yet."""
    members = (
        Member(
            t.key, observed.weights.get(t.key, 0), observed.values.get(t.key, ()) if observed.weights.get(t.key) else ()
        )
        for t in sorted(route.targets, key=lambda t: t.key)
    )
    return Desired(tuple(members))


def differs(desired: Desired, observed: Observed, caps: Capabilities) -> dict[str, int]:
    """Targets served otherwise than desired -> the weight served. Values count for DNS."""
    found = {}
    for member in desired.members:
        seen = observed.weights.get(member.target, 0)
        served = set(observed.values.get(member.target, member.values))
        if member.weight != seen or (caps.dns and seen > 0 and served != set(member.values)):
            found[member.target] = seen
    return found


def narrowing(desired: Desired, out: Collection[str]) -> bool:
    """True when none of the targets `out` comes in: such a write can only take traffic away from places."""
    members = desired.members
    for target in out:
        at = bisect_left(members, target, key=lambda m: m.target)
        if at < len(members) and members[at].target == target and members[at].weight > 0:
            return False
    return True


class Steer:
    """All routes. `emit` receives effects; alarms go to `timers` under the kind "route"."""

    def __init__(self, timers: Timers, emit: Callable[[Effect], None]) -> None:
        self._timers = timers
        self._emit = emit
        self.routes: dict[str, RouteState] = {}
        self._unserved: dict[str, tuple[Observed | None, Route, frozenset[str]]] = {}

    def assign(self, decision: Decision, fence: Fence, persist: Persist, now: float) -> None:
        """Takes a decision: persist first, then the narrowing writes; widening ones wait for them."""
        narrow = frozenset(k for k, d in decision.routes.items() if narrowing(d, self._out(k)))
        self._emit(persist)
        for key, desired in sorted(decision.routes.items(), key=lambda item: (item[0] not in narrow, item[0])):
            state = self.routes[key]
            state.desired, state.decision, state.fence = desired, decision, fence
            state.attempt, state.error, state.unpersisted, state.rewrite = 0, "", False, False
            state.accepted_at = state.authoritative_at = None
            state.wait_for = frozenset() if key in narrow else narrow
            state.wait_until = now + _WIDENING_WAIT_S
            state.next_at = now
            if state.observe_only:
                state.phase = "idle"
                continue
            if state.phase != "applying":
                state.phase = "pending"
            self.pump(key, now)

    def _out(self, key: str) -> frozenset[str]:
        """Targets of a route that are not served, as last read; looked up once per reading."""
        state = self.routes[key]
        known = self._unserved.get(key)
        if known is None or known[0] is not state.observed or known[1] is not state.route:
            weights = state.observed.weights if state.observed is not None else {}
            out = frozenset(t.key for t in state.route.targets if weights.get(t.key, 0) == 0)
            known = self._unserved[key] = state.observed, state.route, out
        return known[2]

    def pump(self, key: str, now: float) -> None:
        """Sends the next effect of a route if its time has come."""
        state = self.routes[key]
        if state.phase not in ("pending", "backoff") or state.decision is None or state.desired is None:
            return
        if state.observe_only or state.desired.empty or state.fence is None:
            return
        if now < state.next_at:
            self._timers.at(state.next_at, "route", key)
            return
        if state.wait_for and now < state.wait_until and not self._narrowed(state):
            self._timers.at(state.wait_until, "route", key)
            return
        state.wait_for = frozenset()
        state.phase = "applying"
        state.attempt += 1
        self._emit(Apply(key, state.decision.id, state.desired, state.fence, state.attempt))

    def halt(self) -> None:
        """The lead is lost: nothing is sent again, whatever comes back or rings later."""
        for state in self.routes.values():
            state.phase, state.decision, state.fence, state.wait_for = "idle", None, None, frozenset()

    def _narrowed(self, state: RouteState) -> bool:
        ids = state.decision.id if state.decision else ""
        return all(
            (other := self.routes.get(k)) is None
            or other.decision is None
            or other.decision.id != ids
            or other.accepted_at
            for k in state.wait_for
        )

    def applied(self, event: ApplyFinished, now: float) -> RouteState | None:
        """The end of an Apply. Returns the route's state when the write stands, None otherwise."""
        state = self.routes.get(event.route)
        if state is None or state.phase != "applying":
            return None
        if event.observed is not None:
            state.observed = event.observed
        if state.decision is None or event.decision != state.decision.id:
            state.phase, state.next_at = "pending", now  # superseded while in flight
            self.pump(event.route, now)
            return None
        if event.result in ("applied", "unchanged"):
            state.accepted_at = event.accepted_at if event.accepted_at is not None else now
            state.error = ""
            state.phase = "verifying"
            assert state.desired is not None
            assert state.fence is not None
            self._emit(Verify(event.route, event.decision, state.desired, state.fence))
            for key in [k for k, s in self.routes.items() if event.route in s.wait_for]:
                self.pump(key, now)
            return state
        state.unpersisted = event.result == "not-persisted"
        state.error = event.text or event.result
        self._back_off(state, now, event.retry_after_s, misconfigured=event.result == "misconfigured")
        return None

    def verified(self, event: VerifyFinished, now: float) -> RouteState | None:
        """The end of a Verify. Returns the state when the route is in sync."""
        state = self.routes.get(event.route)
        if state is None or state.phase != "verifying" or state.decision is None or event.decision != state.decision.id:
            return None
        if event.observed is not None:
            state.observed = event.observed
            self._out(event.route)
        if event.in_sync:
            state.phase, state.attempt, state.error = "synced", 0, ""
            state.authoritative_at = event.authoritative_at if event.authoritative_at is not None else now
            return state
        state.error = event.text or "not served everywhere yet"
        self._back_off(state, now, None, misconfigured=False)
        return None

    def _back_off(self, state: RouteState, now: float, retry_after_s: float | None, *, misconfigured: bool) -> None:
        """1 s doubling to 30 s, with jitter, so that many routes of one provider do not return together."""
        wait = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(state.attempt - 1, 10))
        if misconfigured:
            wait = _MISCONFIGURED_S
        wait *= 1.0 + 0.2 * _jitter(f"{state.route.key}/{state.attempt}")
        wait = max(wait, retry_after_s or 0.0)
        state.phase, state.next_at = "backoff", now + wait
        self._timers.at(state.next_at, "route", state.route.key)
        self._emit(
            Record(
                "apply-failed",
                state.route.key,
                state.error,
                now,
                {"attempt": state.attempt, "again_in_s": round(wait, 3)},
            )
        )

    def repersist(self, key: str, persist: Callable[[Decision], Persist]) -> None:
        """Before a retry of a decision that never reached the store: persist it again, first."""
        state = self.routes[key]
        if state.unpersisted and state.decision is not None and state.phase == "backoff":
            state.unpersisted = False
            self._emit(persist(state.decision))

    def observe(self, key: str, observed: Observed, now: float) -> dict[str, int]:
        """A provider was read. Returns the targets that were edited by someone else (drift), none while we write ourselves."""
        state = self.routes[key]
        state.read_error = ""
        if state.busy or state.phase in ("pending", "backoff"):
            return {}
        state.observed = observed
        self._out(key)
        if state.desired is None:
            return {}
        drifted = differs(state.wanted or state.desired, observed, state.caps)
        if not drifted:
            state.held = {}
            return {}
        if not state.observe_only and (state.enforces or state.overtaken(observed)):
            if state.decision is not None:  # else there is nothing of ours to write again: `routes` decides it anew
                state.phase, state.next_at, state.attempt = "pending", now, 0
                self.pump(key, now)
        elif not state.observe_only and not state.rewrite:
            state.held = dict(drifted)
        return drifted


def _jitter(key: str) -> float:
    """-1..1, the same for the same key: the core has no randomness of its own."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") / 2**31 - 1.0
