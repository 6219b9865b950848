"""What the policies of a token grant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["lacking"]

_ACCOUNT, _ZONE = "com.cloudflare.api.account", "com.cloudflare.api.account.zone"
"""How resources in a policy begin (API reference, token policies)."""


def lacking(
    policies: Iterable[Mapping[str, Any]], rights: Mapping[str, Sequence[str]], places: Mapping[str, str]
) -> list[str]:
    """Permission groups of `rights` (by `zone` and `account`) that `policies` do not grant on the zone and the account of
    `places`: no policy allows them there, or one denies them."""
    listed = list(policies)
    found = []
    for kind, names in rights.items():
        there = [p for p in listed if _covers(p.get("resources") or {}, kind, places)]
        allowed, denied = ({n for p in there if p.get("effect") == e for n in _named(p)} for e in ("allow", "deny"))
        found += [f"{name} on {kind} {places[kind]}" for name in names if name not in allowed or name in denied]
    return found


def _named(policy: Mapping[str, Any]) -> set[str]:
    return {str(group.get("name")) for group in policy.get("permission_groups") or ()}


def _covers(resources: Mapping[str, Any], kind: str, places: Mapping[str, str]) -> bool:
    """Resources are `PREFIX.ID` or `PREFIX.*` -> `*`; zones may stand inside their account."""
    accounts = (f"{_ACCOUNT}.{places['account']}", f"{_ACCOUNT}.*")
    if kind == "account":
        return any(resources.get(name) == "*" for name in accounts)
    inside = [given for name in accounts if isinstance(given := resources.get(name), dict)]
    zones = (f"{_ZONE}.{places['zone']}", f"{_ZONE}.*")
    return any(given.get(name) == "*" for given in (resources, *inside) for name in zones)
