"""From routing control states as read and a desired state to one atomic update of those that differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured
from steerd.providers.named import check_apart, names_of

__all__ = ["OFF", "ON", "States", "controls_of", "differences", "observed_from", "panels_of", "translate"]

ON, OFF = "On", "Off"


@dataclass(frozen=True, slots=True)
class States:
    """The payload of a change: `update` (ARN -> state) is sent if the route's controls still are as `seen`."""

    panels: tuple[str, ...]
    seen: Mapping[str, str]
    update: Mapping[str, str]


def controls_of(route: Route) -> dict[str, str]:
    """Target -> ARN of its routing control."""
    return names_of(route, "controls")


def panels_of(route: Route) -> tuple[str, ...]:
    """The control panels of the route's controls. Raises `Misconfigured`."""
    found = set()
    for target, arn in controls_of(route).items():
        panel, inside, _ = arn.partition("/routingcontrol/")
        if ":controlpanel/" not in panel or not inside:
            raise Misconfigured(
                f"{route.key}: {arn!r} of {target} is no ARN of a routing control",
                "compare the route's `controls` with the control panel",
            )
        found.add(panel)
    return tuple(sorted(found))


def observed_from(route: Route, states: Mapping[str, str], fence: Fence | None) -> Observed:
    """What the states (ARN -> On or Off, of all controls of the route's panels) mean for the route's targets."""
    controls = controls_of(route)
    return Observed(
        weights={t.key: int(states.get(controls.get(t.key, "")) == ON) for t in route.targets},
        values={t.key: (controls[t.key],) for t in route.targets if controls.get(t.key) in states},
        fence=fence,
        exists=any(arn in states for arn in controls.values()),
        foreign=tuple(sorted(arn for arn, s in states.items() if s == ON and arn not in controls.values())),
        token={arn: states[arn] for arn in controls.values() if arn in states},
    )


def differences(route: Route, desired: Desired, states: Mapping[str, str]) -> list[str]:
    """What is not as desired, one line each."""
    controls = controls_of(route)
    found = [(m, states.get(controls.get(m.target, ""), OFF)) for m in desired.members]
    return [f"{m.target} is {is_now}, not {_state(m.weight)}" for m, is_now in found if is_now != _state(m.weight)]


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The update that turns `observed` into `desired`. The cluster carries it out whole or, where a safety rule of the
    panel speaks against the result, not at all; safety rules are never overridden.

    Raises ValueError on an empty state; `Misconfigured` when a target to be in service has no routing control, or two have one.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen: Mapping[str, str] = observed.token if isinstance(observed.token, dict) else {}
    controls = controls_of(route)
    check_apart(route, controls, "controls")
    update: dict[str, str] = {}
    for member in desired.members:
        arn = controls.get(member.target, "")
        if arn not in seen:
            if member.weight > 0:
                raise Misconfigured(
                    f"{route.key}: target {member.target} has no routing control in this cluster",
                    "compare the route's `controls` with the control panel",
                )
        elif seen[arn] != _state(member.weight):
            update[arn] = _state(member.weight)
    names = {arn: target for target, arn in controls.items()}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=States(panels_of(route), seen, update),
        nothing=not update,
        summary="; ".join(f"{names[arn]} {state}" for arn, state in sorted(update.items())) or "unchanged",
    )


def _state(weight: int) -> str:
    return ON if weight > 0 else OFF
