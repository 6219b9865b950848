"""Targets that a system knows by names the route gives them: ARNs of target groups, ids of endpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from steerd.model.route import Desired, Route
from steerd.providers.errors import Misconfigured

__all__ = ["check_apart", "joined", "names_of"]


def names_of(route: Route, setting: str) -> dict[str, str]:
    """Target -> its name: from the route's map `setting`, or for one that left the config from its values. What such a
    one was called and another target is now, is the other's."""
    named = {str(k): str(v) for k, v in (route.settings.get(setting) or {}).items()}
    retired = {t.key: t for t in route.targets if not t.endpoints}
    taken = {name for key, name in named.items() if key not in retired}
    found = {key: name for key, name in named.items() if key not in retired or name not in taken}
    for key, target in retired.items():
        former = [v for vs in target.values.values() for v in vs if v not in taken]
        if key not in found and len(former) == 1:
            found[key] = former[0]
    return found


def check_apart(route: Route, names: dict[str, str], setting: str) -> None:
    """Raises `Misconfigured` where two targets have one name: the weight of one would be the other's."""
    owner: dict[str, str] = {}
    for target in (t.key for t in route.targets if t.endpoints and t.key in names):
        other = owner.setdefault(names[target], target)
        if other != target:
            raise Misconfigured(
                f"{route.key}: {other} and {target} are both {names[target]} in `{setting}`",
                "give each target one of its own",
            )


def joined(
    route: Route,
    desired: Desired,
    names: dict[str, str],
    standing: Mapping[str, int],
    top: int,
    setting: str,
    what: str,
) -> dict[str, int]:
    """Name -> weight after the write, of a system in which a target that is not there yet joins by being given a weight. Those of
    others stay. `names` are of the route's `setting`, `what` each of them is called.

    Raises ValueError on a weight that is not from 0 to `top`; `Misconfigured` where two targets have one name, or one that is to be
    in service has none.
    """
    check_apart(route, names, setting)
    wanted = dict(standing)
    for member in desired.members:
        if not 0 <= member.weight <= top:
            raise ValueError(f"{route.key}: weight {member.weight} of {member.target} is not from 0 to {top}")
        name = names.get(member.target)
        if name is None and member.weight > 0:
            raise Misconfigured(
                f"{route.key}: target {member.target} has no {what}", f"add it to the route's `{setting}`"
            )
        # One at weight 0 stays: it is probed on, and its clients' connections are not cut.
        if name is not None and (member.weight > 0 or name in standing):
            wanted[name] = member.weight
    return wanted
