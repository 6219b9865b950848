"""Fleet changes: what a new config means for what already stands (decisions.md, section 12).

New endpoints start at 0 and ramp in once healthy; removed ones leave in one step, where `steerd.core.removal` has nothing
against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from steerd.core.classes import gather
from steerd.core.domains import Domains
from steerd.core.events import ConfigLoaded
from steerd.core.fallback import end_spills
from steerd.core.keep import configure_rules
from steerd.core.removal import crowded, refusal
from steerd.core.steer import RouteState
from steerd.core.world import ServiceState, World
from steerd.model.fleet import Service
from steerd.model.plan import Cause, Drain, Phase
from steerd.model.route import Capabilities, Route, Target

__all__ = ["load_config", "new_endpoint_drain", "with_retired"]

_ABOUT_ROUTES = frozenset({"drift", "foreign-fence", "residency-blocked", "route-unreadable", "write-failed"})
_ABOUT_SERVICES = frozenset(
    {
        "activation-failed", "capacity-short", "data-behind", "demand-unknown", "fallback-used", "global", "overload-accepted",
        "quorum-lost", "standby-drift", "vetoed",
    }
)  # fmt: skip
"""Their `of` begins with the service's name, or is one of its routes."""


def load_config(world: World, event: ConfigLoaded, now: float) -> set[str]:
    """Puts a config in force. The first one is taken as it is; a later one may be refused, with an alert.

    Returns the endpoints whose health the new rules changed.
    """
    first = not world.services and not world.fleet.services
    if not first and not event.accepted and (why := refusal(world, event.fleet)) is not None:
        world.alerts.set("config-refused", world.fleet.name, why, now, "steerd config accept, or mend the file")
        world.record("config", world.fleet.name, why, now, refused=True)
        return set()
    world.alerts.clear("config-refused", event.fleet.name)
    short = crowded(world, event.fleet)
    known = {
        s: {e.name for e in world.service(s).endpoints} for s in world.services if s in world.fleet.service_by_name
    }
    out = {s: _drained(world, s) for s in known}
    for service in event.fleet.services:
        if service != world.fleet.service_by_name.get(service.name) or _planned_otherwise(world, event, service):
            world.services.setdefault(service.name, ServiceState()).generation += 1
    world.fleet, world.capabilities = event.fleet, event.capabilities
    world.domains = Domains(event.fleet)
    world.forget_classes()
    world.votes.configure(event.fleet)
    world.board.configure(event.fleet)
    world.confirmer.configure(event.fleet)
    _services(world)
    end_spills(world)
    configure_rules(world, now)
    _routes(world)
    for name, before in known.items():
        if name not in world.services or not world.services[name].adopted:
            continue
        let_go = out[name] - _drained(world, name)  # its drained zone was renamed, or it moved to another
        for endpoint in world.service(name).endpoints:
            if endpoint.name not in before or endpoint.name in let_go:
                world.drains.put(new_endpoint_drain(endpoint.name, name, now))
    for drain in [d for d in world.drains.book.values() if not world.domains.touches(d)]:
        world.drains.remove(drain.key)
    _end_alerts(world)
    for name, text in sorted(short.items()) if world.leading else ():
        world.alerts.set("capacity-short", f"{name}/removed", text, now)
    changed = world.board.judge(world.board.states, now)
    if not first:
        removed = sum(
            len(names - {e.name for e in world.service(s).endpoints})
            for s, names in known.items()
            if s in world.services
        )
        world.record("config", event.fleet.name, f"config {event.fleet.config_hash} is in force", now, removed=removed)
    return changed


def new_endpoint_drain(name: str, service: str, now: float) -> Drain:
    """Keeps a new endpoint at 0 until it is healthy; then the restore ramp brings it in."""
    return Drain(
        name=name, kind="endpoint", cause=Cause.NEW, by="automatic", reason="new in the config: comes in once healthy",
        since=now, service=service, phase=Phase.HELD, fraction=1.0, step_at=now,
    )  # fmt: skip


def _planned_otherwise(world: World, event: ConfigLoaded, service: Service) -> bool:
    """What a plan depends on beside the service itself: capacity rules, the topology, what its providers can express."""
    if (event.fleet.guards, event.fleet.regions) != (world.fleet.guards, world.fleet.regions):
        return True
    return any(event.capabilities.get(r.provider) != world.capabilities.get(r.provider) for r in service.routes)


def _drained(world: World, service: str) -> set[str]:
    drains = world.drains.of_service(service, world.domains)
    return {e for d in drains for e in world.domains.members(service, d.name)}


def _end_alerts(world: World) -> None:
    """Alerts about what left the config end with it."""
    for kind, of in list(world.alerts.active):
        if kind in _ABOUT_ROUTES:
            stays = of in world.steer.routes
        elif kind == "probe-error":
            agent, _, endpoint = of.partition("/")
            stays = agent in world.fleet.agent_by_name and endpoint in world.fleet.endpoint_by_name
        else:
            about = of in world.steer.routes or of.split("/", 1)[0] in world.services
            stays = kind not in _ABOUT_SERVICES or about
        if not stays:
            world.alerts.clear(kind, of)


def _services(world: World) -> None:
    for service in world.fleet.services:
        state = world.services.setdefault(service.name, ServiceState())
        names = {e.name for e in service.endpoints}
        if state.adopted:  # who carries nothing now stays known: the next plan leaves nothing with such a one
            state.shares = gather(world.classes(service.name), state.shares)
        else:
            state.shares = {n: s for n, s in state.shares.items() if n in names}
        world.touch(service.name)
    for name in [n for n in world.services if n not in world.fleet.service_by_name]:
        del world.services[name]
        world.diagnoser.services.pop(name, None)


def with_retired(route: Route, before: Iterable[Target], settings: Mapping[str, Any] | None = None) -> Route:
    """Targets that left the config stay known to their route, without endpoints: they get weight 0, so that what was
    written for them is taken out, and nothing else is. `settings` are the route's as they were: maps by target keep what
    they say of those that left."""
    known = {t.key for t in route.targets}
    taken = {v for t in route.targets for values in t.values.values() for v in values} | {
        t.server or t.key for t in route.targets
    }
    retired = []
    for target in before:
        if target.key in known or (target.server or target.key) in taken:
            continue
        values = {k: left for k, vs in target.values.items() if (left := tuple(v for v in vs if v not in taken))}
        if values or not target.values:  # an address that another target has now is not taken out with this one
            retired.append(replace(target, endpoints=(), values=values))
    if not retired:
        return route
    gone = {t.key for t in retired}
    kept = {
        name: {k: v for k, v in was.items() if k in gone}
        for name, was in (settings or {}).items()
        if isinstance(was, Mapping)
    }
    maps = {name: {**said, **(route.settings.get(name) or {})} for name, said in kept.items() if said}
    return replace(route, targets=(*route.targets, *retired), settings={**route.settings, **maps})


def _still_served(state: RouteState) -> list[Target]:
    """Targets of the last config, and of those retired earlier the ones that are not known to be out yet."""
    known_out = state.observed is not None and state.phase in ("idle", "synced")
    return [t for t in state.route.targets if t.endpoints or not known_out or state.served.get(t.key, 0) > 0]


def _routes(world: World) -> None:
    """Routes keep their state while provider and name stay; a route that left the config is left as it is served."""
    routes: dict[str, RouteState] = {}
    for service in world.fleet.services:
        for route in service.routes:
            caps = world.capabilities.get(route.provider, Capabilities())
            state = world.steer.routes.get(route.key)
            if state is None:
                state = RouteState(route, caps)
            state.route, state.caps = with_retired(route, _still_served(state), state.route.settings), caps
            observed_only, state.observe_only = state.observe_only, world.observing(service.name)
            if observed_only and not state.observe_only:  # what was decided while observing was never written
                state.desired = state.wanted = state.decision = None
            if state.observe_only:
                state.phase = "idle"
            routes[route.key] = state
    world.steer.routes = routes
