# ruff: noqa: N803  parameters have the API's own names
"""A local Global Accelerator: endpoint groups whose endpoints are replaced whole, and an accelerator that takes its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["LocalAccelerator"]

ACCELERATOR = "arn:aws:globalaccelerator::123456789012:accelerator/1234abcd-abcd-1234-abcd-1234abcdefgh"


class LocalAccelerator(AwsServer):
    """One accelerator; `groups` is ARN -> {endpoint id: configuration}. `status` is what it says of its edges."""

    def __init__(self) -> None:
        super().__init__(Wire("globalaccelerator", invalid="InvalidArgumentException"))
        self.groups: dict[str, dict[str, dict[str, Any]]] = {}
        self.shared: set[str] = set()
        """Endpoints of other accounts, which need an attachment."""
        self.status = "DEPLOYED"
        self.health = "HEALTHY"

    def DescribeAccelerator(self, AcceleratorArn: str) -> dict[str, Any]:
        if AcceleratorArn != ACCELERATOR:
            raise AwsError("AcceleratorNotFoundException", f"no accelerator {AcceleratorArn}")
        return {"Accelerator": {"AcceleratorArn": AcceleratorArn, "Status": self.status, "Enabled": True}}

    def DescribeEndpointGroup(self, EndpointGroupArn: str) -> dict[str, Any]:
        listed = [
            {**{k: v for k, v in e.items() if k != "AttachmentArn"}, "HealthState": self.health}
            for e in self._known(EndpointGroupArn).values()
        ]
        group = {"EndpointGroupArn": EndpointGroupArn, "EndpointDescriptions": listed, "TrafficDialPercentage": 100.0}
        return {"EndpointGroup": group}

    def UpdateEndpointGroup(
        self, EndpointGroupArn: str, EndpointConfigurations: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        self._known(EndpointGroupArn)
        ids = [e["EndpointId"] for e in EndpointConfigurations]
        if len(set(ids)) != len(ids):
            raise AwsError("InvalidArgumentException", "an endpoint stands twice")
        for endpoint in EndpointConfigurations:
            if endpoint["EndpointId"] in self.shared and "AttachmentArn" not in endpoint:
                raise AwsError("InvalidArgumentException", f"{endpoint['EndpointId']} needs a cross-account attachment")
        self.groups[EndpointGroupArn] = {
            # What is not said takes its default.
            e["EndpointId"]: {"Weight": 128, "ClientIPPreservationEnabled": False, **e}
            for e in EndpointConfigurations
        }
        return self.DescribeEndpointGroup(EndpointGroupArn)

    def _known(self, arn: str) -> dict[str, dict[str, Any]]:
        if arn not in self.groups:
            raise AwsError("EndpointGroupNotFoundException", f"no endpoint group {arn}")
        return self.groups[arn]

    # -- the tests' side -------------------------------------------------------------------------------------------

    def add_group(self, weights: Mapping[str, int]) -> str:
        """An endpoint group; returns its ARN."""
        with self.lock:
            arn = f"{ACCELERATOR}/listener/0123vxyz/endpoint-group/{len(self.groups):012d}"
            self.groups[arn] = {}
            for endpoint, weight in weights.items():
                self.set_weight(arn, endpoint, weight)
            return arn

    def set_weight(self, group: str, endpoint: str, weight: int) -> None:
        """Somebody else's edit."""
        with self.lock:
            known = self.groups[group].get(endpoint, {"EndpointId": endpoint, "ClientIPPreservationEnabled": True})
            self.groups[group] = {**self.groups[group], endpoint: {**known, "Weight": weight}}

    def weights(self, group: str) -> dict[str, int]:
        """Endpoint id -> weight."""
        with self.lock:
            return {e: c["Weight"] for e, c in self.groups[group].items()}
