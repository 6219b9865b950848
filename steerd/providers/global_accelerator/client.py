"""The I/O of the global-accelerator provider: one endpoint group read, compared and replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.aws_client import Caller
from steerd.providers.aws_rights import Need, Simulation
from steerd.providers.base import Change, Conflict, Context, Misconfigured, ProviderError, Receipt, Refused, Verified
from steerd.providers.global_accelerator import CAPABILITIES, KIND, RIGHTS
from steerd.providers.global_accelerator.translate import (
    Endpoints,
    Seen,
    accelerator_of,
    differences,
    observed_from,
    seen_from,
    translate,
)
from steerd.providers.settings import Settings
from steerd.providers.written import Written

__all__ = ["GlobalAccelerator"]

API_REGION = "us-west-2"
"""The one region that has the API, for accelerators everywhere (API reference)."""


class GlobalAccelerator:
    """The endpoint groups of one account."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._group = settings.maybe_text("endpoint_group")
        self._api = Caller(
            context,
            settings,
            "globalaccelerator",
            action="globalaccelerator",
            policy="global-accelerator",
            rate_per_s=settings.number("calls_per_s", 0.01, 1000),
            meaning=_meaning,
            global_region=API_REGION,
        )
        self._rights = Simulation(context, settings)
        self._written = Written()

    async def open(self) -> None:
        """Nothing to start: threads and connections come with the first call."""

    async def close(self) -> None:
        """Drops connections and calls that have not begun."""
        self._api.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The group's endpoints as they are now."""
        seen = await self._endpoints(self._group_of(route), deadline)
        return observed_from(route, seen, self._written.fence(route.key))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.global_accelerator.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then replace the list of endpoints; one call, which is carried out whole or not at all."""
        wanted: Endpoints = change.payload
        self._written.check(change)
        group = wanted.seen.group
        if await self._endpoints(group, deadline) != wanted.seen:
            raise Conflict(f"{change.route}: the endpoints of the group have changed since they were read")
        params = {"EndpointGroupArn": group, "EndpointConfigurations": list(wanted.configurations)}
        await self._api.call("UpdateEndpointGroup", deadline, params)
        self._written.note(change)
        return Receipt(change.route, "the endpoint group was replaced")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By IAM's simulation."""
        groups = sorted({self._group_of(route) for route in routes})
        needs = [Need(RIGHTS["accelerator"], sorted(set(map(accelerator_of, groups)))), Need(RIGHTS["group"], groups)]
        return await self._rights.missing(needs, deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back, and ask whether the accelerator has taken it to all its edges."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        if not wrong:
            arn = accelerator_of(self._group_of(route))
            answer = await self._api.call("DescribeAccelerator", deadline, {"AcceleratorArn": arn})
            status = answer["Accelerator"].get("Status", "DEPLOYED")
            wrong = [] if status == "DEPLOYED" else [f"the accelerator is still {status}"]
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    def _group_of(self, route: Route) -> str:
        group = str(route.settings.get("group") or self._group or "")
        if "/endpoint-group/" not in group:
            raise Misconfigured(
                f"{route.key}: {group!r} is no ARN of an endpoint group",
                "set the provider's `endpoint_group` or the route's `group`",
            )
        return group

    async def _endpoints(self, group: str, deadline: float) -> Seen | None:
        try:
            answer = await self._api.call("DescribeEndpointGroup", deadline, {"EndpointGroupArn": group})
        except _NoGroup:
            return None
        return seen_from(answer["EndpointGroup"])


class _NoGroup(Misconfigured):
    """The endpoint group does not exist."""


def _meaning(code: str, message: str, _response: Mapping[str, Any]) -> ProviderError | None:
    if code == "EndpointGroupNotFoundException":
        return _NoGroup(f"{code}: {message}", "compare `endpoint_group` with its ARN")
    if code in ("InvalidArgumentException", "EndpointNotFoundException", "AttachmentNotFoundException"):
        return Misconfigured(
            f"{code}: {message}",
            "compare the route's `endpoints` with the group, and `attachments` for other accounts'",
        )
    if code == "LimitExceededException":
        return Refused(
            f"{code}: {message}", "a quota of Global Accelerator is used up: ask for more, or use fewer endpoints"
        )
    return None
