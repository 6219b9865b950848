"""The I/O of the aws-zonal-shift provider: one managed resource read, and its shift started, renewed or cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.aws_client import Caller
from steerd.providers.aws_rights import Need, Simulation
from steerd.providers.base import Change, Conflict, Context, Misconfigured, ProviderError, Receipt, Refused, Verified
from steerd.providers.settings import Settings
from steerd.providers.written import Written, check_stale
from steerd.providers.zonal_shift import CAPABILITIES, KIND, RIGHTS
from steerd.providers.zonal_shift.translate import (
    RENEW_PART,
    Calls,
    Seen,
    Shift,
    comment_of,
    differences,
    expires_text,
    observed_from,
    translate,
)

__all__ = ["ZonalShift"]

LONGEST_S = 3 * 86_400
"""A shift ends after three days at most, and may be renewed (API reference)."""


class ZonalShift:
    """The resources of one account and region."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._expires_s = settings.number("expires", 600, LONGEST_S)
        given = context.spec.settings.get("zone_ids")
        if not isinstance(given, Mapping) or not given:
            raise settings.wrong(
                "zone_ids", "is required", "map each zone to its availability zone id, {eu-west-1a: euw1-az1}"
            )
        self._zone_ids = {str(k): str(v) for k, v in given.items()}
        self._api = Caller(
            context,
            settings,
            "arc-zonal-shift",
            action="arc-zonal-shift",
            policy="aws-zonal-shift",
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
        """The zones traffic goes to, and the shifts of the resource."""
        return observed_from(route, self._zone_ids, await self._resource(_resource_of(route), deadline))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.zonal_shift.translate`."""
        return translate(route, self._zone_ids, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then one or two calls: a cancel goes before a new shift, which would be refused beside the old one."""
        wanted: Calls = change.payload
        self._written.check(change)
        seen = await self._resource(wanted.seen.resource, deadline)
        check_stale(change, seen.own.fence if seen and seen.own else None)
        if seen is None or seen.shifts != wanted.seen.shifts:
            raise Conflict(f"{change.route}: the resource's shifts have changed since they were read")
        expires, comment = expires_text(self._expires_s), comment_of(change.fence)
        said = []
        for call in wanted.calls:
            if call.what == "start":
                params = {"resourceIdentifier": wanted.seen.resource, "awayFrom": call.zone_id}
                answer = await self._api.call(
                    "StartZonalShift", deadline, {**params, "expiresIn": expires, "comment": comment}
                )
            elif call.what == "renew":
                params = {"zonalShiftId": call.shift, "expiresIn": expires, "comment": comment}
                answer = await self._api.call("UpdateZonalShift", deadline, params)
            else:
                answer = await self._api.call("CancelZonalShift", deadline, {"zonalShiftId": call.shift})
            said.append(f"{call.what} {answer['zonalShiftId']}")
        self._written.note(change)
        return Receipt(change.route, ", ".join(said))

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By IAM's simulation."""
        resources = sorted({_resource_of(route) for route in routes})
        return await self._rights.missing([Need(RIGHTS["resource"], resources)], deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back: whether the shift is the one in effect, and which zones traffic goes to."""
        observed = await self.read(route, deadline)
        seen = observed.token if isinstance(observed.token, Seen) else None
        wrong = differences(self._zone_ids, change.desired, seen)
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _resource(self, arn: str, deadline: float) -> Seen | None:
        try:
            answer = await self._api.call("GetManagedResource", deadline, {"resourceIdentifier": arn})
        except _NoResource:
            return None
        now = datetime.now(UTC)
        shifts = [
            Shift(
                id=str(s["zonalShiftId"]),
                zone_id=str(s["awayFrom"]),
                comment=str(s["comment"]),
                applied=s["appliedStatus"] == "APPLIED",
                ending=(s["expiryTime"] - now).total_seconds() < RENEW_PART * self._expires_s,
                practice=s.get("shiftType", "ZONAL_SHIFT") != "ZONAL_SHIFT",
            )
            for s in answer["zonalShifts"]
        ]
        weights = {str(zone): float(weight) for zone, weight in answer["appliedWeights"].items()}
        return Seen(arn, weights, tuple(sorted(shifts, key=lambda s: s.id)))


def _resource_of(route: Route) -> str:
    resource = str(route.settings.get("resource") or "")
    if not resource.startswith("arn:"):
        raise Misconfigured(
            f"{route.key}: {resource!r} is no ARN", "set the route's `resource` to the load balancer's ARN"
        )
    return resource


class _NoResource(Misconfigured):
    """No such managed resource."""


def _meaning(code: str, message: str, response: Mapping[str, Any]) -> ProviderError | None:
    reason = str(response.get("reason", ""))
    if code == "ResourceNotFoundException":
        return _NoResource(f"{code}: {message}", "compare the route's `resource`, and enable zonal shift on it")
    if code == "ConflictException":
        return Conflict(f"{reason or code}: {message}")
    if code == "ValidationException":
        return Refused(f"{reason or code}: {message}", "compare the route's `resource`, `zone_ids` and `expires`")
    return None
