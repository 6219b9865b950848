"""A Traffic Manager profile, as `az network traffic-manager profile show` prints it.

Source: Azure Traffic Manager REST API, Profiles - Get.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steerd.cli.imports.found import Endpoint, Found, Names, Service, Unreadable, slug

__all__ = ["read"]


def read(text: str, names: Names) -> Found:
    """The profile becomes a service, its endpoints' locations regions. Raises `Unreadable`."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from error
    profiles = data if isinstance(data, list) else [data]
    services, notes = [], []
    group = subscription = None
    for profile in profiles:
        facts = _flat(profile)
        name, endpoints = str(facts.get("name", "")), facts.get("endpoints")
        if not name or not isinstance(endpoints, list):
            raise Unreadable("no profile: print it with `az network traffic-manager profile show -g GROUP -n NAME`")
        if facts.get("trafficRoutingMethod") not in (None, "Weighted"):
            notes.append(
                f"{name} routes by {facts['trafficRoutingMethod']}: steerd sets weights, which need `Weighted`"
            )
        parts = str(facts.get("id", "")).split("/")
        if "resourceGroups" in parts:
            subscription, group = parts[parts.index("subscriptions") + 1], parts[parts.index("resourceGroups") + 1]
        made = tuple(_endpoint(name, _flat(entry), names, notes) for entry in endpoints)
        services.append(Service(names.take(name), made, {"name": name}))
    if not services:
        raise Unreadable(
            "no profile stands in it: print one with `az network traffic-manager profile show -g GROUP -n NAME`"
        )
    settings = {"subscription": subscription or "SET-ME", "resource_group": group or "SET-ME"}
    return Found("azure", "azure-trafficmanager", settings, tuple(services), tuple(notes))


def _flat(value: Any) -> Mapping[str, Any]:
    """REST nests `properties`, the command line does not."""
    if not isinstance(value, Mapping):
        return {}
    return {**value, **(value.get("properties") or {})}


def _endpoint(profile: str, facts: Mapping[str, Any], names: Names, notes: list[str]) -> Endpoint:
    name, target = str(facts.get("name", "")), facts.get("target")
    if not target:
        notes.append(f"{profile}: endpoint {name} has no target of its own: write its url by hand")
    enabled = facts.get("endpointStatus", "Enabled") == "Enabled"
    return Endpoint(
        names.take(profile, name),
        f"https://{target}" if target else None,
        target,
        weight=float(facts.get("weight") or 1) if enabled else 0.0,
        region=slug(facts["endpointLocation"]) if facts.get("endpointLocation") else None,
        server=name,
    )
