"""Decide: from drains and capacity to what every route shall serve, as one decision (decisions.md, sections 7, 8 and 11).

A plan is pure (`plan_service`); `decide` compares it with what routes are to serve now, and makes a `Decision` only when something
would change. What never may be written (an empty state) is stopped here, whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from steerd.core import passive
from steerd.core.effects import Persist
from steerd.core.fallback import compute_with_fallback, divert, room_in
from steerd.core.quantize import desired_for, scoped
from steerd.core.realise import check_realised, endpoint_shares
from steerd.core.shares import Inputs, Mover, Result, Slot, compute
from steerd.core.steer import RouteState
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Cause, Decision, Drain, Veto
from steerd.model.route import Desired, Fence, Member, Route

__all__ = ["Planned", "decide", "plan_service", "published", "reissue", "room_for", "utilization"]

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Planned:
    """One service's plan: shares, what each of its routes would serve (`wanted` before somebody's edits were put over it), and
    what was stopped."""

    result: Result
    routes: Mapping[str, Desired]
    wanted: Mapping[str, Desired]
    vetoes: tuple[Veto, ...]


def inputs_for(world: World, service: str, drains: Iterable[Drain], route: Route | None = None) -> Inputs:
    """What the share arithmetic needs, for the service or for a route with its own `prefer` or `only`."""
    spec = world.service(service)
    only = route.only if route is not None else ()
    factors = world.services[service].factors
    slots = tuple(
        Slot(e.name, e.zone, world.domains.region_of_zone(e.zone), e.capacity, factors.get(e.name, (1.0, 0.0))[0])
        for e in spec.endpoints
        if not only or world.domains.region_of_zone(e.zone) in only
    )
    names = {s.name for s in slots}
    movers = tuple(
        Mover(d.key, d.cause, frozenset(world.domains.members(service, d.name) & names), d.fraction, d.force)
        for d in drains
        if d.fraction > 0
    )
    prefer = passive.preference(world, service)
    if route is not None and route.prefer is not None and spec.routing.mode == "active-active":
        prefer = route.prefer
    return Inputs(
        slots=slots,
        movers=movers,
        prefer=prefer,
        demand=demand_of(world, service),
        max_utilization=world.fleet.guards.max_utilization,
        shortfall=spec.shortfall,
        pins={e: s for e, s in pinned(world, service).items() if e in names},
        closed=passive.closed(world, service, drains, world.now) & names,
    )


def demand_of(world: World, service: str) -> float | None:
    """The demand last observed, else the configured number, with what it takes over as somebody's fallback."""
    state = world.services[service]
    configured = world.service(service).demand
    own = state.demand if state.demand is not None else configured.value if configured is not None else None
    return own + sum(state.spill.values()) if own is not None else None


def pinned(world: World, service: str) -> dict[str, float]:
    """Endpoint -> pinned share; a pinned domain's share is split by capacity."""
    found: dict[str, float] = {}
    capacity = {e.name: e.capacity for e in world.service(service).endpoints}
    for name in sorted(world.pins):
        pin = world.pins[name]
        members = sorted(world.domains.members(service, pin.name))
        total = sum(capacity[e] for e in members)
        for endpoint in members:
            found[endpoint] = pin.share * capacity[endpoint] / total if total else 0.0
    return found


def plan_service(world: World, service: str, drains: Iterable[Drain], now: float) -> Planned:
    """The plan for these drains. Nothing is changed; used for decisions, previews and `steerd plan` alike."""
    drains = tuple(drains)
    fallback = world.service(service).fallback
    room = room_in(world, service, fallback, demand_of(world, fallback)) if fallback in world.services else None
    result = compute_with_fallback(inputs_for(world, service, drains), room)
    routes: dict[str, Desired] = {}
    wanted: dict[str, Desired] = {}
    vetoes: list[Veto] = []
    for configured in world.service(service).routes:
        state = world.steer.routes[configured.key]
        route = state.route
        if state.desired is None and state.observed is None:
            continue  # never read: what it serves is not known, so nothing is written to it
        own = result
        if route.prefer is not None or route.only:
            own = compute(inputs_for(world, service, drains, route))
        desired = _for_route(state, own)
        if desired is None:
            continue
        if desired.empty:
            text = f"{route.key} would be left with nothing in service: it stays as it is"
            vetoes.append(Veto(service, route.key, "residency" if route.only else "never-empty", text, now))
            continue
        inputs = inputs_for(world, service, drains, route if own is not result else None)
        veto = check_realised(route, state.caps, state.desired, desired, own, inputs, drains, world.fleet.guards, now)
        if veto is not None:
            vetoes.append(veto)
            continue
        wanted[route.key] = desired
        routes[route.key] = _with_edits(state, desired)
    return Planned(result, routes, wanted, tuple(vetoes))


def _for_route(state: RouteState, result: Result) -> Desired | None:
    """None: the route's scope carries nothing, so its split does not matter and stays as it is."""
    route = state.route
    members = frozenset(e for t in route.targets for e in t.endpoints)
    shares = scoped(result.shares, members)
    normal = scoped(result.normal, members)
    if shares is None or normal is None:
        return None
    return desired_for(route, shares, normal, state.caps, state.desired.weights if state.desired else state.served)


def _with_edits(state: RouteState, desired: Desired) -> Desired:
    """Somebody's edits are kept, like pins: the plan is written around them."""
    if not state.held:
        return desired
    kept = {m.target: m for m in desired.members}
    for target, weight in state.held.items():
        if target in kept:
            values = state.observed.values.get(target, ()) if state.observed is not None else ()
            kept[target] = Member(target, weight, values if weight > 0 else ())
    held = Desired(tuple(kept[k] for k in sorted(kept)))
    return desired if held.empty else held


def decide(world: World, service: str, why: str, now: float) -> Decision | None:
    """Plans the service and, where a route would change, persists and applies one decision. Leader only."""
    state = world.services[service]
    drains = world.drains.of_service(service, world.domains)
    planned = plan_service(world, service, drains, now)
    before, before_kept = dict(state.shares), dict(state.result.kept) if state.result else {}
    state.result = planned.result
    state.plan_vetoes = planned.vetoes
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
    plan = plan_hash(changed)
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
        shares=dict(world.services[service].shares),
        config_hash=world.fleet.config_hash,
        plan=plan_hash(routes),
        why={"text": why, "at": now},
    )
    fence = Fence(world.fleet.name, decision.epoch, decision.seq, decision.plan)
    world.steer.assign(decision, fence, Persist(decision, world.hard_state()), now)
    data = {"decision": decision.id, "routes": [key], "why": why, "moves": []}
    world.record("decision", service, why, now, **data)


def plan_hash(routes: Mapping[str, Desired]) -> str:
    """Binds a decision to its content: 12 hex digits of the SHA-256 of its routes."""
    text = "\n".join(f"{k}={[(m.target, m.weight, m.values) for m in d.members]}" for k, d in sorted(routes.items()))
    return sha256(text.encode()).hexdigest()[:12]


def published(world: World, service: str, result: Result, changed: Mapping[str, Desired]) -> dict[str, float]:
    """Endpoint -> the share that the service's widest route really publishes (quantized), split inside a target as planned."""
    routes = world.service(service).routes
    wide = next((r for r in routes if r.scope is None), None)
    if wide is None:
        return dict(result.shares)
    state = world.steer.routes[wide.key]
    desired = changed.get(wide.key) or state.desired
    if desired is None:
        return dict(result.shares)
    return endpoint_shares(state.route, state.caps, desired, result)


def moves(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, ...]:
    """What changed, in words: "a 33% -> 0%"."""
    names = sorted(n for n in {*before, *after} if abs(before.get(n, 0.0) - after.get(n, 0.0)) > 5e-4)
    return tuple(f"{n} {before.get(n, 0.0):.1%} -> {after.get(n, 0.0):.1%}" for n in names)


def utilization(world: World, service: str, shares: Mapping[str, float], diverted: float = 0.0) -> dict[str, float]:
    """Endpoint -> demand x share / capacity; empty while demand is unknown. `diverted` is the part a fallback takes."""
    demand = demand_of(world, service)
    if demand is None:
        return {}
    demand *= 1.0 - diverted
    return {
        e.name: shares.get(e.name, 0.0) * demand / e.capacity
        for e in world.service(service).endpoints
        if e.capacity > 0
    }


def room_for(world: World, service: str, drain: Drain) -> str | None:
    """The capacity check of a returning domain: why it can not take its next step, or None."""
    members = sorted(world.domains.members(service, drain.name))
    others = [d for d in world.drains.of_service(service, world.domains) if d.key != drain.key]
    planned = compute(inputs_for(world, service, others))
    limit = world.fleet.guards.max_utilization
    down = [e for e in members if world.board.states[e].health is Health.DOWN and not any(d.name == e for d in others)]
    if len(down) == len(members):
        return f"every endpoint of {drain.name} is still down"
    load = utilization(world, service, planned.shares)
    # Overload that stands elsewhere anyhow is no reason to stay out: coming back can only ease it.
    state = world.services[service]
    standing = state.result.shares if state.result is not None else state.shares
    worst_now = max(utilization(world, service, standing).values(), default=0.0)
    over = {e: u for e in members if (u := load.get(e, 0.0)) > max(1.0, limit, worst_now) + _TINY}
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
    if result.overloaded:
        load = utilization(world, service, result.shares, result.diverted)
        dead = {e for d in drains if d.cause is Cause.DEAD for e in world.domains.members(service, d.name)}
        most = max((u for e, u in load.items() if e not in dead), default=0.0)
        text = f"{service} runs at up to {most:.0%} of capacity because the rest of it is dead"
        world.alerts.set("overload-accepted", service, text, now)
    else:
        world.alerts.clear("overload-accepted", service)


def _clock(world: World, service: str) -> dict[str, float]:
    """When the endpoints behind the service's newest trouble were first suspected and then agreed to be down."""
    down = [
        s
        for e in sorted(world.domains.members_of_service(service))
        if (s := world.board.states[e]).down and s.down_at is not None
    ]
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
