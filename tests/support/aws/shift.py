# ruff: noqa: N803  parameters have the API's own names
"""A local zonal shift: managed resources, one shift at a time, which ends by itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["LocalZonalShift", "resource_arn"]

LONGEST = timedelta(days=3)


def resource_arn(name: str) -> str:
    """The ARN of a load balancer."""
    return f"arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/{name}/50dc6c495c0c9188"


class LocalZonalShift(AwsServer):
    """`resources` is ARN -> zone ids. `clock` moves time on for shifts, from now."""

    def __init__(self) -> None:
        super().__init__(Wire("arc-zonal-shift"))
        self.resources: dict[str, tuple[str, ...]] = {}
        self.shifts: dict[str, dict[str, Any]] = {}
        self.clock = timedelta()

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.clock

    def GetManagedResource(self, resourceIdentifier: str) -> dict[str, Any]:
        zones = self._known(resourceIdentifier)
        active = self._active(resourceIdentifier)
        away = {s["awayFrom"] for s in active if s["appliedStatus"] == "APPLIED"}
        # Times are told as the resource sees them: the less is left of a shift, the nearer its end.
        listed = [
            {**{k: v for k, v in s.items() if k != "status"}, "expiryTime": s["expiryTime"] - self.clock}
            for s in active
        ]
        return {
            "arn": resourceIdentifier,
            "appliedWeights": {z: 0.0 if z in away else 1.0 for z in zones},
            "zonalShifts": listed,
        }

    def StartZonalShift(self, resourceIdentifier: str, awayFrom: str, expiresIn: str, comment: str) -> dict[str, Any]:
        if awayFrom not in self._known(resourceIdentifier):
            raise AwsError("ValidationException", f"{awayFrom} is no zone of the resource", reason="InvalidAz")
        for shift in self._active(resourceIdentifier):
            if shift["shiftType"] == "ZONAL_SHIFT":
                raise AwsError(
                    "ConflictException",
                    "There is an active zonal shift for the resource already",
                    reason="ZonalShiftAlreadyExists",
                    zonalShiftId=shift["zonalShiftId"],
                )
            shift["appliedStatus"] = "NOT_APPLIED"  # a shift people start takes precedence
        return self._summary(self.add(resourceIdentifier, awayFrom, comment, self._expires(expiresIn)))

    def UpdateZonalShift(
        self, zonalShiftId: str, comment: str | None = None, expiresIn: str | None = None
    ) -> dict[str, Any]:
        shift = self._ours(zonalShiftId)
        if comment is not None:
            shift["comment"] = comment
        if expiresIn is not None:
            shift["expiryTime"] = self._expires(expiresIn)
        return self._summary(zonalShiftId)

    def CancelZonalShift(self, zonalShiftId: str) -> dict[str, Any]:
        self._ours(zonalShiftId)["status"] = "CANCELED"
        return self._summary(zonalShiftId)

    def _ours(self, shift_id: str) -> dict[str, Any]:
        shift = self.shifts.get(shift_id)
        if shift is None:
            raise AwsError("ResourceNotFoundException", f"no zonal shift {shift_id}")
        if shift["status"] != "ACTIVE" or shift["expiryTime"] <= self._now():
            raise AwsError(
                "ConflictException",
                "The zonal shift is not active",
                reason="ZonalShiftStatusNotActive",
                zonalShiftId=shift_id,
            )
        return shift

    def _known(self, arn: str) -> tuple[str, ...]:
        if arn not in self.resources:
            raise AwsError("ResourceNotFoundException", f"no managed resource {arn}")
        return self.resources[arn]

    def _active(self, arn: str) -> list[dict[str, Any]]:
        now = self._now()
        return [
            s
            for s in self.shifts.values()
            if s["resourceIdentifier"] == arn and s["status"] == "ACTIVE" and s["expiryTime"] > now
        ]

    def _expires(self, text: str) -> datetime:
        found = re.fullmatch(r"([1-9][0-9]*)(m|h)", text)
        assert found, "the model has checked it"
        length = timedelta(**{{"m": "minutes", "h": "hours"}[found[2]]: int(found[1])})
        if length > LONGEST:
            raise AwsError("ValidationException", "a shift ends within three days", reason="InvalidExpiresIn")
        return self._now() + length

    def _summary(self, shift_id: str) -> dict[str, Any]:
        return {k: v for k, v in self.shifts[shift_id].items() if k not in ("appliedStatus", "shiftType")}

    # -- the tests' side -------------------------------------------------------------------------------------------

    def add_resource(self, name: str, zones: tuple[str, ...]) -> str:
        """A managed resource; returns its ARN."""
        with self.lock:
            self.resources[resource_arn(name)] = zones
            return resource_arn(name)

    def add(self, arn: str, zone: str, comment: str, until: datetime | None = None, kind: str = "ZONAL_SHIFT") -> str:
        """A shift somebody started; returns its id."""
        with self.lock:
            shift_id = f"shift-{len(self.shifts):06d}"
            self.shifts[shift_id] = {
                "zonalShiftId": shift_id,
                "resourceIdentifier": arn,
                "awayFrom": zone,
                "expiryTime": until or self._now() + timedelta(hours=1),
                "startTime": self._now(),
                "comment": comment,
                "status": "ACTIVE",
                "appliedStatus": "APPLIED",
                "shiftType": kind,
            }
            return shift_id

    def out(self, arn: str) -> set[str]:
        """Zone ids without traffic."""
        with self.lock:
            return {s["awayFrom"] for s in self._active(arn) if s["appliedStatus"] == "APPLIED"}
