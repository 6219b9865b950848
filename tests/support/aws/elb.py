# ruff: noqa: N803  parameters have the API's own names
"""A local Elastic Load Balancing: listener rules, and what AWS documents it refuses of their actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["LocalElb", "group_arn"]

ACCOUNT = "arn:aws:elasticloadbalancing:eu-west-1:123456789012"


def group_arn(name: str) -> str:
    """The ARN of a target group."""
    return f"{ACCOUNT}:targetgroup/{name}/0123456789abcdef"


def _invalid(text: str) -> AwsError:
    return AwsError("ValidationError", text, status=400)


class LocalElb(AwsServer):
    """One load balancer with one listener; `rules` is ARN -> rule."""

    def __init__(self) -> None:
        super().__init__(Wire("elbv2", invalid="ValidationError"))
        self.listener = f"{ACCOUNT}:listener/app/lb/50dc6c495c0c9188/f2f7dc8efc522ab2"
        self.rules: dict[str, dict[str, Any]] = {}
        self.groups: set[str] = set()

    def DescribeRules(self, RuleArns: Sequence[str]) -> dict[str, Any]:
        for arn in RuleArns:
            self._known(arn)
        return {"Rules": [self._shown(arn) for arn in RuleArns]}

    def ModifyRule(self, RuleArn: str, Actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if self._known(RuleArn)["IsDefault"]:
            raise AwsError("OperationNotPermitted", f"Default rule '{RuleArn}' cannot be modified")
        return {"Rules": [self._replace(RuleArn, Actions)]}

    def ModifyListener(self, ListenerArn: str, DefaultActions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if ListenerArn != self.listener:
            raise AwsError("ListenerNotFound", f"Listener '{ListenerArn}' not found")
        arn = next(a for a, r in self.rules.items() if r["IsDefault"])
        rule = self._replace(arn, DefaultActions)
        return {"Listeners": [{"ListenerArn": ListenerArn, "DefaultActions": rule["Actions"]}]}

    def _known(self, arn: str) -> dict[str, Any]:
        if arn not in self.rules:
            raise AwsError("RuleNotFound", "One or more rules not found")
        return self.rules[arn]

    def _shown(self, arn: str) -> dict[str, Any]:
        """As described: a client secret is never told, and the only group of an action stands there twice."""
        rule = self.rules[arn]
        actions = []
        for action in rule["Actions"]:
            shown = dict(action)
            if "AuthenticateOidcConfig" in shown:
                config = shown["AuthenticateOidcConfig"]
                shown["AuthenticateOidcConfig"] = {k: v for k, v in config.items() if k != "ClientSecret"}
            groups = shown.get("ForwardConfig", {}).get("TargetGroups", ())
            if len(groups) == 1:
                shown["TargetGroupArn"] = groups[0]["TargetGroupArn"]
            actions.append(shown)
        return {"RuleArn": arn, "IsDefault": rule["IsDefault"], "Actions": actions}

    def _replace(self, arn: str, actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if not actions or actions[-1]["Type"] != "forward":
            raise _invalid("The last action must forward")
        old = self.rules[arn]["Actions"]
        self.rules[arn] = {**self.rules[arn], "Actions": [self._taken(dict(a), old) for a in actions]}
        return self._shown(arn)

    def _taken(self, action: dict[str, Any], old: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if action["Type"] == "authenticate-oidc":
            config = dict(action["AuthenticateOidcConfig"])
            if config.pop("UseExistingClientSecret", False):
                stood = next(a for a in old if a["Type"] == "authenticate-oidc")
                config["ClientSecret"] = stood["AuthenticateOidcConfig"]["ClientSecret"]
            if not config.get("ClientSecret"):
                raise _invalid("You must specify either ClientSecret or UseExistingClientSecret")
            return {**action, "AuthenticateOidcConfig": config}
        if action["Type"] == "forward":
            self._check_forward(action)
        return action

    def _check_forward(self, action: Mapping[str, Any]) -> None:
        groups = action.get("ForwardConfig", {}).get("TargetGroups", ())
        if "TargetGroupArn" in action and [g["TargetGroupArn"] for g in groups] not in ([], [action["TargetGroupArn"]]):
            raise _invalid("A forward action that names a target group twice may name only one")
        arns = [g["TargetGroupArn"] for g in groups]
        if len(set(arns)) != len(arns) or len(arns) > 5:
            raise _invalid("At most 5 different target groups")
        if unknown := sorted(set(arns) - self.groups):
            raise AwsError("TargetGroupNotFound", f"Target groups '{unknown[0]}' not found")
        if not all(0 <= g.get("Weight", 1) <= 999 for g in groups):
            raise _invalid("Weights must be from 0 to 999")

    # -- the tests' side -------------------------------------------------------------------------------------------

    def add_rule(self, weights: Mapping[str, int], *, default: bool = False, before: Sequence[Any] = ()) -> str:
        """A rule that forwards by weights of target group names; returns its ARN."""
        with self.lock:
            base = self.listener.replace(":listener/", ":listener-rule/")
            arn = f"{base}/{len(self.rules):016x}"
            self.groups |= {group_arn(n) for n in weights}
            listed = [{"TargetGroupArn": group_arn(n), "Weight": w} for n, w in weights.items()]
            config = {"TargetGroups": listed, "TargetGroupStickinessConfig": {"Enabled": False}}
            forward = {"Type": "forward", "Order": len(before) + 1, "ForwardConfig": config}
            self.rules[arn] = {"IsDefault": default, "Actions": [*before, forward]}
            return arn

    def set_weight(self, rule: str, group: str, weight: int) -> None:
        """Somebody else's edit."""
        with self.lock:
            forward = dict(self.rules[rule]["Actions"][-1])
            rest = [g for g in forward["ForwardConfig"]["TargetGroups"] if g["TargetGroupArn"] != group_arn(group)]
            self.groups.add(group_arn(group))
            listed = [*rest, {"TargetGroupArn": group_arn(group), "Weight": weight}]
            forward["ForwardConfig"] = {**forward["ForwardConfig"], "TargetGroups": listed}
            actions = [*self.rules[rule]["Actions"][:-1], forward]
            self.rules[rule] = {**self.rules[rule], "Actions": actions}

    def weights(self, rule: str) -> dict[str, int]:
        """Target group name -> weight."""
        with self.lock:
            groups = self.rules[rule]["Actions"][-1]["ForwardConfig"]["TargetGroups"]
            return {g["TargetGroupArn"].split("/")[1]: g["Weight"] for g in groups}
