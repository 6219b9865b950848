"""From a rule's actions as read and a desired state to the whole new action list. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured, Refused
from steerd.providers.named import joined, names_of

__all__ = ["Rule", "Seen", "differences", "listener_of", "observed_from", "rule_of", "translate"]

WEIGHT_MAX, GROUPS_MAX = 999, 5
"""The largest weight; target groups of one forward action (Elastic Load Balancing quotas)."""

Action = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """One rule as read. The default rule of a listener is changed through the listener."""

    rule: str
    default: bool
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """The payload of a change: `actions` replace the rule's, if it still is as `seen`."""

    seen: Seen
    actions: tuple[Action, ...]

    @property
    def listener(self) -> str:
        """The listener's ARN."""
        return listener_of(self.seen.rule)


def listener_of(rule: str) -> str:
    """The listener's ARN: that of the rule without its last part."""
    return rule.rpartition("/")[0].replace(":listener-rule/", ":listener/")


def rule_of(route: Route) -> str:
    """The rule's ARN. Raises `Misconfigured`."""
    rule = str(route.settings.get("rule") or "")
    if ":listener-rule/" not in rule:
        raise Misconfigured(
            f"{route.key}: {rule!r} is no ARN of a listener rule",
            "set the route's `rule`: `aws elbv2 describe-rules --listener-arn ARN` lists them",
        )
    return rule


def groups_of(route: Route) -> dict[str, str]:
    """Target -> ARN of its target group."""
    return names_of(route, "target_groups")


def weights_in(route: Route, actions: tuple[Action, ...]) -> dict[str, int]:
    """Target group -> weight, of the rule's one forward action. Raises `Misconfigured` where there is none."""
    forward = next((a for a in actions if a.get("Type") == "forward"), None)
    if forward is None:
        raise Misconfigured(
            f"{route.key}: the rule does not forward, it does {', '.join(str(a.get('Type')) for a in actions) or 'nothing'}",
            "name the rule that forwards to the target groups",
        )
    listed = forward.get("ForwardConfig", {}).get("TargetGroups")
    if not listed:
        return {str(forward["TargetGroupArn"]): 1}
    return {str(g["TargetGroupArn"]): int(g.get("Weight", 1)) for g in listed}


def observed_from(route: Route, seen: Seen | None, fence: Fence | None) -> Observed:
    """What the rule means for the route's targets. `seen` is None where there is no such rule."""
    if seen is None:
        return weighing.observe(route, {}, None, None, None)
    return weighing.observe(route, groups_of(route), weights_in(route, seen.actions), fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    standing = weights_in(route, observed.token.actions) if isinstance(observed.token, Seen) else {}
    return weighing.differences(desired, groups_of(route), standing)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The action list that turns `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when there is no such rule or a target to
    be in service has no target group, or two have one; `Refused` when there would be too many groups.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(
            f"{route.key}: there is no such rule", "compare the route's `rule` with the listener's rules"
        )
    groups, standing = groups_of(route), weights_in(route, seen.actions)
    wanted = joined(route, desired, groups, standing, WEIGHT_MAX, "target_groups", "target group")
    if len(wanted) > GROUPS_MAX:
        raise Refused(
            f"{route.key}: the rule would forward to {len(wanted)} target groups, it takes {GROUPS_MAX}",
            "take target groups of others out of the rule, or use `per: region`",
        )
    changed = sorted(arn for arn, weight in wanted.items() if standing.get(arn) != weight)
    names = {arn: target for target, arn in groups.items()}
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Rule(seen, tuple(_written(a, wanted) for a in seen.actions)),
        nothing=not changed,
        summary="; ".join(f"{names[a]} {standing.get(a, 'absent')} -> {wanted[a]}" for a in changed) or "unchanged",
    )


def _written(action: Action, weights: Mapping[str, int]) -> Action:
    """An action as it must be sent so that it stays what it is, but for the weights."""
    if action.get("Type") == "authenticate-oidc":
        # The secret is never told; without this word the rule would lose it.
        config = {k: v for k, v in action["AuthenticateOidcConfig"].items() if k != "ClientSecret"}
        return {**action, "AuthenticateOidcConfig": {**config, "UseExistingClientSecret": True}}
    if action.get("Type") != "forward":
        return action
    listed = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    # Given twice, the group's ARN may name one group only.
    rest = {k: v for k, v in action.items() if k != "TargetGroupArn"}
    return {**rest, "ForwardConfig": {**action.get("ForwardConfig", {}), "TargetGroups": listed}}
