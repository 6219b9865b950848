"""Envoy's bootstrap, or its admin interface's `/config_dump`: clusters and their load assignments.

Source: Envoy's API reference, `config.cluster.v3.Cluster` and `config.endpoint.v3.ClusterLoadAssignment`; `admin.v3.ConfigDump`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

import yaml

from steerd.cli.imports.found import Endpoint, Found, Names, Service, Unreadable, in_url

__all__ = ["read"]

_IN_SERVICE = ("HEALTHY", "UNKNOWN", "DEGRADED", 0, 1, 5)


def read(text: str, names: Names) -> Found:
    """Every cluster with endpoints becomes a service; its localities become regions and zones. Raises `Unreadable`."""
    try:
        data = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise Unreadable(f"neither YAML nor JSON: {error}") from error
    if not isinstance(data, Mapping):
        raise Unreadable("no mapping stands in it: a bootstrap, or the answer of the admin interface's /config_dump")
    services: list[Service] = []
    notes: list[str] = []
    assignments = {a.get("cluster_name"): a for a in _assignments(data)}
    for cluster in _clusters(data):
        name = str(cluster.get("name", ""))
        alias = _map(cluster.get("eds_cluster_config")).get("service_name") or name
        assignment = cluster.get("load_assignment") or assignments.get(alias) or {}
        endpoints = tuple(_endpoints(name, cluster, _map(assignment), names))
        if endpoints:
            services.append(Service(names.take(name), endpoints, {"name": alias}))
        elif "eds_cluster_config" in cluster:
            notes.append(f"cluster {name}: its endpoints come by EDS, import `/config_dump?include_eds` to see them")
    if not services:
        raise Unreadable("no cluster with endpoints stands in it; of a running Envoy take `/config_dump?include_eds`")
    if any(not cluster.get("eds_cluster_config") for cluster in _clusters(data)):
        notes.append("steerd writes by EDS: give each of these clusters `type: EDS` and an eds_config that asks steerd")
    return Found("envoy", "envoy", {"listen": "127.0.0.1:18000"}, tuple(services), tuple(notes))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _dumped(data: Mapping[str, Any], *keys: tuple[str, str]) -> Iterator[Mapping[str, Any]]:
    """Entries of a config dump: {key: [{inner: resource}]} of each config in it."""
    for config in _list(data.get("configs")):
        for key, inner in keys:
            for entry in _list(config.get(key)):
                if isinstance(entry.get(inner), Mapping):
                    yield entry[inner]


def _clusters(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    static = _list(_map(data.get("static_resources")).get("clusters"))
    return static + list(_dumped(data, ("static_clusters", "cluster"), ("dynamic_active_clusters", "cluster")))


def _assignments(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _dumped(
        data, ("static_endpoint_configs", "endpoint_config"), ("dynamic_endpoint_configs", "endpoint_config")
    )


def _endpoints(
    cluster: str, facts: Mapping[str, Any], assignment: Mapping[str, Any], names: Names
) -> Iterator[Endpoint]:
    scheme = "https" if facts.get("transport_socket") else "http"
    for group in _list(assignment.get("endpoints")):
        locality = _map(group.get("locality"))
        for entry in _list(group.get("lb_endpoints")):
            address = _map(_map(_map(entry.get("endpoint")).get("address")).get("socket_address"))
            host, port = address.get("address"), address.get("port_value")
            if not isinstance(host, str) or not port:
                continue
            version = _version(host)
            out = entry.get("health_status", "HEALTHY") not in _IN_SERVICE
            weight = entry.get("load_balancing_weight", 1)
            yield Endpoint(
                names.take(cluster, host, str(port)),
                f"{scheme}://{in_url(host)}:{port}",
                host,
                address=host if version == 4 else None,
                address6=host if version == 6 else None,
                weight=0.0 if out else float(weight if isinstance(weight, int) else 1),
                region=locality.get("region") or None,
                zone=locality.get("zone") or None,
                server=f"{host}:{port}",
            )


def _version(host: str) -> int | None:
    """4 or 6; None for a name."""
    try:
        return ip_address(host).version
    except ValueError:
        return None
