"""Routes and the world: what comes back from providers, and how a new leader takes over what stands.

Start (decisions.md, section 12): before its routes were read (or 10 s passed), a service is not touched. What is served is
taken over as it is; a record that serves nothing is published once health is known. A persisted decision without a receipt is
issued again under the new epoch, so that a change is neither lost nor left half done.
"""

from __future__ import annotations

from steerd.core import passive, residency
from steerd.core.classes import gather
from steerd.core.decide import plan_service, published, reissue
from steerd.core.effects import Persist
from steerd.core.events import ApplyFinished, LeadershipChanged, RouteObserved, StateFollowed, VerifyFinished
from steerd.core.fleetchange import new_endpoint_drain, with_retired
from steerd.core.keep import load_rules
from steerd.core.reason import Reason
from steerd.core.steer import RouteState, adopt
from steerd.core.world import ServiceState, World
from steerd.model.health import Health
from steerd.model.plan import HardState, Phase
from steerd.model.route import Observed, Target

__all__ = ["applied", "followed", "observed", "reconcile", "route_alarm", "start_routes", "verified"]

_READ_WAIT_S = 10.0
"""How long a new leader waits for a provider that does not answer before it acts on the other routes."""
_FIRST_PUBLISH_WAIT_S = 10.0
"""How long a first publication waits, after the first healthy endpoint, for the health of the others."""
_TINY = 1e-9


def start_routes(world: World, event: LeadershipChanged, now: float) -> None:
    """Takes over: hard state from the store, routes unread, open decisions marked to be issued again."""
    state = event.state or HardState()
    world.epoch = max(
        event.epoch, state.epoch + 1 if state.epoch >= event.epoch and event.state is not None else event.epoch
    )
    world.seq = 0
    world.drains.book = {d.key: d for d in state.drains if world.domains.touches(d)}
    world.pins = {p.name: p for p in state.pins}
    world.freeze = state.freeze
    world.last_change = dict(state.last_change)
    world.active = {s: a for s, a in state.active.items() if s in world.services}
    world.lags.stored = dict(state.lags)
    world.activations.clear()
    if world.pins or world.freeze is not None:
        world.timers.at(now, "pins", "")
    open_routes = {route for decision, routes in event.open for route in routes}
    for key, route in world.steer.routes.items():
        fresh = RouteState(route.route, route.caps, observe_only=route.observe_only)
        fresh.desired = state.desired.get(key)
        fresh.wanted = fresh.desired
        fresh.rewrite = key in open_routes
        if fresh.desired is not None:
            gone = [Target(m.target, (), {m.target: m.values}) for m in fresh.desired.members]
            fresh.route = with_retired(fresh.route, gone)
        world.steer.routes[key] = fresh
    for name in world.services:
        fresh_service = ServiceState(demand=world.services[name].demand, bootstrap_since=None)
        fresh_service.shares = dict(state.shares.get(name, {}))
        world.services[name] = fresh_service
        world.timers.at(now + _READ_WAIT_S, "service", name)
    load_rules(world, state, now)
    world.started_at = now


def followed(world: World, event: StateFollowed, now: float) -> None:
    """A follower shows what the leader's drains, pins and shares are; a leader has its own."""
    if world.leading:
        return
    state = event.state
    world.drains.book = {d.key: d for d in state.drains if world.domains.services_in(d.name)}
    world.pins = {p.name: p for p in state.pins}
    world.freeze = state.freeze
    world.last_change = dict(state.last_change)
    world.active = {s: a for s, a in state.active.items() if s in world.services}
    world.lags.stored = dict(state.lags)
    for name, service in world.services.items():
        members = world.domains.members_of_service(name)
        service.shares = {e: s for e, s in state.shares.get(name, {}).items() if e in members}
        world.touch(name)
    load_rules(world, state, now)
    for key, route in world.steer.routes.items():
        route.desired = route.wanted = state.desired.get(key)


def observed(world: World, event: RouteObserved, now: float) -> None:
    """A provider was read, or could not be."""
    state = world.steer.routes.get(event.route)
    if state is None:
        return
    service = state.route.service
    if event.observed is None:
        state.read_error = event.error or "cannot be read"
        world.alerts.set("route-unreadable", event.route, f"{event.route}: {state.read_error}", now)
        world.touch(service)
        return
    world.alerts.clear("route-unreadable", event.route)
    _heed_fence(world, state, event.observed, now)
    first = state.observed is None
    drifted = world.steer.observe(event.route, event.observed, now)
    if state.held.keys() & residency.outside(world, state.route):
        # Served from where it never may be: taken out again, whoever put it there.
        state.held = {t: w for t, w in state.held.items() if t not in residency.outside(world, state.route)}
        state.rewrite = True
        world.services[service].reason = ("residency", event.route, now)
        world.touch(service)
    if first:
        state.observed = event.observed
        world.touch(service)
    if state.rewrite:
        return  # it is written anew anyhow: a difference is ours
    if drifted and state.enforces and state.decision is None and world.leading:
        reissue(world, event.route, f"{event.route} does not serve what was decided: set back", now)
    if drifted and not state.observe_only and not state.caps.volatile:
        edits = ", ".join(f"{t} at {w}" for t, w in sorted(drifted.items()))
        kept = "set back" if state.route.on_drift == "enforce" else "kept"
        text = f"{event.route} was edited by somebody else ({edits}): {kept}"
        if state.overtaken(event.observed):
            text = f"{event.route} was overwritten by a paused coordinator of an older epoch ({edits}): set back"
        if ("drift", event.route) not in world.alerts.active:
            world.record("drift", event.route, text, now, service=service, edits=dict(drifted))
        world.alerts.set("drift", event.route, text, now)
    elif not drifted:
        world.alerts.clear("drift", event.route)


def _heed_fence(world: World, state: RouteState, seen: Observed, now: float) -> None:
    """The epoch used at providers is above every fence seen when a leader begins (ha.md): a restored store must not lock us out."""
    fence = seen.fence
    if fence is None or not world.leading:
        return
    if fence.fleet != world.fleet.name:
        text = f"{state.route.key} carries the fence of fleet {fence.fleet}: two fleets write one route"
        world.alerts.set(
            "foreign-fence", state.route.key, text, now, "give the route to one fleet, or remove its fence record"
        )
        return
    world.alerts.clear("foreign-fence", state.route.key)
    begins = state.observed is None and state.decision is None
    if begins and fence.epoch >= world.epoch:
        world.epoch = fence.epoch + 1
        world.record("leadership", world.name, f"epoch raised to {world.epoch}: a fence stands at {fence.epoch}", now)


def reconcile(world: World, service: str, now: float) -> None:
    """Decides whether the service's routes are known well enough to act on, and takes over or first publishes what is missing."""
    state = world.services[service]
    routes = [world.steer.routes[r.key] for r in world.service(service).routes]
    unread = [r for r in routes if r.observed is None]
    if unread and now < world.started_at + _READ_WAIT_S and not state.adopted:
        return
    if not routes or len(unread) == len(routes):
        return
    empty = []
    for route in routes:
        if route.observed is None or route.desired is not None:
            continue
        if any(w > 0 for w in route.observed.weights.values()):
            _take_over(world, route, now)
            if state.adopted:
                state.reason = ("late", route.route.key)
        else:
            empty.append(route)
    if empty and not _ready_to_publish(world, service, state, now):
        if len(empty) == len(routes) - len(unread):
            return
        empty = []
    if not state.adopted:
        _adopt(world, service, state, now)
    for route in routes:
        if route.desired is not None and any(
            route.desired.weights.get(t, 0) > 0 for t in residency.outside(world, route.route)
        ):
            state.reason = ("residency", route.route.key)
    told = state.reason is not None and not isinstance(
        state.reason, Reason
    )  # it is planned anew already, and why is known
    if not told and (empty or any(r.rewrite for r in routes)):
        state.reason = ("publish", *sorted(r.route.key for r in empty))


def _take_over(world: World, route: RouteState, now: float) -> None:
    """What is served becomes what is desired, and says which region is active."""
    assert route.observed is not None
    route.desired = route.wanted = adopt(route.route, route.observed)
    if route.route.scope is None:
        passive.take_over(world, route.route, route.observed.weights, now)


def _hold_unserved(world: World, service: str, now: float) -> None:
    """At the very start: endpoints that no route over the whole service serves are new, and come in once healthy."""
    wide = [s for r in world.service(service).routes if (s := world.steer.routes[r.key]).route.scope is None]
    if any(s.observed is None and s.desired is None for s in wide):
        return  # what the unread one serves is in service, whatever the others lack
    addressed = {
        e
        for s in wide
        if s.desired is not None
        for t in s.route.targets
        if t.key not in residency.outside(world, s.route)
        for e in t.endpoints
    }
    _hold(world, service, addressed - _served(world, service) - passive.idle(world, service), now)


def _served(world: World, service: str) -> set[str]:
    """Endpoints that some route over the whole service serves. Such a one is in service: a route that lacks it (a record just
    added to the config, say) never takes it out of the others."""
    served: set[str] = set()
    for route in world.service(service).routes:
        state = world.steer.routes[route.key]
        if route.scope is None and state.desired is not None:
            weights = state.desired.weights
            served.update(e for t in state.route.targets if weights.get(t.key, 0) > 0 for e in t.endpoints)
    return served


def _hold(world: World, service: str, endpoints: set[str], now: float) -> None:
    """Keeps these out, unless a drain covers them already, until they are healthy."""
    drains = world.drains.of_service(service, world.domains)
    out = {e for d in drains for e in world.domains.members(service, d.name)}
    for endpoint in sorted(endpoints - out):
        world.drains.put(new_endpoint_drain(endpoint, service, now))


def _ready_to_publish(world: World, service: str, state: ServiceState, now: float) -> bool:
    """A first publication waits for the health of every endpoint, a little; what is not healthy then starts outside."""
    members = sorted(world.domains.members_of_service(service))
    good = [e for e in members if world.board.states[e].health not in (Health.UNKNOWN, Health.DOWN)]
    unknown = [e for e in members if world.board.states[e].health is Health.UNKNOWN]
    if not good:
        return False
    if state.bootstrap_since is None:
        state.bootstrap_since = now
    if unknown and now < state.bootstrap_since + _FIRST_PUBLISH_WAIT_S:
        world.timers.at(state.bootstrap_since + _FIRST_PUBLISH_WAIT_S, "service", service)
        return False
    if not state.adopted:
        _hold(world, service, set(members) - set(good) - _served(world, service), now)
    return True


def _adopt(world: World, service: str, state: ServiceState, now: float) -> None:
    state.adopted = True
    known = set(state.shares)
    members = world.domains.members_of_service(service)
    if known:
        _hold(world, service, set(members - known), now)
        state.shares = gather(world.classes(service), state.shares)
    elif any(world.steer.routes[r.key].desired is not None for r in world.service(service).routes):
        _hold_unserved(world, service, now)
    drains = world.drains.of_service(service, world.domains)
    plan = plan_service(world, service, drains, now)
    state.result, state.short = plan.result, plan.short
    if known and known != members:
        state.reason = ("config changed while nobody led",)
    served = any(world.steer.routes[r.key].desired is not None for r in world.service(service).routes)
    state.shares = published(world, service, plan.result, {}) if served else dict.fromkeys(sorted(members), 0.0)
    out = {
        e for d in drains if d.phase is Phase.HELD and d.fraction >= 1.0 for e in world.domains.members(service, d.name)
    }
    if state.reason is None and any(state.shares.get(e, 0.0) > _TINY for e in out):
        state.reason = ("unfinished",)  # a drain that never became a written decision


def applied(world: World, event: ApplyFinished, now: float) -> None:
    """One write came back."""
    known = world.steer.routes.get(event.route)
    decision = known.decision if known is not None else None
    state = world.steer.applied(event, now)
    if known is None:
        return
    if state is None:
        if decision is not None and event.decision == decision.id and event.result not in ("applied", "unchanged"):
            world.alerts.set("write-failed", event.route, f"{event.route}: {known.error}", now)
        return
    world.alerts.clear("write-failed", event.route)
    data = _clock(state)
    world.record(
        "applied", event.route, event.text or event.result, now, result=event.result, decision=event.decision, **data
    )


def verified(world: World, event: VerifyFinished, now: float) -> None:
    """One verification came back."""
    state = world.steer.verified(event, now)
    if state is None:
        known = world.steer.routes.get(event.route)
        if known is not None and known.phase == "backoff" and known.error:
            world.alerts.set("write-failed", event.route, f"{event.route}: {known.error}", now)
        return
    world.alerts.clear("write-failed", event.route)
    data = _clock(state)
    world.record("in-sync", event.route, "served as decided", now, decision=event.decision, **data)


def _clock(state: RouteState) -> dict[str, object]:
    """The times of this route's decision so far: decided, accepted, authoritative (steady seconds)."""
    clock: dict[str, object] = {"service": state.route.service}
    if state.decision is not None:
        clock["decided_at"] = state.decision.at
    if state.accepted_at is not None:
        clock["accepted_at"] = state.accepted_at
    if state.authoritative_at is not None:
        clock["authoritative_at"] = state.authoritative_at
    return clock


def route_alarm(world: World, key: str, now: float) -> None:
    """A route's back-off or wait ended."""
    if key not in world.steer.routes or not world.leading:
        return
    world.steer.repersist(key, lambda decision: Persist(decision, world.hard_state()))
    world.steer.pump(key, now)
