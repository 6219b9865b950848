"""The invariants of decisions.md, each a small function named after its rule, asked after every step of the rehearsal.

A check that can be made from outside (what the store and the providers were told, what was really wrong with endpoints) does
not trust the engine's own view. `Ledger` holds what several checks need to remember; what they find goes to its `violations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.core.quorum import EndpointState, reaches
from steerd.core.voicebook import fold_voices
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.model.health import Health
from steerd.model.plan import Cause, Decision, Drain, Phase
from steerd.model.route import Fence
from steerd.model.vote import Verdict
from steerd.providers.memory import Record
from steerd.sim.provider import Far

__all__ = ["RULES", "Ledger", "Violation"]

_TINY = 1e-6
_MOST = 50

RULES: Mapping[int, str] = {
    1: "non-empty: every write has at least one target and total weight > 0",
    2: "capacity: a receiver whose share grew is within its limit, or an alert says so",
    3: "floor, blast radius, ejection, velocity and dwell hold for everything automatic that is not confirmed dead",
    4: "global diagnosis or a freeze: no automatic weight decrease, confirmed dead excepted (never under a freeze)",
    5: "undecided: health unchanged",
    6: "minority impotence: fewer voices than down_at make nothing down or degraded, whatever they send",
    7: "one counted vote per agent and endpoint; none older than vote_ttl matters",
    8: "order independence: the same votes in any order give the same voices",
    9: "fencing: epochs of persisted decisions never decrease",
    10: "on providers with compare-and-set the applied (epoch, sequence) never decreases",
    11: "cleanup never removes the applied, the desired or an in-flight decision",
    12: "no provider call starts without a lease whose remainder exceeds the call's deadline",
    13: "pins win over automation and expire",
    14: "idempotence: applying a plan again changes nothing",
    15: "damping: 0 <= penalty <= its maximum; suppression ends",
    16: "convergence: once faults stop and quorum exists, desired = observed, and every healthy domain is restored",
    17: "explainability: every move stores its voices, diagnosis, guards, epoch and the config's hash",
}
"""Number -> the rule, as in decisions.md."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold."""

    rule: int
    at: float
    text: str

    @property
    def data(self) -> dict[str, Any]:
        return {"invariant": self.rule, "at": round(self.at, 3), "rule": RULES[self.rule], "text": self.text}


@dataclass(slots=True)
class Ledger:
    """What the checks remember. `impaired` is (agent's zone, endpoint) -> until when something was wrong between them."""

    fleet: Fleet
    violations: list[Violation] = field(default_factory=list)
    newest: tuple[int, int] = (0, 0)
    desired_by: dict[str, str] = field(default_factory=dict)
    applied_by: dict[str, str] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    drains: frozenset[str] = frozenset()
    moved: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    removed: list[tuple[float, str, float]] = field(default_factory=list)
    operated_at: float = -1.0
    counts: Counter[int] = field(default_factory=Counter)

    def broken(self, rule: int, at: float, text: str) -> None:
        """Note a violation; each text once."""
        if len(self.violations) < _MOST and not any(v.rule == rule and v.text == text for v in self.violations):
            self.violations.append(Violation(rule, at, text))


# -- what providers are told ------------------------------------------------------------------------------------------


def non_empty(ledger: Ledger, name: str, after: Record, at: float) -> None:
    """1."""
    ledger.counts[1] += 1
    if not any(m.weight > 0 for m in after.members.values()):
        ledger.broken(1, at, f"{name} was written with nothing in it")


def fence_never_goes_back(ledger: Ledger, far: Far, name: str, before: Record | None, after: Record, at: float) -> None:
    """10."""
    if not far.capabilities.compare_and_set or before is None:
        return
    ledger.counts[10] += 1
    old, new = _mark(before.fence), _mark(after.fence)
    if new < old:
        ledger.broken(10, at, f"{name} went from fence {old} to {new}")


def writes_change_something(ledger: Ledger, name: str, before: Record | None, after: Record, at: float) -> None:
    """14: a write that changes neither members nor epoch was not needed."""
    ledger.counts[14] += 1
    if before is None or before.members != after.members or before.ttl_s != after.ttl_s:
        return
    if _mark(before.fence)[0] == _mark(after.fence)[0]:
        ledger.broken(14, at, f"{name} was written again as it was, under the same epoch")


def lease_outlives_call(ledger: Ledger, client: str, holder: str, lease_s: float, call_s: float, at: float) -> None:
    """12, by the store's own truth: `holder` leads there, for another `lease_s`."""
    ledger.counts[12] += 1
    if holder != client:
        ledger.broken(12, at, f"{client} called a provider while {holder or 'nobody'} held the lead")
    elif lease_s < call_s - _TINY:
        ledger.broken(12, at, f"{client} called a provider for {call_s:.2f} s with {lease_s:.2f} s of lease left")


def _mark(fence: Fence | None) -> tuple[int, int]:
    return (fence.epoch, fence.seq) if fence is not None else (0, 0)


# -- what the store is told -------------------------------------------------------------------------------------------


def epochs_never_decrease(ledger: Ledger, epoch: int, seq: int, at: float) -> None:
    """9."""
    ledger.counts[9] += 1
    if epoch < ledger.newest[0]:
        ledger.broken(9, at, f"decision {epoch}.{seq} was stored after {ledger.newest[0]}.{ledger.newest[1]}")
    ledger.newest = max(ledger.newest, (epoch, seq))


def cleanup_spares_what_is_needed(ledger: Ledger, decision: str, at: float) -> None:
    """11."""
    ledger.counts[11] += 1
    for what, kept in (("desired", ledger.desired_by), ("applied", ledger.applied_by)):
        routes = [r for r, d in kept.items() if d == decision]
        if routes:
            ledger.broken(11, at, f"decision {decision} was removed; it is the {what} one of {routes[0]}")


def decisions_explain_themselves(ledger: Ledger, stored: Mapping[str, Any], at: float) -> None:
    """17."""
    ledger.counts[17] += 1
    why = stored.get("why") or {}
    missing = [k for k in ("voices", "diagnosis", "guards") if k not in why]
    missing += [k for k in ("epoch", "config_hash", "plan") if not stored.get(k)]
    if missing:
        ledger.broken(17, at, f"decision {stored.get('epoch')}.{stored.get('seq')} lacks {', '.join(missing)}")


# -- what the engine concludes ----------------------------------------------------------------------------------------


def undecided_changes_nothing(ledger: Ledger, state: EndpointState, at: float) -> None:
    """5."""
    ledger.counts[5] += 1
    if not state.decided:
        ledger.broken(5, at, f"{state.name} became {state.health.word} without a quorum ({state.undecided_why})")


def minority_is_impotent(
    ledger: Ledger, world: World, state: EndpointState, troubled: Iterable[str], at: float
) -> None:
    """6, by what was really wrong: `troubled` are the vantage zones that had any reason to see this endpoint fail."""
    if state.health not in (Health.DOWN, Health.DEGRADED):
        return
    ledger.counts[6] += 1
    zones = set(troubled)
    sure = [v for v in state.voices if v.zone in zones]
    regions = len({v.region for v in sure})
    if not reaches(len(sure), regions, len(state.voices), world.fleet.quorum):
        ledger.broken(
            6, at, f"{state.name} became {state.health.word}; only {len(sure)} of {len(state.voices)} voices had cause"
        )


def votes_are_counted_once_and_fresh(ledger: Ledger, world: World, state: EndpointState, now: float, at: float) -> None:
    """7."""
    ledger.counts[7] += 1
    counted = Counter(a for v in state.voices for a in v.agents)
    for agent, times in counted.items():
        heard = world.votes.agents[agent].heard_at
        if times > 1:
            ledger.broken(7, at, f"{agent} counted {times} times for {state.name}")
        if heard is None or now - heard > world.fleet.quorum.vote_ttl_s + _TINY:
            ledger.broken(7, at, f"{agent} counted for {state.name} with a vote that is too old")


def order_of_votes_does_not_matter(ledger: Ledger, world: World, state: EndpointState, now: float, at: float) -> None:
    """8."""
    ledger.counts[8] += 1
    votes = [(a, v) for a, v in world.votes.fresh_votes(state.name, now) if v.verdict is not Verdict.UNKNOWN]
    if fold_voices(world.fleet, votes) != fold_voices(world.fleet, votes[::-1]):
        ledger.broken(8, at, f"the voices on {state.name} depend on the order of its votes")


# -- what is decided --------------------------------------------------------------------------------------------------


def receivers_stay_within_limits(ledger: Ledger, world: World, decision: Decision, at: float) -> None:
    """2. A decision that takes a receiver past its limit has an alert beside it, or an operator's force."""
    ledger.counts[2] += 1
    state = world.services[decision.service]
    spec = world.service(decision.service)
    demand = state.demand if state.demand is not None else (spec.demand.value if spec.demand is not None else None)
    if demand is None or at - ledger.operated_at < 1.0 or world.pins:
        return
    total = sum(e.capacity for e in spec.endpoints)
    if demand > world.fleet.guards.max_utilization * total:
        return  # the whole fleet is over its limit: there is no receiver within one
    before = ledger.shares.get(decision.service, {})
    drains = [d for d in world.drains.book.values() if d.service in (None, decision.service)]
    limit = 1.0 if any(d.cause in (Cause.DOWN, Cause.DEAD) or d.force for d in drains) else _limit(world)
    alerted = any(k in ("overload-accepted", "capacity-short", "fallback-used") for k, _ in world.alerts.active)
    step = 0.02  # what integer weights may add to a share's worth of capacity
    for endpoint in spec.endpoints:
        share = decision.shares.get(endpoint.name, 0.0)
        load = share * demand / endpoint.capacity if endpoint.capacity else 0.0
        if share > before.get(endpoint.name, 0.0) + 1e-3 and load > limit + step and not alerted:
            ledger.broken(2, at, f"{endpoint.name} grew to {load:.0%} of its capacity and no alert says so")


def _limit(world: World) -> float:
    return world.fleet.guards.max_utilization


def guards_hold(ledger: Ledger, world: World, new: Iterable[Drain], at: float) -> None:
    """3, when a drain begins: blast radius, ejection and dwell of what is automatic and not confirmed dead."""
    book = tuple(world.drains.book.values())
    active = [d for d in book if d.phase is not Phase.RESTORING and d.cause is not Cause.NEW]
    regions = {d.name for d in active if d.kind == "region"}
    for drain in new:
        if not drain.automatic or drain.cause in (Cause.DEAD, Cause.NEW):
            continue
        ledger.counts[3] += 1
        others = [d for d in active if d.key != drain.key and d.kind == drain.kind]
        rules = world.fleet.guards
        if drain.kind == "region" and len({d.name for d in others}) >= rules.max_regions_drained:
            ledger.broken(3, at, f"region {drain.name} was drained while {others[0].name} was")
        if drain.kind == "zone":
            region = world.domains.region_of_zone(drain.name)
            beside = {
                d.name for d in others if world.domains.region_of_zone(d.name) == region and region not in regions
            }
            if len(beside - {drain.name}) >= rules.max_zones_drained:
                ledger.broken(3, at, f"zone {drain.name} was drained while {min(beside)} was")
        if drain.kind == "endpoint":
            singles = {d.name for d in others if d.service == drain.service}
            total = len(world.domains.members_of_service(drain.service or ""))
            if len(singles) + 1 > max(2.0, rules.max_ejected * total) + _TINY:
                ledger.broken(3, at, f"endpoint {drain.name} was drained as the {len(singles) + 1}th of {total}")


def velocity_and_floor_hold(ledger: Ledger, world: World, decision: Decision, at: float) -> None:
    """3, when a decision is made: what all automatic moves of the living took away, and what stays in rotation.

    What is taken away is a part of an endpoint's normal share: the steps of a drain together take one capacity, and so does a
    drain of what weighed less before.
    """
    ledger.counts[3] += 1
    spec, rules = world.service(decision.service), world.fleet.guards
    before = ledger.shares.get(decision.service)
    if before is None or at - ledger.operated_at < 1.0:
        return
    living = _living(world, decision.service)
    total = sum(e.capacity for e in spec.endpoints)
    result = world.services[decision.service].result
    for endpoint in spec.endpoints:
        normal = result.normal.get(endpoint.name, 0.0) if result is not None else 0.0
        was, now = (min(s.get(endpoint.name, 0.0), normal) for s in (before, decision.shares))
        if endpoint.name in living and now < was - _TINY:
            ledger.removed.append((at, decision.service, endpoint.capacity * (was - now) / normal))
    ledger.removed = [r for r in ledger.removed if at - r[0] < rules.max_removed_per_s]
    gone = sum(c for _, s, c in ledger.removed if s == decision.service)
    if total and gone > rules.max_removed_share * total * 1.02 + _TINY:
        ledger.broken(
            3, at, f"{gone / total:.0%} of {decision.service} was removed within {rules.max_removed_per_s:g} s"
        )
    left = sum(decision.shares.get(e.name, 0.0) > _TINY for e in spec.endpoints)
    was_in = sum(s > _TINY for s in before.values())
    out = {n for n, s in before.items() if s > _TINY and decision.shares.get(n, 0.0) <= _TINY}
    if out & living and left < was_in and left < max(1.0, rules.min_in_rotation * len(spec.endpoints)) - _TINY:
        ledger.broken(3, at, f"only {left} of {len(spec.endpoints)} endpoints of {decision.service} stay in rotation")


def _living(world: World, service: str) -> set[str]:
    """Endpoints in automatic drains whose cause is not death, and in none that is dead, new or an operator's."""
    living: set[str] = set()
    exempt: set[str] = set()
    for drain in world.drains.book.values():
        members = world.domains.members(service, drain.name)
        (living if drain.automatic and drain.cause in (Cause.DOWN, Cause.GRAY) else exempt).update(members)
    return living - exempt


def nothing_moves_when_frozen(ledger: Ledger, world: World, decision: Decision, at: float) -> None:
    """4."""
    diagnosis = world.diagnoser.services.get(decision.service)
    everywhere = diagnosis is not None and diagnosis.everywhere
    before = ledger.shares.get(decision.service)
    if before is None or not (everywhere or world.freeze) or at - ledger.operated_at < 1.0:
        return
    ledger.counts[4] += 1
    dead: set[str] = set()
    for drain in world.drains.book.values():
        if not drain.automatic or (drain.cause is Cause.DEAD and world.freeze is None):
            dead |= world.domains.members(decision.service, drain.name)
    for name, share in before.items():
        if name not in dead and not dead and decision.shares.get(name, 0.0) < share - 1e-3:
            ledger.broken(4, at, f"{name} lost weight while automatic moves were frozen")


def pins_win_and_expire(ledger: Ledger, world: World, now: float, at: float) -> None:
    """13."""
    for pin in world.pins.values():
        ledger.counts[13] += 1
        if now > pin.until + 2.0 and world.freeze is None:  # an operator's freeze holds it
            ledger.broken(13, at, f"the pin on {pin.name} outlived its end")
        for service in world.domains.services_in(pin.name):
            result = world.services[service].result
            members = world.domains.members(service, pin.name)
            if result is None or len(world.pins) > 1 or members == world.domains.members_of_service(service):
                continue
            planned = sum(result.shares.get(e, 0.0) for e in members)
            if now - pin.since > 1.0 and abs(planned - pin.share) > 1e-3:
                ledger.broken(13, at, f"{pin.name} is pinned to {pin.share:.1%} and planned at {planned:.1%}")


def penalties_stay_in_bounds(ledger: Ledger, penalties: Mapping[str, float], most: float, at: float) -> None:
    """15."""
    for name, penalty in penalties.items():
        ledger.counts[15] += 1
        if not -_TINY <= penalty <= most + _TINY:
            ledger.broken(15, at, f"the penalty of {name} is {penalty:g}")


# -- at the end -------------------------------------------------------------------------------------------------------


def routes_converge(ledger: Ledger, world: World, quiet_s: float, at: float) -> None:
    """16, first half: `quiet_s` after the last fault, what is desired is observed."""
    if quiet_s < 120.0:
        return
    for key, route in world.steer.routes.items():
        ledger.counts[16] += 1
        edited = bool(route.held) or route.observe_only or route.desired is None
        if not edited and not route.in_sync and route.phase not in ("applying", "verifying", "pending"):
            ledger.broken(16, at, f"{key} does not serve what is desired {quiet_s:.0f} s after the last fault")


def healthy_domains_return(ledger: Ledger, world: World, quiet_s: float, at: float) -> None:
    """16, second half: long after the last fault, nothing healthy is still drained by automation."""
    for drain in world.drains.book.values():
        if not drain.automatic or drain.service is None:
            continue
        spec = world.service(drain.service)
        ramp = spec.ramp
        bound_s = ramp.restore_after_s + ramp.restore_step_every_s * len(ramp.restore_steps) + 3600.0 + 300.0
        members = world.domains.members(drain.service, drain.name)
        well = all(world.board.states[e].health is Health.HEALTHY for e in members)
        if quiet_s > bound_s and well and spec.routing.failback == "automatic":
            ledger.broken(16, at, f"{drain.name} is healthy and still drained {quiet_s:.0f} s after the last fault")
