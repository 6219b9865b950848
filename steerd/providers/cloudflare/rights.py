"""What the policies of a token grant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from steerd.providers.base import Untold

__all__ = ["lacking"]

_ACCOUNT, _ZONE = "com.cloudflare.api.account", "com.cloudflare.api.account.zone"
"""How resources in a policy begin (API reference, token policies)."""


def lacking(
    policies: Iterable[Mapping[str, Any]], rights: Mapping[str, Sequence[str]], places: Mapping[str, str]
) -> list[str]:
    """Permission groups of `rights` (by `zone` and `account`) that `policies` do not grant on the zone and the account of
    `places`: no policy allows them there, or one denies them. `Untold` where that depends on a policy's condition."""
    listed = list(policies)
    found: list[str] = []
    for kind, names in rights.items():
        there = [p for p in listed if _covers(p.get("resources") or {}, kind, places)]
        (allowed, maybe), (denied, not_always) = (
            [
                {n for p in there if (p.get("effect"), bool(p.get("condition"))) == (e, c) for n in _named(p)}
                for c in (False, True)
            ]
            for e in ("allow", "deny")
        )
        for right, name in ((f"{name} on {kind} {places[kind]}", name) for name in names):
            if name in denied or name not in allowed | maybe:
                found.append(right)
            elif name not in allowed or name in not_always:
                found.append(Untold(f"{right}: a policy of the token has a condition; a write tries it out"))
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
