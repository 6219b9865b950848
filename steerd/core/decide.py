"""Decide: from drains and capacity to what every route shall serve, as one decision (decisions.md, sections 7, 8 and 11).

A plan is pure (`plan_service`); `decide` compares it with what routes are to serve now, and makes a `Decision` only when something
would change. What never may be written (an empty state) is stopped here, whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from steerd.core.classes import Classes, Shares, differing, share_in, spread
from steerd.core.effects import Persist
from steerd.core.fallback import compute_with_fallback, divert, room_in
from steerd.core.inputs import demand_of, inputs_for
from steerd.core.load import load_of, most_loaded
from steerd.core.realise import check_realised
from steerd.core.shares import Inputs, Result, compute
from steerd.core.split import Splitter
from steerd.core.steer import RouteState
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Cause, Decision, Drain, Veto
from steerd.model.route import Desired, Fence, Member, Route

__all__ = ["Planned", "decide", "plan_service", "published", "reissue", "room_for"]

_TINY = 1e-9
_ROUNDS = 4
_SETTLED = 1e-4
"""A share this near to the last round's is the same: weights have 255 steps."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One service's plan: shares, what each of its routes would serve (`wanted` before somebody's edits were put over it), and
    what was stopped."""

    result: Result
    routes: Mapping[str, Desired]
    wanted: Mapping[str, Desired]
    vetoes: tuple[Veto, ...]
    apart: Mapping[str, Result]
    """Route -> its own plan, where it is another than the service's."""

    @property
    def short(self) -> bool:
        """Something stays where it should not, for want of room."""
        return any(r.kept for r in (self.result, *self.apart.values()))


def plan_service(world: World, service: str, drains: Iterable[Drain], now: float) -> Planned:
    """The plan for these drains. Nothing is changed; used for decisions, previews and `steerd plan` alike."""
    drains = tuple(drains)
    classes = world.classes(service)
    fallback = world.service(service).fallback
    room = room_in(world, service, fallback, demand_of(world, fallback)) if fallback in world.services else None
    inputs = inputs_for(world, service, drains)
    plain = result = _by_endpoint(compute_with_fallback(inputs, room), classes)
    apart: dict[str, Result] = {}
    routes: dict[str, Desired] = {}
    wanted: dict[str, Desired] = {}
    vetoes: list[Veto] = []
    wide = next((r.key for r in world.service(service).routes if r.scope is None), None)
    for configured in world.service(service).routes:
        state = world.steer.routes[configured.key]
        route = state.route
        if state.desired is None and state.observed is None:
            continue  # never read: what it serves is not known, so nothing is written to it
        split = world.splitter(state)
        base, own, mine = _plan_of(world, state, drains, plain, inputs, room)
        if own is not plain and route.key == wide and base is plain:
            result = own
        elif own is not plain:
            apart[route.key] = own
        unedited = _for_route(state, split, base)
        desired = _for_route(state, split, own) if own is not base else unedited
        if desired is None or unedited is None:
            continue
        if desired.empty:
            text = f"{route.key} would be left with nothing in service: it stays as it is"
            vetoes.append(Veto(service, route.key, "residency" if route.only else "never-empty", text, now))
            continue
        edited = _with_edits(state, desired)
        veto = check_realised(split, state.desired, edited, own, mine, drains, world.fleet.guards, now)
        if veto is not None:
            vetoes.append(veto)
            continue
        ours = {m.target: m for m in unedited.members if m.target in state.held} if state.held else {}
        wanted[route.key] = _replaced(edited, ours)
        routes[route.key] = edited
    return Planned(result, routes, wanted, tuple(vetoes), apart)


def _plan_of(
    world: World, state: RouteState, drains: Iterable[Drain], plain: Result, inputs: Inputs, room: float | None
) -> tuple[Result, Result, Inputs]:
    """A route's plan as if nobody had edited it, its plan around the edits, and what the latter was made of: the service's own
    (`plain`, of `inputs`) where the route has no `prefer` or `only` and nothing was edited."""
    route, split = state.route, world.splitter(state)
    service, base = route.service, plain
    special = route if route.prefer is not None or route.only else None
    part = _part(world, route, plain)
    if special is not None:
        inputs = inputs_for(world, service, drains, special, part=part)
        base = _by_endpoint(compute(inputs), split.classes)
    if not state.held:
        return base, base, inputs
    apart = inputs_for(world, service, drains, special, apart=_edited(state), part=part)
    return base, *_around(state, split, apart, None if special is not None else room)


def _part(world: World, route: Route, plain: Result) -> float:
    """The part of the service's demand that a restricted route carries: what its regions have of the plan, else of the capacity."""
    if not route.only:
        return 1.0
    domains = world.domains
    planned = sum(share_in(plain.normal, domains.members(route.service, r), region=r) for r in route.only)
    if planned > _TINY:
        return min(1.0, planned)
    total = sum(domains.capacity(route.service, z) for z in domains.zones[route.service])
    return sum(domains.capacity(route.service, r) for r in route.only) / total if total > 0 else 1.0


def _edited(state: RouteState) -> list[str]:
    """Endpoints of the targets that somebody else set."""
    return [e for t in state.route.targets if t.key in state.held for e in t.endpoints]


def _around(state: RouteState, split: Splitter, inputs: Inputs, room: float | None) -> tuple[Result, Inputs]:
    """The plan of a route around somebody's edits: what they give is fixed, as by pins, the rest is shared out under the limits.

    An edit is a weight, and what share it gives depends on the others' weights: that settles in a round or two.
    """
    names = [e for e in _edited(state) if any(s.name == e for s in inputs.slots)]
    fixed: dict[str, float] = {}
    for _ in range(_ROUNDS):
        mine = replace(inputs, pins={**inputs.pins, **fixed})
        result = _by_endpoint(compute_with_fallback(mine, room), split.classes)
        desired = _for_route(state, split, result)
        if desired is None or desired.empty:
            break
        real, carried = split.realised(_with_edits(state, desired), result), split.carried(result.shares)
        given = {e: real.get(e, 0.0) * carried for e in names}
        if all(abs(given[e] - fixed.get(e, -1.0)) < _SETTLED for e in names):
            break
        fixed = given
    return result, mine


def _by_endpoint(result: Result, classes: Classes) -> Result:
    """Shares of kinds as shares of endpoints."""
    return replace(result, shares=spread(classes, result.shares), normal=spread(classes, result.normal))


def _for_route(state: RouteState, split: Splitter, result: Result) -> Desired | None:
    """None: the route's scope carries nothing, so its split does not matter and stays as it is."""
    assert isinstance(result.shares, Shares)
    assert isinstance(result.normal, Shares)
    return split.desired(result.shares, result.normal, state.desired or state.served)


def _with_edits(state: RouteState, desired: Desired) -> Desired:
    """Somebody's edits are kept, like pins: the plan is written around them."""
    if not state.held:
        return desired
    served = state.observed.values if state.observed is not None else {}
    kept = {t: Member(t, w, served.get(t, ()) if w > 0 else ()) for t, w in state.held.items()}
    held = _replaced(desired, kept)
    return desired if held.empty else held


def _replaced(desired: Desired, members: Mapping[str, Member]) -> Desired:
    """The state with these members in the place of its own; the same object where there are none."""
    return Desired(tuple(members.get(m.target, m) for m in desired.members)) if members else desired


def decide(world: World, service: str, why: str, now: float) -> Decision | None:
    """Plans the service and, where a route would change, persists and applies one decision. Leader only."""
    state = world.services[service]
    drains = world.drains.of_service(service, world.domains)
    planned = plan_service(world, service, drains, now)
    before, before_kept = state.shares, dict(state.result.kept) if state.result else {}
    state.result = planned.result
    state.plan_vetoes, state.short = planned.vetoes, planned.short
    state.vetoes.extend(planned.vetoes)
    divert(world, service, planned.result, demand_of(world, service), now)
    _alert_shortfall(world, service, planned, drains, now)
    changed = {
        key: desired
        for key, desired in planned.routes.items()
        if world.steer.routes[key].rewrite or desired != world.steer.routes[key].desired
    }
    if not changed:
        if before_kept != planned.result.kept:
            world.state_changed = True
        state.shares = published(world, service, planned.result, {})
        return None
    shares = published(world, service, planned.result, changed)
    world.seq += 1
    plan = plan_hash(world, changed)
    decision = Decision(
        epoch=world.epoch,
        seq=world.seq,
        at=now,
        service=service,
        routes=changed,
        shares=shares,
        config_hash=world.fleet.config_hash,
        plan=plan,
        moves=moves(before, shares),
        why=_why(world, service, why, drains, planned, now),
    )
    state.shares, state.last = shares, decision
    world.state_changed = False
    for key, desired in changed.items():
        world.steer.routes[key].desired = desired
        world.steer.routes[key].wanted = planned.wanted[key]
    fence = Fence(world.fleet.name, decision.epoch, decision.seq, plan)
    world.steer.assign(decision, fence, Persist(decision, world.hard_state()), now)
    data = {
        "decision": decision.id,
        "routes": sorted(changed),
        "why": why,
        "moves": list(decision.moves),
        **_clock(world, service),
    }
    world.record("decision", service, "; ".join(decision.moves) or why, now, **data)
    return decision


def reissue(world: World, key: str, why: str, now: float) -> None:
    """Writes what one route is to serve once more, as a decision of this leader: nothing is planned anew. Leader only."""
    route = world.steer.routes[key]
    if route.desired is None or route.desired.empty or route.observe_only:
        return
    service = route.route.service
    world.seq += 1
    routes = {key: route.desired}
    decision = Decision(
        epoch=world.epoch,
        seq=world.seq,
        at=now,
        service=service,
        routes=routes,
        shares=world.services[service].shares,
        config_hash=world.fleet.config_hash,
        plan=plan_hash(world, routes),
        why={"text": why, "at": now},
    )
    fence = Fence(world.fleet.name, decision.epoch, decision.seq, decision.plan)
    world.steer.assign(decision, fence, Persist(decision, world.hard_state()), now)
    data = {"decision": decision.id, "routes": [key], "why": why, "moves": []}
    world.record("decision", service, why, now, **data)


def plan_hash(world: World, routes: Mapping[str, Desired]) -> str:
    """Binds a decision to its content: 12 hex digits of the SHA-256 of its routes."""
    text = "\n".join(f"{k}={world.splitter(world.steer.routes[k]).text(d)}" for k, d in sorted(routes.items()))
    return sha256(text.encode()).hexdigest()[:12]


def published(world: World, service: str, result: Result, changed: Mapping[str, Desired]) -> Mapping[str, float]:
    """Endpoint -> the share that the service's widest route really publishes (quantized), split inside a target as planned."""
    routes = world.service(service).routes
    wide = next((r for r in routes if r.scope is None), None)
    if wide is None:
        return result.shares
    state = world.steer.routes[wide.key]
    desired = changed.get(wide.key) or state.desired
    if desired is None:
        return result.shares
    return world.splitter(state).realised(desired, result)


def moves(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, ...]:
    """What changed, in words: "a 33% -> 0%"."""
    names = differing(before, after, 5e-4)
    return tuple(f"{n} {before.get(n, 0.0):.1%} -> {after.get(n, 0.0):.1%}" for n in names)


def room_for(world: World, service: str, drain: Drain) -> str | None:
    """The capacity check of a returning domain: why it can not take its next step, or None."""
    members = sorted(world.domains.members(service, drain.name))
    others = [d for d in world.drains.of_service(service, world.domains) if d.key != drain.key]
    planned = compute(inputs_for(world, service, others))
    limit = world.fleet.guards.max_utilization
    down = [e for e in members if world.board.states[e].health is Health.DOWN and not any(d.name == e for d in others)]
    if len(down) == len(members):
        return f"every endpoint of {drain.name} is still down"
    load = load_of(world, service, spread(world.classes(service), planned.shares), members)
    # Overload that stands elsewhere anyhow is no reason to stay out: coming back can only ease it.
    state = world.services[service]
    standing = state.result.shares if state.result is not None else state.shares
    worst_now = most_loaded(world, service, standing)
    over = {e: u for e, u in load.items() if u > max(1.0, limit, worst_now) + _TINY}
    if over:
        worst = max(over, key=lambda e: over[e])
        return f"{worst} would run at {over[worst]:.0%} of its capacity"
    return None


def _alert_shortfall(world: World, service: str, planned: Planned, drains: list[Drain], now: float) -> None:
    result = planned.result
    inexpressible = next((v.text for v in planned.vetoes if v.guard == "capacity"), None)
    if inexpressible is not None:
        world.alerts.set("capacity-short", service, inexpressible, now)
    elif result.kept:
        names = sorted({d.name for d in drains if d.key in result.kept})
        text = f"{sum(result.kept.values()):.0%} of {service} stays on {', '.join(names)}: the rest has no room for it"
        world.alerts.set("capacity-short", service, text, now)
    else:
        world.alerts.clear("capacity-short", service)
    for route in world.service(service).routes:
        own = planned.apart.get(route.key)
        if own is not None and own.kept:
            names = sorted({d.name for d in drains if d.key in own.kept})
            text = (
                f"{sum(own.kept.values()):.0%} of {route.key} stays on {', '.join(names)}: the rest has no room for it"
            )
            world.alerts.set("capacity-short", route.key, text, now)
        else:
            world.alerts.clear("capacity-short", route.key)
    if result.overloaded:
        dead = {d.name for d in drains if d.cause is Cause.DEAD}
        most = most_loaded(world, service, result.shares, result.diverted, without=dead)
        text = f"{service} runs at up to {most:.0%} of capacity because the rest of it is dead"
        world.alerts.set("overload-accepted", service, text, now)
    else:
        world.alerts.clear("overload-accepted", service)


def _clock(world: World, service: str) -> dict[str, float]:
    """When the endpoints behind the service's newest trouble were first suspected and then agreed to be down."""
    states = (world.board.states[e] for e in sorted(world.board.down_in(service)))
    down = [s for s in states if s.down and s.down_at is not None]
    if not down:
        return {}
    newest = max(down, key=lambda s: s.down_at or 0.0)
    clock = {"agreed_at": newest.down_at or 0.0}
    if newest.suspect_at is not None:
        clock["suspect_at"] = newest.suspect_at
    return clock


def _why(world: World, service: str, why: str, drains: list[Drain], planned: Planned, now: float) -> dict[str, object]:
    """Everything `explain` needs to tell this move's story later (invariant 17)."""
    diagnosis = world.diagnoser.services.get(service)
    concerned = {e for d in drains for e in world.domains.members(service, d.name)}
    voices = {
        e: [[v.zone, v.verdict.value, v.reason or ""] for v in world.board.states[e].voices]
        for e in sorted(concerned)[:50]
        if world.board.states[e].health is not Health.HEALTHY
    }
    return {
        "text": why,
        "diagnosis": [
            f"{d.kind.value} {d.of}" + (" (dead)" if d.dead else "") for d in (diagnosis.current if diagnosis else ())
        ],
        "drains": [
            f"{d.name} {d.fraction:.0%} {d.cause.value} by {d.by}: {d.reason}"
            for d in sorted(drains, key=lambda d: d.key)
        ],
        "voices": voices,
        "guards": [f"{v.guard}: {v.text}" for v in world.services[service].vetoes],
        "notes": list(planned.result.notes),
        "kept": dict(planned.result.kept),
        "at": now,
    }
