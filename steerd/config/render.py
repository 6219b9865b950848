"""A fleet as the config that would make it: every default filled in, secrets as references."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Any

import yaml

from steerd.config.checks import DEPENDENCY_PREFIX, dropped
from steerd.config.kinds import PROBE_KINDS, PROVIDER_KINDS, STORE_KINDS, KindLike
from steerd.config.nodes import plain_value
from steerd.config.own_stacks import stack_of
from steerd.config.record_values import DNS_KINDS, MEMBER_MAPS, SERVER_KINDS
from steerd.config.units import format_duration, format_fraction, format_number
from steerd.model.fleet import Check, Demand, Dependency, Endpoint, Fleet, Listen, Routing, Secret, Service
from steerd.model.route import Route
from steerd.model.rules import Ramp
from steerd.providers.registry import ROUTE_SETTINGS

__all__ = ["as_data", "show"]

_HEADER = "# The effective config, defaults filled in. Secrets are references; their values are <redacted>.\n"


def show(fleet: Fleet) -> str:
    """YAML in the config's own syntax; parsed again it gives an equal fleet."""
    text = yaml.dump(
        as_data(fleet), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )
    return _HEADER + str(text)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the C dumper is there or not
    """No aliases; quotes around texts that our reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML calls it with the value
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = None if plain_value(text, plain=True) == text and not text.startswith("<<") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _given(**pairs: Any) -> dict[str, Any]:
    """The pairs that have a value."""
    return {key: value for key, value in pairs.items() if value is not None}


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


def _fraction(value: float | None) -> str | None:
    return None if value is None else format_fraction(value)


def _shares(prefer: MappingABC[str, float] | None) -> dict[str, str] | None:
    return None if prefer is None else {name: format_fraction(share) for name, share in prefer.items()}


def _free(value: Any) -> Any:
    """A free-form value; secrets as references."""
    if isinstance(value, Secret):
        return {value.kind: value.ref}
    if isinstance(value, MappingABC):
        return {key: _free(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_free(v) for v in value]
    return value


def _settings(kind: KindLike, settings: MappingABC[str, Any]) -> dict[str, Any]:
    return _typed({s.name: s.type for s in kind.settings}, settings)


def _typed(types: MappingABC[str, str], settings: MappingABC[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in settings.items():
        match types.get(key):
            case "duration":
                found[key] = format_duration(value)
            case "fraction":
                found[key] = format_fraction(value)
            case _:
                found[key] = _free(value)
    return found


def _listen(listen: Listen) -> dict[str, Any]:
    tls = _given(cert=listen.tls.cert, key=listen.tls.key, client_ca=listen.tls.client_ca) if listen.tls else None
    return _given(host=listen.host, port=listen.port, socket=listen.socket, tls=tls, insecure=listen.insecure)


def _ramp(ramp: Ramp) -> dict[str, Any]:
    return {
        "drain_steps": [format_fraction(s) for s in ramp.drain_steps],
        "drain_step_every": format_duration(ramp.drain_step_every_s),
        "restore_after": format_duration(ramp.restore_after_s),
        "restore_steps": [format_fraction(s) for s in ramp.restore_steps],
        "restore_step_every": format_duration(ramp.restore_step_every_s),
    }


def as_data(fleet: Fleet) -> dict[str, Any]:
    """The config as plain data, ready for YAML or JSON."""
    paces = {c.name: c for s in fleet.services for c in s.checks if c.name.startswith(DEPENDENCY_PREFIX)}
    return {
        "fleet": fleet.name,
        "mode": fleet.mode,
        "regions": {r.name: {"zones": list(r.zones)} for r in fleet.regions},
        "agents": {
            a.name: _given(
                zone=a.zone,
                token=_free(a.token),
                sees=list(a.sees) or None,
                listen=_listen(a.listen) if a.listen else None,
            )
            for a in fleet.agents
        },
        "coordinators": {
            c.name: _given(region=c.region, url=c.url, listen=_listen(c.listen) if c.listen else None)
            for c in fleet.coordinators
        },
        "store": {"kind": fleet.store.kind, **_settings(STORE_KINDS[fleet.store.kind], fleet.store.settings)},
        "services": {s.name: _service(s, fleet) for s in fleet.services},
        "dependencies": {d.name: _dependency(d, paces.get(DEPENDENCY_PREFIX + d.name)) for d in fleet.dependencies},
        "providers": {
            p.name: {
                **_given(kind=p.kind, region=p.region),
                **_settings(PROVIDER_KINDS[p.kind], p.settings),
            }
            for p in fleet.providers
        },
        "references": list(fleet.references),
        **_rules(fleet),
        **({"stacks": _free(fleet.stacks)} if fleet.stacks else {}),
        **({"budget": {"tokens_per_day": fleet.tokens_per_day}} if fleet.tokens_per_day is not None else {}),
        "contacts": [_given(name=c.name, phone=c.phone, url=c.url) for c in fleet.contacts],
        "alerts": [_free(a) for a in fleet.alerts],
        "telemetry": _given(otlp=fleet.telemetry.otlp, prometheus=fleet.telemetry.prometheus),
        "listen": _listen(fleet.listen),
    }


def _rules(fleet: Fleet) -> dict[str, Any]:
    quorum, guards, verdict, gray, damping = fleet.quorum, fleet.guards, fleet.verdict, fleet.gray, fleet.damping
    return {
        "quorum": {
            "voices": quorum.voices,
            "vantage_regions": quorum.vantage_regions,
            "down_at": format_fraction(quorum.down_at),
            "up_at": format_fraction(quorum.up_at),
            "vote_ttl": format_duration(quorum.vote_ttl_s),
            "settle": format_duration(quorum.settle_s),
            "confirm_rate": f"{format_number(quorum.confirm_rate_per_s)}/s",
        },
        "guards": {
            "max_utilization": format_fraction(guards.max_utilization),
            "min_in_rotation": format_fraction(guards.min_in_rotation),
            "max_zones_drained": guards.max_zones_drained,
            "max_regions_drained": guards.max_regions_drained,
            "max_ejected": format_fraction(guards.max_ejected),
            "max_removed": {
                "share": format_fraction(guards.max_removed_share),
                "per": format_duration(guards.max_removed_per_s),
            },
            "dwell": format_duration(guards.dwell_s),
            "repeat_block": format_duration(guards.repeat_block_s),
        },
        "verdict": {
            "fall": verdict.fall,
            "rise": verdict.rise,
            "confirm_gap": format_duration(verdict.confirm_gap_s),
        },
        "gray": {
            "degraded": [format_fraction(v) for v in gray.degraded],
            "down": [format_fraction(v) for v in gray.down],
        },
        "damping": {
            "penalty": _number(damping.penalty),
            "half_life": format_duration(damping.half_life_s),
            "suppress": _number(damping.suppress),
            "reuse": _number(damping.reuse),
            "max": _number(damping.max),
        },
        "ramp": _ramp(fleet.ramp),
    }


def _dependency(dependency: Dependency, pace: Check | None) -> dict[str, Any]:
    kind = PROBE_KINDS[dependency.kind]
    instances = {region: _settings(kind, own) for region, own in dependency.instances.items()}
    return {
        **_given(
            kind=dependency.kind,
            stateful=dependency.stateful,
            max_lag=_duration(dependency.max_lag_s),
            interval=_duration(pace.interval_s) if pace else None,
            timeout=_duration(pace.timeout_s) if pace else None,
        ),
        **_settings(kind, dependency.settings),
        **({"instances": instances} if instances else {}),
    }


def _service(service: Service, fleet: Fleet) -> dict[str, Any]:
    objectives = service.objectives
    return _given(
        **{"class": service.cls},
        stack=service.stack,
        model=service.model,
        mode=service.mode,
        objectives=_given(
            rto=_duration(objectives.rto_s),
            rpo=_duration(objectives.rpo_s),
            ttft=_duration(objectives.ttft_s),
            availability=_fraction(objectives.availability),
        ),
        checks=_checks(service, fleet),
        depends_on=list(service.depends_on),
        demand=_demand(service.demand),
        routing=_routing(service.routing),
        fallback=service.fallback,
        shortfall=service.shortfall,
        activate={region: [_step(s) for s in steps] for region, steps in service.activate.items()} or None,
        version=dict(service.version) if service.version else None,
        endpoints={e.name: _endpoint(e) for e in service.endpoints},
        routes=[_route(r, fleet) for r in service.routes],
        ramp=_ramp(service.ramp),
    )


def _checks(service: Service, fleet: Fleet) -> dict[str, Any]:
    own = [c for c in service.checks if not c.name.startswith(DEPENDENCY_PREFIX)]
    stack = stack_of(fleet, service.stack)
    there = {c.name for c in own} | {c.name for c in dropped(stack)} | {c.name for c in stack.checks if c.optional}
    found: dict[str, Any] = {c.name: {"off": True} for c in stack.checks if c.name not in there}
    for check in own:
        found[check.name] = {
            "kind": check.kind,
            "layer": str(check.layer),
            "interval": format_duration(check.interval_s),
            "timeout": format_duration(check.timeout_s),
            **_settings(PROBE_KINDS[check.kind], check.settings),
        }
    return found


def _demand(demand: Demand | None) -> Any:
    if demand is None:
        return None
    if demand.progress:
        return {"from": "progress"}
    if demand.value is not None:
        return _number(demand.value)
    return _given(prometheus=demand.prometheus, query=demand.query)


def _routing(routing: Routing) -> dict[str, Any]:
    passive = routing.mode == "active-passive"
    return _given(
        mode=routing.mode,
        prefer=_shares(routing.prefer),
        order=list(routing.order) if passive else None,
        trickle=_fraction(routing.trickle) if passive else None,
        failback=routing.failback,
    )


def _step(step: MappingABC[str, Any]) -> dict[str, Any]:
    rest = {key: _free(value) for key, value in step.items() if key != "timeout_s"}
    return {**rest, "timeout": format_duration(step["timeout_s"])}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return _given(
        zone=endpoint.zone,
        url=endpoint.url,
        public_url=endpoint.public_url,
        address=endpoint.address,
        address6=endpoint.address6,
        capacity=_number(endpoint.capacity),
    )


def _route(route: Route, fleet: Fleet) -> dict[str, Any]:
    kind = fleet.provider_by_name[route.provider].kind
    dns = kind not in SERVER_KINDS
    fixed = {t.key: list(t.values[t.key]) for t in route.targets if t.key in t.values and route.per != "endpoint"}
    servers = {t.key: t.server for t in route.targets if t.server is not None}
    if kind in MEMBER_MAPS:
        fixed = {}  # they stand in the route's map
    elif route.per == "endpoint":
        fixed = _fixed_per_endpoint(route, fleet)
    types = {s.name: s.type for s in ROUTE_SETTINGS.get(kind, ())}
    rest = _typed(types, {key: value for key, value in route.settings.items() if key != "set"})
    return _given(
        **{"provider": route.provider, ("backend" if kind in SERVER_KINDS else "name"): route.name},
        set=route.settings.get("set"),
        type=list(route.types) or None,
        ttl=format_duration(route.ttl_s) if dns else None,
        per=route.per,
        scope=route.scope,
        servers=(servers or None) if kind not in DNS_KINDS else None,
        targets=fixed or None,
        prefer=_shares(route.prefer),
        only=list(route.only) or None,
        on_drift=route.on_drift,
        **rest,
    )


def _fixed_per_endpoint(route: Route, fleet: Fleet) -> dict[str, list[str]]:
    """Values that are not just the endpoint's own addresses, so came from `targets`."""
    found = {}
    for target in route.targets:
        values = target.values.get(target.key)
        endpoint = fleet.endpoint_by_name.get(target.key)
        if values is None or endpoint is None:
            continue
        by_type = {"A": endpoint.address, "AAAA": endpoint.address6}
        own = tuple(a for kind in ("A", "AAAA") if (a := by_type[kind]) and kind in (route.types or ("A", "AAAA")))
        if values != own:
            found[target.key] = list(values)
    return found
