"""The I/O of the elbv2 provider: one rule read, compared and replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.aws_client import Caller
from steerd.providers.aws_rights import Need, Simulation
from steerd.providers.base import Change, Conflict, Context, Misconfigured, ProviderError, Receipt, Refused, Verified
from steerd.providers.elbv2 import CAPABILITIES, KIND, RIGHTS
from steerd.providers.elbv2.translate import Rule, Seen, differences, listener_of, observed_from, rule_of, translate
from steerd.providers.settings import Settings
from steerd.providers.written import Written

__all__ = ["ElbV2"]

_FULL = ("TooManyActions", "TooManyTargets", "TooManyUniqueTargetGroupsPerLoadBalancer", "TargetGroupAssociationLimit")


class ElbV2:
    """The load balancers of one account and region."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._api = Caller(
            context,
            settings,
            "elbv2",
            action="elasticloadbalancing",
            policy="elbv2",
            rate_per_s=settings.number("calls_per_s", 0.01, 1000),
            meaning=_meaning,
        )
        self._rights = Simulation(context, settings)
        self._written = Written()

    async def open(self) -> None:
        """Nothing to start: threads and connections come with the first call."""

    async def close(self) -> None:
        """Drops connections and calls that have not begun."""
        self._api.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The rule's forward action as it is now."""
        return observed_from(route, await self._rule(rule_of(route), deadline), self._written.fence(route.key))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.elbv2.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then replace the action list; one call, which is carried out whole or not at all."""
        rule: Rule = change.payload
        self._written.check(change)
        if await self._rule(rule.seen.rule, deadline) != rule.seen:
            raise Conflict(f"{change.route}: the rule's actions have changed since they were read")
        if rule.seen.default:
            await self._api.call(
                "ModifyListener", deadline, {"ListenerArn": rule.listener, "DefaultActions": list(rule.actions)}
            )
        else:
            await self._api.call("ModifyRule", deadline, {"RuleArn": rule.seen.rule, "Actions": list(rule.actions)})
        self._written.note(change)
        return Receipt(change.route, "the rule was replaced")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By IAM's simulation. A listener's default rule is changed through the listener, any other through itself."""
        needs = [Need(RIGHTS["*"])]
        for arn in sorted({rule_of(route) for route in routes}):
            seen = await self._rule(arn, deadline)
            default = seen is not None and seen.default
            needs.append(Need(RIGHTS["listener"], (listener_of(arn),)) if default else Need(RIGHTS["rule"], (arn,)))
        return await self._rights.missing(needs, deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back: a load balancer takes up a rule within seconds and tells nothing further of it."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _rule(self, arn: str, deadline: float) -> Seen | None:
        try:
            answer = await self._api.call("DescribeRules", deadline, {"RuleArns": [arn]})
        except _NoRule:
            return None
        rule = next((r for r in answer["Rules"] if r["RuleArn"] == arn), None)
        return None if rule is None else Seen(arn, bool(rule.get("IsDefault")), tuple(rule["Actions"]))


class _NoRule(Misconfigured):
    """The rule does not exist."""


def _meaning(code: str, message: str, _response: Mapping[str, Any]) -> ProviderError | None:
    code = code.removesuffix("Exception")
    if code == "RuleNotFound":
        return _NoRule(f"{code}: {message}", "compare the route's `rule` with the listener's rules")
    if code in ("TargetGroupNotFound", "ListenerNotFound", "IncompatibleProtocols", "InvalidLoadBalancerAction"):
        return Misconfigured(
            f"{code}: {message}", "compare the route's `target_groups` and `rule` with the load balancer"
        )
    if code in _FULL:
        return Refused(
            f"{code}: {message}", "a quota of Elastic Load Balancing is used up: ask for more, or use fewer groups"
        )
    return None
