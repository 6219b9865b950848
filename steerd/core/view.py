"""View: what `steerd status` and `steerd plan` show, read off the world. Decides nothing; plain dicts ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from steerd.core.decide import plan_service
from steerd.core.inputs import demand_of
from steerd.core.load import utilization
from steerd.core.passive import active_region
from steerd.core.preview import receives, service_notes
from steerd.core.quantize import realised
from steerd.core.quorum import EndpointState
from steerd.core.steer import RouteState
from steerd.core.world import World
from steerd.model.health import DiagnosisKind, Health
from steerd.model.vote import Verdict

__all__ = ["domain_health", "preview", "served_shares", "status"]


def status(world: World, now: float) -> dict[str, Any]:
    """The shape of interfaces.md, `steerd status --json`; times are steady seconds (the shell makes them ISO 8601)."""
    return {
        "fleet": world.fleet.name,
        "mode": world.fleet.mode,
        "time": now,
        "config_hash": world.fleet.config_hash,
        "leader": {"name": world.leader, "epoch": world.epoch} if world.leader else None,
        "frozen": _frozen(world),
        "services": {s.name: _service(world, s.name, now) for s in world.fleet.services},
        "drains": [
            {
                "name": d.name, "kind": d.kind, "service": d.service, "by": d.by, "reason": d.reason, "since": d.since,
                "until": d.until, "step": f"{d.fraction:.0%}", "phase": d.phase.value, "cause": d.cause.value,
            }
            for _, d in sorted(world.drains.book.items())
        ],
        "pins": [
            {"name": p.name, "share": p.share, "by": p.by, "reason": p.reason, "until": p.until}
            for _, p in sorted(world.pins.items())
        ],
        "agents": {a.name: _agent(world, a.name, now) for a in world.fleet.agents},
        "alerts": [
            {"kind": a.kind, "of": a.of, "since": a.since, "text": a.text, "action": a.action}
            for _, a in sorted(world.alerts.active.items())
        ],
    }  # fmt: skip


def _frozen(world: World) -> dict[str, Any] | None:
    if world.freeze is None:
        return None
    f = world.freeze
    return {"by": f.by, "reason": f.reason, "since": f.since, "until": f.until}


def _agent(world: World, name: str, now: float) -> dict[str, Any]:
    state = world.votes.agents.get(name)
    zone = world.fleet.agent_by_name[name].zone
    if state is None or state.heard_at is None:
        return {"zone": zone, "state": "absent", "age_s": None}
    word = "absent" if not state.fresh else "abstaining" if state.abstaining is not None else "voting"
    found = {"zone": zone, "state": word, "age_s": round(now - state.heard_at, 3), "reason": state.abstaining}
    own = world.readings.of_itself(name)
    return {**found, "self": {key: round(value, 6) for key, value in sorted(own.items())}} if own else found


def served_shares(world: World, service: str) -> dict[str, float]:
    """Endpoint -> share as last read from the service's widest route; as decided where it was not read yet."""
    state = world.services[service]
    wide = next((world.steer.routes[r.key] for r in world.service(service).routes if r.scope is None), None)
    if wide is None or wide.observed is None or wide.desired is None or wide.observe_only:
        return dict(state.shares)
    if not wide.busy and wide.phase not in ("pending", "backoff") and not wide.held:
        return dict(state.shares)
    total = sum(w for w in wide.served.values() if w > 0)
    shares: dict[str, float] = {}
    for target in wide.route.targets:
        share = wide.served.get(target.key, 0) / total if total else 0.0
        inside = {e: state.shares.get(e, 0.0) for e in target.endpoints}
        whole = sum(inside.values())
        for endpoint, part in inside.items():
            shares[endpoint] = share * (part / whole if whole > 0 else 1.0 / len(inside))
    return shares


def domain_health(world: World, service: str, name: str) -> Health:
    """Health of a zone or region: what the diagnosis says of it, else healthy, unknown if nothing is known."""
    diagnosis = world.diagnoser.services.get(service)
    members = world.domains.members(service, name)
    for d in diagnosis.current if diagnosis is not None else ():
        covers = members <= world.domains.members(service, d.of) if d.of != service else True
        if d.kind is DiagnosisKind.GLOBAL:
            if members and all(world.board.states[e].health >= d.health for e in members):
                return d.health
        elif d.kind in (DiagnosisKind.ZONE, DiagnosisKind.REGION) and covers:
            return d.health
    if all(world.board.states[e].health is Health.UNKNOWN for e in members):
        return Health.UNKNOWN
    return Health.HEALTHY


def _service(world: World, service: str, now: float) -> dict[str, Any]:
    shares = served_shares(world, service)
    spec = world.service(service)
    result = world.services[service].result
    load = utilization(world, service, shares, result.diverted if result is not None else 0.0)
    demand = demand_of(world, service)
    capacity = sum(e.capacity for e in spec.endpoints if shares.get(e.name, 0.0) > 0)
    zones = world.domains.zones[service]
    regions = sorted({world.domains.region_of_zone(z) for z in zones})
    states = [world.board.states[e.name] for e in spec.endpoints]
    carrying = [s for s in states if shares.get(s.name, 0.0) > 0]
    diagnosis = world.diagnoser.services.get(service)
    current = diagnosis.current[0] if diagnosis is not None and diagnosis.current else None
    vantages: dict[tuple[str, ...], int] = {}
    return {
        "health": _health(states, carrying).word,
        "mode": "observe" if world.observing(service) else "steer",
        "active": active_region(world, service),
        "demand": demand,
        "capacity": capacity,
        "utilization": round(demand / capacity, 4) if demand is not None and capacity > 0 else None,
        "diagnosis": None
        if current is None
        else {
            "kind": current.kind.value,
            "of": current.of,
            "label": current.label,
            "since": current.since,
            "dead": current.dead,
        },
        "regions": {
            r: {"health": domain_health(world, service, r).word, "share": _sum(world, service, r, shares)}
            for r in regions
        },
        "zones": {
            z: {
                "health": domain_health(world, service, z).word,
                "share": _sum(world, service, z, shares),
                "region": world.domains.region_of_zone(z),
            }
            for z in zones
        },
        "endpoints": {e.name: _endpoint(world, e.name, shares, load, vantages) for e in spec.endpoints},
        "routes": [_route(world, world.steer.routes[r.key]) for r in spec.routes],
        "vetoes": [{"name": v.name, "guard": v.guard, "text": v.text} for v in world.services[service].vetoes],
    }


def _health(states: list[EndpointState], carrying: list[EndpointState]) -> Health:
    """A service is as well as what carries its traffic; with something of it down and drained it is at best degraded."""
    worst = _worst(carrying or states)
    hurt = any(s.health >= Health.DEGRADED for s in states)
    return max(worst, Health.DEGRADED) if hurt and worst is not Health.UNKNOWN else worst


def _worst(states: Iterable[Any]) -> Health:
    known = [s.health for s in states if s.health is not Health.UNKNOWN]
    return max(known) if known else Health.UNKNOWN


def _sum(world: World, service: str, name: str, shares: dict[str, float]) -> float:
    return round(sum(shares.get(e, 0.0) for e in world.domains.members(service, name)), 6)


def _voices(world: World, state: EndpointState, zones: dict[tuple[str, ...], int]) -> dict[str, int]:
    """How many voices say what. `zones` keeps for one view how many vantage zones the agents that look are in."""
    seers = world.board.seers(state.name)
    if seers not in zones:
        zones[seers] = len({world.votes.agents[a].zone for a in seers if a in world.votes.agents})
    healthy = sum([v.verdict is Verdict.HEALTHY for v in state.voices])
    counts = {"healthy": healthy, "unhealthy": 0, "unknown": zones[seers] - len(state.voices)}
    if healthy < len(state.voices):
        for voice in state.voices:
            if voice.verdict not in (Verdict.HEALTHY, Verdict.UNKNOWN):
                counts[voice.verdict.value] = counts.get(voice.verdict.value, 0) + 1
    return counts


def _endpoint(
    world: World,
    name: str,
    shares: dict[str, float],
    load: dict[str, float],
    zones: dict[tuple[str, ...], int],
) -> dict[str, Any]:
    state = world.board.states[name]
    return {
        "health": state.health.word,
        "since": state.since,
        "share": round(shares.get(name, 0.0), 6),
        "utilization": round(load[name], 4) if name in load else None,
        "voices": _voices(world, state, zones),
        "decided": state.decided,
        "reason": state.reason or (state.undecided_why if not state.decided else None),
        "zone": state.zone,
        "version": state.version,
        "weighs": world.services[state.service].factors.get(name, (1.0, 0.0))[0],
    }


def _route(world: World, state: RouteState) -> dict[str, Any]:
    route = state.route
    return {
        "route": route.key,
        "provider": route.provider,
        "name": route.name,
        "per": route.per,
        "scope": route.scope,
        "desired": state.desired.weights if state.desired is not None else None,
        "observed": state.served if state.observed is not None else None,
        "in_sync": state.in_sync,
        "fenced": state.caps.compare_and_set,
        "fence_note": state.caps.fence_note or None,
        "state": "observe" if state.observe_only else state.phase,
        "error": state.error or state.read_error or None,
        "accepted_at": state.accepted_at,
        "authoritative_at": state.authoritative_at,
        "drift": dict(state.held) or None,
    }


def preview(world: World, now: float) -> dict[str, Any]:
    """`steerd plan`: what would be written now, with every drain as far as it has come, route by route, with vetoes."""
    services: dict[str, Any] = {}
    for spec in world.fleet.services:
        drains = world.drains.of_service(spec.name, world.domains)
        planned = plan_service(world, spec.name, drains, now)
        routes = []
        for route in spec.routes:
            state = world.steer.routes[route.key]
            desired = planned.routes.get(route.key)
            current = state.served
            target = desired.weights if desired is not None else current
            names = sorted({*current, *target})
            real = realised(desired, state.caps) if desired is not None else {}
            routes.append(
                {
                    "route": route.key,
                    "provider": route.provider,
                    "name": route.name,
                    "current": current,
                    "planned": target,
                    "shares": {k: round(v, 6) for k, v in real.items()},
                    "changes": [
                        {"target": n, "from": current.get(n, 0), "to": target.get(n, 0)}
                        for n in names
                        if current.get(n, 0) != target.get(n, 0)
                    ],
                }
            )
        vetoes = [*world.services[spec.name].vetoes, *planned.vetoes]
        services[spec.name] = {
            "shares": {k: round(v, 6) for k, v in sorted(planned.result.shares.items())},
            "utilization": {
                k: round(v, 4)
                for k, v in sorted(
                    utilization(world, spec.name, planned.result.shares, planned.result.diverted).items()
                )
            },
            "routes": routes,
            "vetoes": list(
                {(v.guard, v.name): {"guard": v.guard, "name": v.name, "text": v.text} for v in vetoes}.values()
            ),
            "notes": [*planned.result.notes, *service_notes(world, spec.name, planned.result, now)],
            "receives": receives(world, spec.name, world.services[spec.name].shares, planned.result),
            "diverted": round(planned.result.diverted, 6),
            "kept": {k: round(v, 6) for k, v in planned.result.kept.items()},
            "mode": "observe" if world.observing(spec.name) else "steer",
        }
    return {"services": services}
