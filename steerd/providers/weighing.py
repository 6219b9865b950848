"""What providers share whose system keeps one integer weight per named member, all of it pure.

`names` is target -> the member's name there; `standing` is member -> weight as read. Members of others stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Misconfigured

__all__ = ["changes", "check_fleet", "differences", "observe", "wanted"]


def observe(
    route: Route, names: Mapping[str, str], standing: Mapping[str, int] | None, fence: Fence | None, token: object
) -> Observed:
    """What `standing` means for the route's targets; None where there is no such resource."""
    if standing is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    return Observed(
        weights={t.key: standing.get(names.get(t.key, ""), 0) for t in route.targets},
        values={t.key: (names[t.key],) for t in route.targets if names.get(t.key) in standing},
        fence=fence,
        foreign=tuple(sorted(standing.keys() - set(names.values()))),
        token=token,
    )


def wanted(
    route: Route, desired: Desired, names: Mapping[str, str], standing: Mapping[str, int], top: int, action: str
) -> dict[str, int]:
    """Member -> weight after the write, those of others among them.

    Raises ValueError on an empty state or a weight out of range, `Misconfigured` with `action` when a target to be in
    service is no member.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    weights = dict(standing)
    for member in desired.members:
        if not 0 <= member.weight <= top:
            raise ValueError(f"{route.key}: weight {member.weight} of {member.target} is not from 0 to {top}")
        name = names.get(member.target)
        if name is not None and name in standing:
            weights[name] = member.weight
        elif member.weight > 0:
            raise Misconfigured(
                f"{route.key}: target {member.target} is not in {route.name} ({name or 'unnamed'})", action
            )
    return weights


def changes(names: Mapping[str, str], standing: Mapping[str, int], weights: Mapping[str, int]) -> list[str]:
    """`za 40 -> 0` for each member that changes."""
    targets = {name: target for target, name in names.items()}
    return [f"{targets.get(n, n)} {standing.get(n)} -> {w}" for n, w in sorted(weights.items()) if standing.get(n) != w]


def differences(desired: Desired, names: Mapping[str, str], standing: Mapping[str, int]) -> list[str]:
    """What is not as desired, one line each."""
    found = [(m, standing.get(names.get(m.target, ""), 0)) for m in desired.members]
    return [f"{m.target} has weight {is_now}, not {m.weight}" for m, is_now in found if is_now != m.weight]


def check_fleet(route: Route, observed: Fence | None, fence: Fence, how: str) -> None:
    """Raises `Misconfigured` when another fleet steers this; `how` is what to do once that fleet is gone."""
    if observed is not None and observed.fleet != fence.fleet:
        raise Misconfigured(
            f"{route.key}: {route.name} is steered by fleet {observed.fleet!r}, this is {fence.fleet!r}",
            f"one route has one fleet: if that fleet is gone, {how}",
        )
