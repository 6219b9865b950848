"""What an AWS identity may do, without doing it: IAM's own simulation of its policies.

Asking takes a right of its own, `iam:SimulatePrincipalPolicy` on the identity itself (packaging/aws/optional/). Without it nothing
is told. The simulation knows identity policies, boundaries and what the organization allows; it knows no policies of
resources, nor what a condition asks of the call itself (its source address): what hangs on that is told as not known.
Source: IAM API reference, SimulatePrincipalPolicy; IAM User Guide, IAM policy simulator.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steerd.providers.aws_client import Caller
from steerd.providers.base import Context, Denied, Misconfigured, ProviderError, Unreachable, Untold
from steerd.providers.settings import Settings

__all__ = ["Need", "Simulation", "source_of"]

RIGHT = "iam:SimulatePrincipalPolicy"
"""What asking takes."""

POLICY = "packaging/aws/optional/check-rights.json"


@dataclass(frozen=True, slots=True)
class Need:
    """Actions on each of `resources` (ARNs, of the partition `aws`; or `*`). `context`: condition key -> (its type, its values)."""

    actions: Sequence[str]
    resources: Sequence[str] = ("*",)
    context: Mapping[str, tuple[str, Sequence[str]]] | None = None


class Simulation:
    """Asks for one entry of `providers:`. Its clients are made when first asked and gone after."""

    def __init__(self, context: Context, settings: Settings) -> None:
        self._context, self._settings = context, settings
        self._role = settings.maybe_text("role")

    async def missing(self, needs: Iterable[Need], deadline: float) -> list[str]:
        """The actions IAM would not allow, as `ACTION on RESOURCE`; an `Untold` where it does not say. Raises a `ProviderError`."""
        iam, sts = self._caller("iam"), self._caller("sts")
        try:
            source = self._role
            if source is None:
                arn = str((await sts.call("GetCallerIdentity", deadline, {}))["Arn"])
                source = source_of(arn)
                if source is None:
                    return [Untold(f"IAM simulates users and roles, and this is {arn}")]
            asked = list(needs)
            given = {key for need in asked for key in need.context or ()}
            return [right for need in asked for right in await self._denied(iam, source, need, given, deadline)]
        except _NoPrincipal as error:
            return [Untold(f"{error.text}: a role with a path is found where it is this provider's `role`")]
        except Denied:
            return [Untold(f"this takes {RIGHT}, which the identity has not: {POLICY} grants it")]
        except Unreachable as error:
            return [Untold(f"IAM cannot be asked: {error.text}")]
        finally:
            iam.close()
            sts.close()

    def _caller(self, service: str) -> Caller:
        return Caller(
            self._context,
            self._settings,
            service,
            action=service,
            policy="../optional/check-rights",
            rate_per_s=5.0,
            meaning=_meaning,
            region="us-east-1",
            aside=True,
        )

    async def _denied(self, iam: Caller, source: str, need: Need, given: Container[str], deadline: float) -> list[str]:
        partition = source.split(":")[1]
        arns = [r.replace("arn:aws:", f"arn:{partition}:", 1) for r in need.resources]
        params: dict[str, Any] = {"PolicySourceArn": source, "ActionNames": list(need.actions), "ResourceArns": arns}
        if need.context:
            params["ContextEntries"] = [
                {"ContextKeyName": key, "ContextKeyType": kind, "ContextKeyValues": list(values)}
                for key, (kind, values) in need.context.items()
            ]
        found: list[str] = []
        while True:
            page = await iam.call("SimulatePrincipalPolicy", deadline, params)
            for result in page["EvaluationResults"]:
                found += _denied_of(result, arns, given)
            if not page.get("IsTruncated"):
                return found
            params["Marker"] = page["Marker"]


def _denied_of(result: Mapping[str, Any], arns: Sequence[str], given: Container[str]) -> list[str]:
    """What one action's result denies. It is an `Untold` where IAM lists condition keys that it was not told (a source address, a
    tag): a simulation without them denies whatever the real call would get. Keys of `given` are none of those: they are told
    wherever the real call has them."""
    found: list[str] = []
    everywhere = {
        "EvalResourceDecision": result["EvalDecision"],
        "MissingContextValues": result.get("MissingContextValues"),
    }
    for told in result.get("ResourceSpecificResults") or [{"EvalResourceName": at, **everywhere} for at in arns]:
        if told["EvalResourceDecision"] == "allowed":
            continue
        right = f"{result['EvalActionName']} on {told['EvalResourceName']}"
        keys = sorted({str(key) for key in told.get("MissingContextValues") or () if key not in given})
        found.append(Untold(f"{right}: IAM needs {', '.join(keys)} to tell") if keys else right)
    return found


def source_of(arn: str) -> str | None:
    """The user or role whose policies hold for a caller's ARN; None where there is none (the root user, federated users)."""
    _, partition, service, _, account, what = arn.split(":", 5)
    kind, _, name = what.partition("/")
    if service == "iam" and kind == "user":
        return arn
    if service == "sts" and kind == "assumed-role":
        return f"arn:{partition}:iam::{account}:role/{name.partition('/')[0]}"
    return None


class _NoPrincipal(Misconfigured):
    """IAM does not know the identity by the ARN we found."""


def _meaning(code: str, message: str, _response: Mapping[str, Any]) -> ProviderError | None:
    return _NoPrincipal(f"{code}: {message}") if code == "NoSuchEntity" else None
