"""From a desired state to a ClusterLoadAssignment (Envoy API v3), and back to what it means for a route. Pure.

Each zone or region of a route is a locality that carries the target's weight; a route per endpoint is one locality whose
endpoints carry theirs. What is out stays listed as DRAINING: Envoy then sends it nothing new, lets requests in flight end, and
goes on with its own health checks. In a route per zone it stands in a locality of its own, so that it does not count against the
health of those that serve (Envoy lowers the weight of a locality with less than 72% of its hosts healthy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route, Target
from steerd.providers.asking import Server, parse_server
from steerd.providers.base import Change, Misconfigured
from steerd.providers.records import needs_fence

__all__ = ["TYPE_URL", "Held", "Write", "observed_from", "parse", "response", "translate", "version_of"]

TYPE_URL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

MARK = "steerd"
"""Key of the metadata that tells our endpoints from those of others, and gives access logs the target's name."""

DRAINED = "drained"
"""Sub-zone of what is out."""

SCALE = 100
"""An endpoint's weight is its target's times this over their number, for clusters that leave locality weights unused."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What is served for one cluster: who wrote it, and the assignment as JSON values."""

    fence: Fence | None
    assignment: Json


@dataclass(frozen=True, slots=True)
class Write:
    """The payload of a change: `new` replaces `old` if `old` still stands (None: nothing stood there)."""

    name: str
    old: Held | None
    new: Held


def version_of(held: Held) -> str:
    """`EPOCH.SEQUENCE`, which Envoy sends back with its next poll."""
    return f"{held.fence.epoch}.{held.fence.seq}" if held.fence else ""


def response(helds: Iterable[Held]) -> dict[str, Any]:
    """A DiscoveryResponse (Envoy API v3) with these assignments. The fence stands in `control_plane.identifier`."""
    listed = list(helds)
    return {
        "version_info": "+".join(version_of(h) for h in listed),
        "type_url": TYPE_URL,
        "control_plane": {"identifier": next((h.fence.text for h in listed if h.fence), "")},
        "resources": [{"@type": TYPE_URL, **h.assignment} for h in listed],
    }


def parse(data: Any, name: str) -> Held | None:
    """The assignment of cluster `name` in a DiscoveryResponse, or None. Raises KeyError, TypeError or ValueError."""
    for resource in data["resources"]:
        if resource["cluster_name"] == name:
            assignment = {k: v for k, v in resource.items() if k != "@type"}
            for entry in assignment.get("endpoints", ()):
                for host in entry.get("lb_endpoints", ()):
                    _address(host)
            return Held(Fence.parse(str(data.get("control_plane", {}).get("identifier", ""))), assignment)
    return None


def observed_from(route: Route, held: Held | None) -> Observed:
    """What an assignment means for the route's targets."""
    weights = {t.key: 0 for t in route.targets}
    if held is None:
        return Observed(weights=weights, exists=False)
    values: dict[str, set[str]] = {}
    foreign = set()
    for entry in held.assignment.get("endpoints", ()):
        for host in entry.get("lb_endpoints", ()):
            key = _mark(host)
            if key is None:
                foreign.add(_address(host))
            elif host.get("health_status") != "DRAINING":
                weight = host.get("load_balancing_weight", 1) if route.per == "endpoint" else _weight(entry)
                if weight > 0:
                    weights[key] = int(weight)
                    values.setdefault(key, set()).add(_address(host))
    return Observed(
        weights=weights,
        values={key: tuple(sorted(found)) for key, found in values.items()},
        fence=held.fence,
        foreign=tuple(sorted(foreign)),
        token=held,
    )


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The assignment that serves `desired`, conditional on the one that was read.

    Raises ValueError on an empty state; `Misconfigured` for another fleet's cluster or a target without HOST:PORT.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    old = observed.token if isinstance(observed.token, Held) else None
    if old is not None and old.fence is not None and old.fence.fleet != fence.fleet:
        raise Misconfigured(
            f"{route.key}: cluster {route.name} is steered by fleet {old.fence.fleet!r}, this is {fence.fleet!r}",
            "one cluster has one fleet: if that fleet is gone, delete its file",
        )
    entries = _entries(route, desired)
    for entry in old.assignment.get("endpoints", ()) if old else ():
        others = [h for h in entry.get("lb_endpoints", ()) if _mark(h) is None]
        if others:
            _join(entries, {**entry, "lb_endpoints": others})
    kept = {k: v for k, v in (old.assignment.items() if old else ()) if k not in ("cluster_name", "endpoints")}
    new = {"cluster_name": route.name, "endpoints": entries, **kept}
    same = old is not None and _sense(old.assignment) == _sense(new)
    moved = [f"{m.target}={m.weight}" for m in desired.members if observed.weights.get(m.target, 0) != m.weight]
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Write(route.name, old, Held(fence, new)),
        nothing=same and not needs_fence(old.fence if old else None, fence),
        summary=f"{route.name}: {' '.join(moved) or ('fence only' if same else 'endpoints')}",
    )


def _entries(route: Route, desired: Desired) -> list[dict[str, Any]]:
    """The localities that serve, then those that are out; targets that have left the config are not listed at all."""
    known = {t.key: t for t in route.targets}
    serving: list[dict[str, Any]] = []
    out: list[dict[str, Any]] = []
    for member in sorted(desired.members, key=lambda m: m.target):
        target = known.get(member.target)
        every = _every(target) if target is not None else ()
        carrying = (member.values or every) if member.weight > 0 else ()
        if member.weight > 0 and not carrying:
            raise Misconfigured(
                f"{route.key}: target {member.target} has no address with a port",
                "give its endpoints a `url` with an IP address, or the route `servers: {TARGET: IP:PORT}`",
            )
        weight = (
            member.weight if route.per == "endpoint" else max(1, round(member.weight * SCALE / max(1, len(carrying))))
        )
        hosts = [_host(route, member.target, v, weight) for v in sorted(carrying)]
        drained = [_host(route, member.target, v, None) for v in sorted(set(every) - set(carrying))]
        if route.per == "endpoint":
            serving += hosts
            out += drained
            continue
        locality = {route.per: member.target}
        if hosts:
            serving.append({"locality": locality, "load_balancing_weight": member.weight, "lb_endpoints": hosts})
        if drained:
            out.append({"locality": {**locality, "sub_zone": DRAINED}, "lb_endpoints": drained})
    if route.per == "endpoint":
        return [{"locality": {}, "load_balancing_weight": 1, "lb_endpoints": [*serving, *out]}]
    return [*serving, *out]


def _every(target: Target) -> tuple[str, ...]:
    """Every HOST:PORT of a target."""
    if target.server is not None and target.server != target.key:
        return (target.server,)
    return tuple(sorted({v for values in target.values.values() for v in values}))


def _host(route: Route, target: str, value: str, weight: int | None) -> dict[str, Any]:
    """One LbEndpoint; DRAINING without a weight."""
    try:
        server = parse_server(value, 0)
        ip_address(server.host)
    except ValueError:
        server = Server("", 0)
    if server.port == 0:
        raise Misconfigured(
            f"{route.key}: target {target}: {value!r} is not IP:PORT",
            "Envoy resolves no names in assignments: give the endpoints a `url` with an IP address, or the route `servers`",
        )
    address = {"socket_address": {"address": server.host, "port_value": server.port}}
    host = {"endpoint": {"address": address}, "metadata": {"filter_metadata": {MARK: {"target": target}}}}
    return {**host, "health_status": "DRAINING"} if weight is None else {**host, "load_balancing_weight": weight}


def _join(entries: list[dict[str, Any]], other: dict[str, Any]) -> None:
    """Localities are unique in an assignment: what others listed in one of ours joins it."""
    for entry in entries:
        if entry.get("locality", {}) == other.get("locality", {}):
            entry["lb_endpoints"] = [*entry["lb_endpoints"], *other["lb_endpoints"]]
            return
    entries.append(other)


def _mark(host: Json) -> str | None:
    """The target of an endpoint of ours, None for one of others."""
    told = host.get("metadata", {}).get("filter_metadata", {}).get(MARK, {}).get("target")
    return None if told is None else str(told)


def _weight(entry: Json) -> int:
    return int(entry.get("load_balancing_weight", 0))


def _address(host: Json) -> str:
    address = host["endpoint"]["address"]["socket_address"]
    text = str(address["address"])
    return f"[{text}]:{address['port_value']}" if ":" in text else f"{text}:{address['port_value']}"


def _sense(assignment: Json) -> Json:
    """An assignment with what is a set in order: localities and endpoints have none that matters."""
    entries = [
        {**e, "lb_endpoints": sorted(e.get("lb_endpoints", ()), key=repr)} for e in assignment.get("endpoints", ())
    ]
    return {**assignment, "endpoints": sorted(entries, key=repr)}
