"""The I/O of the route53-arc provider: the cluster's five endpoints, tried in turn; all of them asked after a write.

Any one of the endpoints can serve, and up to two of five regions may be gone. The one that answered last is tried first, those
that failed last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import remaining_s
from steerd.providers.aws_client import Caller
from steerd.providers.aws_rights import Need, Simulation
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Throttled,
    Unreachable,
    Verified,
)
from steerd.providers.route53_arc import CAPABILITIES, KIND, RIGHTS
from steerd.providers.route53_arc.translate import States, controls_of, differences, observed_from, panels_of, translate
from steerd.providers.settings import Settings
from steerd.providers.written import Written

__all__ = ["RoutingControls"]

CONTROL_REGION = "us-west-2"
"""Where the control plane is, which alone can list a cluster's endpoints."""

LEAST_TRY_S = 0.3
"""Of one endpoint, however little time is left."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the cluster's."""

    url: str
    region: str


class RoutingControls:
    """One cluster."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._cluster = settings.text("cluster")
        self._endpoints = [_endpoint(settings, text) for text in settings.strings("endpoints")]
        self._endpoints_given = bool(self._endpoints)
        self._rights = Simulation(context, settings)
        rate = settings.number("calls_per_s", 0.01, 1000)
        self._api = Caller(
            context,
            settings,
            "route53-recovery-cluster",
            action="route53-recovery-cluster",
            policy="route53-arc",
            rate_per_s=rate,
            meaning=_meaning,
            by_endpoint=True,
        )
        self._control = Caller(
            context,
            settings,
            "route53-recovery-control-config",
            action="route53-recovery-control-config",
            policy="route53-arc",
            rate_per_s=1.0,
            global_region=CONTROL_REGION,
        )
        self._written = Written()

    async def open(self) -> None:
        """Nothing to start: threads and connections come with the first call."""

    async def close(self) -> None:
        """Drops connections and calls that have not begun."""
        self._api.close()
        self._control.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The states of the route's control panels, as one cluster endpoint has them."""
        return observed_from(route, await self._states(panels_of(route), deadline), self._written.fence(route.key))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.route53_arc.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then set all states that differ in one call. It says where to, so repeating it at another endpoint
        does no harm."""
        wanted: States = change.payload
        self._written.check(change)
        now = await self._states(wanted.panels, deadline)
        if {arn: now.get(arn) for arn in wanted.seen} != dict(wanted.seen):
            raise Conflict(f"{change.route}: routing controls have changed since they were read")
        entries = [{"RoutingControlArn": a, "RoutingControlState": s} for a, s in sorted(wanted.update.items())]
        where, _ = await self._any(
            "UpdateRoutingControlStates", deadline, {"UpdateRoutingControlStateEntries": entries}
        )
        self._written.note(change)
        return Receipt(change.route, f"taken by the cluster's endpoint in {where.region}")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By IAM's simulation; without an override of safety rules, which steerd never asks for."""
        controls = sorted({arn for route in routes for arn in controls_of(route).values()})
        kept = {"route53-recovery-cluster:AllowSafetyRulesOverrides": ("boolean", ("false",))}
        needs = [Need(RIGHTS["*"]), Need(RIGHTS["controls"], controls, kept)]
        if not self._endpoints_given:
            needs.append(Need(RIGHTS["cluster"], (self._cluster,)))
        return await self._rights.missing(needs, deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Every cluster endpoint is asked. Over half of them must say what is desired, and none anything else."""
        endpoints = await self._known(deadline)
        answers = await asyncio.gather(*(self._states_at(e, panels_of(route), deadline) for e in endpoints))
        told = [(e, a) for e, a in zip(endpoints, answers, strict=True) if isinstance(a, dict)]
        mute = [
            f"{e.region}: {a.text}" for e, a in zip(endpoints, answers, strict=True) if isinstance(a, ProviderError)
        ]
        if not told:
            raise Unreachable(f"no endpoint of the cluster answers: {'; '.join(mute)}")
        wrong = [f"{e.region}: {text}" for e, states in told for text in differences(route, change.desired, states)]
        if 2 * len(told) <= len(endpoints):
            wrong.append(f"only {len(told)} of {len(endpoints)} cluster endpoints answer")
        worst = next((s for _, s in told if differences(route, change.desired, s)), told[0][1])
        observed = observed_from(route, worst, self._written.fence(route.key))
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong + mute))

    # -- the cluster -----------------------------------------------------------------------------------------------

    async def _states_at(
        self, endpoint: Endpoint, panels: tuple[str, ...], deadline: float
    ) -> dict[str, str] | ProviderError:
        try:
            return await self._listed(
                panels, lambda params: self._at(endpoint, "ListRoutingControls", deadline, params)
            )
        except ProviderError as error:
            return error

    async def _states(self, panels: tuple[str, ...], deadline: float) -> dict[str, str]:
        async def ask(params: Mapping[str, Any]) -> dict[str, Any]:
            return (await self._any("ListRoutingControls", deadline, params))[1]

        return await self._listed(panels, ask)

    async def _listed(self, panels: tuple[str, ...], ask: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for panel in panels:
            params: dict[str, Any] = {"ControlPanelArn": panel}
            while True:
                page = await ask(params)
                found |= {c["RoutingControlArn"]: c["RoutingControlState"] for c in page["RoutingControls"]}
                if not page.get("NextToken"):
                    break
                params = {"ControlPanelArn": panel, "NextToken": page["NextToken"]}
        return found

    async def _any(self, operation: str, deadline: float, params: Mapping[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
        """The answer of the first endpoint that gives one. Raises what it says no with, or `Unreachable`."""
        failed: list[str] = []
        throttled: list[Throttled] = []
        for endpoint in list(await self._known(deadline)):
            try:
                share_s = remaining_s(deadline, self._api.timeout_s) / (len(self._endpoints) - len(failed))
                answer = await self._at(endpoint, operation, deadline, params, max(LEAST_TRY_S, share_s))
            except (Throttled, Unreachable) as error:
                if isinstance(error, Throttled):
                    throttled.append(error)
                failed.append(f"{endpoint.region}: {error.text}")
                # It is asked last from now on, until the others have failed too.
                self._endpoints.remove(endpoint)
                self._endpoints.append(endpoint)
                continue
            return endpoint, answer
        if throttled and len(throttled) == len(failed):
            raise min(throttled, key=lambda e: e.retry_after_s or 0.0)  # nothing was done anywhere
        raise Unreachable(f"no endpoint of the cluster answers: {'; '.join(failed)}")

    async def _at(
        self,
        endpoint: Endpoint,
        operation: str,
        deadline: float,
        params: Mapping[str, Any],
        limit_s: float | None = None,
    ) -> dict[str, Any]:
        return await self._api.call(
            operation, deadline, params, endpoint=endpoint.url, region=endpoint.region, limit_s=limit_s
        )

    async def _known(self, deadline: float) -> list[Endpoint]:
        """The cluster's endpoints, asked of the control plane only where the config does not list them."""
        if not self._endpoints:
            try:
                answer = await self._control.call("DescribeCluster", deadline, {"ClusterArn": self._cluster})
            except ProviderError as error:
                error.action = (
                    error.action or "list the cluster's `endpoints` in the config: then no control plane is needed"
                )
                raise
            listed = answer.get("Cluster", {}).get("ClusterEndpoints", ())
            self._endpoints = [Endpoint(str(e["Endpoint"]), str(e["Region"])) for e in listed]
            if not self._endpoints:
                raise Misconfigured(f"cluster {self._cluster} has no endpoints", "is it deployed already?")
        return self._endpoints


def _endpoint(settings: Settings, text: str) -> Endpoint:
    url, equals, region = text.rpartition("=")
    if not equals or "://" not in url or not region:
        raise settings.wrong(
            "endpoints",
            f"{text!r} is not URL=REGION",
            "`aws route53-recovery-control-config describe-cluster` lists them",
        )
    return Endpoint(url, region)


def _meaning(code: str, message: str, _response: Mapping[str, Any]) -> ProviderError | None:
    if "safety rule" in message.lower():
        return Refused(
            f"{code}: {message}",
            "a safety rule of the control panel forbids this state. steerd never overrides one: change the rule, or override"
            " it yourself with `aws route53-recovery-cluster update-routing-control-states --safety-rules-to-override`",
        )
    if code == "ConflictException":
        return Conflict(f"{code}: {message}")
    if code == "ResourceNotFoundException":
        return Misconfigured(f"{code}: {message}", "compare the route's `controls` and the provider's `cluster`")
    return None
