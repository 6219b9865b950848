"""Rotation: how many endpoints carry traffic, counted by kind where shares are kept by kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from steerd.core.classes import Shares
from steerd.core.domains import Domains

__all__ = ["idle", "in_rotation"]

_TINY = 1e-9


def in_rotation(
    domains: Domains, service: str, shares: Mapping[str, float], without: Collection[str],
    regions: Collection[str] | None = None, over: float = _TINY,
) -> int:  # fmt: skip
    """Endpoints with a share over `over` that are in none of the domains `without`, and in `regions` where these are given."""
    if not isinstance(shares, Shares):
        out = {e for name in without for e in domains.members(service, name)}
        inside = (e for e, s in shares.items() if s > over and e not in out)
        return sum(regions is None or domains.region_of(e) in regions for e in inside)
    classes = shares.classes
    open_ = {
        k.number
        for k in classes.kinds
        if k.zone not in without and k.region not in without and (regions is None or k.region in regions)
    }
    alike = sum(n for kind, s, n in shares.parts() if s > over and kind.number in open_)
    apart = sum(s > over and classes.of[e] in open_ and e not in without for e, s in shares.own.items())
    single = {e for e in without if e in classes.of and e not in shares.own and classes.of[e] in open_}
    return alike + apart - sum(shares.get(e, 0.0) > over for e in single)


def idle(domains: Domains, service: str, shares: Mapping[str, float]) -> set[str]:
    """Endpoints of the service that carry nothing."""
    if not isinstance(shares, Shares):
        return {e for e in domains.members_of_service(service) if shares.get(e, 0.0) <= _TINY}
    found = {e for e, s in shares.own.items() if s <= _TINY}
    for kind in shares.classes.kinds:
        if min(shares.values_of(kind.number), default=0.0) <= _TINY:
            found.update(e for e in kind.members if shares.get(e, 0.0) <= _TINY)
    return found
