"""From a desired state to which names of a route are in service, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change

__all__ = ["Lit", "Write", "observed_from", "translate"]


@dataclass(frozen=True, slots=True)
class Lit:
    """Target -> is it in service; and who said so."""

    names: Mapping[str, bool]
    fence: Fence


@dataclass(frozen=True, slots=True)
class Write:
    """The payload of a change: `new` replaces `old` if `old` still stands (None: nothing was told yet)."""

    route: str
    old: Lit | None
    new: Lit


def observed_from(route: Route, lit: Lit | None) -> Observed:
    """What is told of the route's targets."""
    if lit is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    return Observed(
        weights={t.key: int(lit.names.get(t.key, False)) for t in route.targets}, fence=lit.fence, token=lit
    )


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """Raises ValueError on an empty state."""
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    old = observed.token if isinstance(observed.token, Lit) else None
    new = Lit({m.target: m.weight > 0 for m in desired.members}, fence)
    before = old.names if old else {}
    moved = [f"{'+' if lit else '-'}{t}" for t, lit in sorted(new.names.items()) if before.get(t) is not lit]
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Write(route.key, old, new),
        nothing=not moved and before.keys() == new.names.keys(),
        summary=f"{route.name}: {' '.join(moved) or 'unchanged'}",
    )
