"""Between the contract and the messages of README.md. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Refused
from steerd.providers.records import needs_fence

__all__ = ["Seen", "Write", "differences", "observed_from", "read_message", "seen_from", "translate"]

WEIGHT_MAX = 10_000

VERSION_CHARS = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What the receiver said: `version` is its own word for the state, `weights` member -> weight."""

    version: str
    weights: dict[str, int]
    fence: Fence | None = None
    exists: bool = True


@dataclass(frozen=True, slots=True)
class Write:
    """The payload of a change: the message, to be carried out if the receiver still is as it was read."""

    message: dict[str, Any]


def read_message(route: Route) -> dict[str, Any]:
    """The question."""
    return {"v": 1, "kind": "read", "route": route.name, "service": route.service}


def seen_from(answer: Any) -> Seen:
    """The receiver's answer. Raises `Refused` when it is not one of README.md."""
    try:
        told = answer["fence"]
        fence = None if told is None else Fence(*(_of(told, k, t) for k, t in _FENCE))
        weights = {str(name): _weight(weight) for name, weight in answer["weights"].items()}
        seen = Seen(_of(answer, "version", str), weights, fence, _of(answer, "exists", bool))
        known = answer["v"] == 1
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(
            f"the receiver's answer is not understood: {type(error).__name__}: {error}",
            "compare it with steerd/providers/webhook/README.md",
        ) from None
    if not known or len(seen.version) > VERSION_CHARS:
        raise Refused(
            f"the receiver speaks version {answer['v']!r} of the messages, or its `version` is over {VERSION_CHARS} characters",
            "compare its answer with steerd/providers/webhook/README.md",
        )
    return seen


_FENCE = (("fleet", str), ("epoch", int), ("seq", int), ("plan", str))


def _of(mapping: Any, key: str, kind: type) -> Any:
    value = mapping[key]
    if type(value) is not kind:
        raise TypeError(f"`{key}` is {value!r}, not a {kind.__name__}")
    return value


def _weight(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"weight {value!r} is not a whole number of 0 or more")
    return value


def _names(route: Route, desired: Desired | None = None) -> dict[str, str]:
    own = {t.key: t.server or t.key for t in route.targets}
    return own | {m.target: own.get(m.target, m.target) for m in (desired.members if desired else ())}


def observed_from(route: Route, seen: Seen) -> Observed:
    """What the receiver's state means for the route's targets."""
    if not seen.exists:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False, fence=seen.fence, token=seen)
    return weighing.observe(route, _names(route), seen.weights, seen.fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    seen: Seen = observed.token
    return weighing.differences(desired, _names(route, desired), seen.weights)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The message that turns `observed` into `desired`. A receiver that does not know a member yet takes it up.

    Raises ValueError on an empty state or a weight out of range, `Misconfigured` when another fleet steers it.
    """
    seen: Seen = observed.token
    names = _names(route, desired)
    standing = dict.fromkeys(names.values(), 0) | seen.weights
    weights = weighing.wanted(route, desired, names, standing, WEIGHT_MAX, "")
    weighing.check_fleet(route, seen.fence, fence, "forget the fence the receiver holds for it")
    members = [
        {"name": names[m.target], "weight": m.weight, "values": sorted(m.values)}
        for m in sorted(desired.members, key=lambda m: m.target)
    ]
    changed = weighing.changes(names, standing, weights)
    fence_only = not changed and needs_fence(seen.fence, fence)
    message = {
        "v": 1,
        "kind": "write",
        "route": route.name,
        "service": route.service,
        "if_version": seen.version,
        "fence": {key: getattr(fence, key) for key, _ in _FENCE},
        "ttl_s": route.ttl_s,
        "members": members,
    }
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Write(message),
        nothing=not changed and not fence_only,
        summary="; ".join(changed) or ("fence only" if fence_only else "unchanged"),
    )
