# ruff: noqa: N803  parameters have the API's own names
"""A local IAM that simulates the policies of one identity: actions, resources and the condition operators steerd's policies use.

Source: IAM API reference, SimulatePrincipalPolicy; IAM User Guide, "Policy evaluation logic" and "Set operators". It takes the
right to ask from the same policies, as IAM does.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["LocalIam", "LocalWho"]


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _matches(patterns: Any, value: str) -> bool:
    return any(fnmatch.fnmatchcase(value, p) for p in _list(patterns))


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, list[str]]) -> bool:
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            given, allowed = context.get(key), [str(v) for v in _list(wanted)]
            if operator == "ForAllValues:StringEquals":
                if not all(v in allowed for v in given or ()):
                    return False
            elif operator == "BoolIfExists":
                if given is not None and not set(given) <= set(allowed):
                    return False
            elif operator in (
                "StringEquals",
                "IpAddress",
            ):  # of what is not there neither holds; addresses by their text
                if given is None or not set(given) <= set(allowed):
                    return False
            elif operator == "NotIpAddress":  # negated: holds of what is not there
                if given is not None and set(given) & set(allowed):
                    return False
            else:
                raise AssertionError(f"this simulator does not know {operator}")
    return True


class LocalIam(AwsServer):
    """`policies` are documents of `principal`; a result per page, so that pages are read on."""

    def __init__(self, principal: str, *policies: Mapping[str, Any]) -> None:
        super().__init__(Wire("iam", invalid="ValidationError"))
        self.principal, self.policies = principal, list(policies)

    def allows(self, action: str, resource: str, context: Mapping[str, list[str]]) -> bool:
        return self.decides(action, resource, context) == "allowed"

    def decides(self, action: str, resource: str, context: Mapping[str, list[str]]) -> str:
        found = "implicitDeny"
        for statement in (s for p in self.policies for s in p["Statement"]):
            fits = any(fnmatch.fnmatchcase(action.lower(), a.lower()) for a in _list(statement["Action"]))
            if fits and _matches(statement["Resource"], resource) and _holds(statement.get("Condition", {}), context):
                if statement["Effect"] == "Deny":
                    return "explicitDeny"
                found = "allowed"
        return found

    def unknown(self, context: Mapping[str, list[str]]) -> list[str]:
        """Keys that any condition of the policies asks for and the caller did not give, whatever the action: as documented."""
        conditions = (s.get("Condition", {}) for p in self.policies for s in p["Statement"])
        return sorted({key for c in conditions for keys in c.values() for key in keys} - set(context))

    def SimulatePrincipalPolicy(
        self,
        PolicySourceArn: str,
        ActionNames: list[str],
        ResourceArns: list[str] | None = None,
        ContextEntries: list[dict[str, Any]] | None = None,
        Marker: str = "0",
    ) -> dict[str, Any]:
        if not self.allows("iam:SimulatePrincipalPolicy", PolicySourceArn, {}):
            text = f"not authorized to perform: iam:SimulatePrincipalPolicy on resource: {PolicySourceArn}"
            raise AwsError("AccessDenied", text, status=403)
        if PolicySourceArn != self.principal:
            raise AwsError("NoSuchEntity", f"The entity {PolicySourceArn} cannot be found.", status=404)
        context = {e["ContextKeyName"]: e["ContextKeyValues"] for e in ContextEntries or ()}
        place = int(Marker)
        action = ActionNames[place]
        lacks = {"MissingContextValues": self.unknown(context)}
        specific = [
            {"EvalResourceName": arn, "EvalResourceDecision": self.decides(action, arn, context), **lacks}
            for arn in ResourceArns or ["*"]
        ]
        worst = next((s for s in specific if s["EvalResourceDecision"] != "allowed"), specific[0])
        result: dict[str, Any] = {"EvalActionName": action, "EvalDecision": worst["EvalResourceDecision"], **lacks}
        if len(specific) > 1:
            result["ResourceSpecificResults"] = specific
        else:
            result["EvalResourceName"] = specific[0]["EvalResourceName"]
        more = place + 1 < len(ActionNames)
        return {
            "EvaluationResults": [result],
            "IsTruncated": more,
            **({"Marker": str(place + 1)} if more else {}),
        }


class LocalWho(AwsServer):
    """GetCallerIdentity of the Security Token Service, which takes no right. `arn` is who asks."""

    def __init__(self, arn: str) -> None:
        super().__init__(Wire("sts", invalid="ValidationError"))
        self.arn = arn

    def GetCallerIdentity(self) -> dict[str, Any]:
        return {"UserId": "AROATESTS:steerd", "Account": self.arn.split(":")[4], "Arn": self.arn}
