# ruff: noqa: N803  parameters have the API's own names
"""A local Application Recovery Controller: five cluster endpoints over one set of states, safety rules, and the control plane
that lists the endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["CLUSTER", "PANEL", "LocalCluster", "LocalControl", "control_arn"]

ACCOUNT = "arn:aws:route53-recovery-control::123456789012"
CLUSTER = f"{ACCOUNT}:cluster/5678abcd-abcd-5678-abcd-5678abcdefgh"
PANEL = f"{ACCOUNT}:controlpanel/0123456bbbbbbb0123456bbbbbb0123456"
REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "ap-northeast-1", "us-west-2")


def control_arn(name: str) -> str:
    """The ARN of a routing control."""
    return f"{PANEL}/routingcontrol/{name}"


class ClusterEndpoint(AwsServer):
    """One of the five. `states` is what it knows; `lags` keeps what the others were told from it."""

    def __init__(self, cluster: LocalCluster, region: str) -> None:
        super().__init__(Wire("route53-recovery-cluster"))
        self.cluster, self.region = cluster, region
        self.states: dict[str, str] = {}
        self.lags = False
        self.page = 100

    def ListRoutingControls(
        self, ControlPanelArn: str, NextToken: str | None = None, MaxResults: int | None = None
    ) -> dict[str, Any]:
        if ControlPanelArn != PANEL:
            raise AwsError(
                "ResourceNotFoundException", "no such panel", resourceId=ControlPanelArn, resourceType="ControlPanel"
            )
        names = sorted(self.states)
        at = int(NextToken or 0)
        page = [
            {"ControlPanelArn": PANEL, "RoutingControlArn": a, "RoutingControlState": self.states[a]}
            for a in names[at : at + self.page]
        ]
        more = {"NextToken": str(at + self.page)} if at + self.page < len(names) else {}
        return {"RoutingControls": page, **more}

    def UpdateRoutingControlStates(
        self,
        UpdateRoutingControlStateEntries: Sequence[Mapping[str, str]],
        SafetyRulesToOverride: Sequence[str] = (),
    ) -> None:
        update = {e["RoutingControlArn"]: e["RoutingControlState"] for e in UpdateRoutingControlStateEntries}
        if len(update) != len(UpdateRoutingControlStateEntries) or not update:
            raise AwsError("ValidationException", "entries must name different routing controls", reason="other")
        self.cluster.update(update, SafetyRulesToOverride)


class LocalCluster:
    """The cluster. `least_on` is an assertion rule: so many controls stay on (0: none)."""

    def __init__(self) -> None:
        self.endpoints = [ClusterEndpoint(self, region) for region in REGIONS]
        self.least_on = 0

    def start(self) -> LocalCluster:
        for endpoint in self.endpoints:
            endpoint.start()
        return self

    def stop(self) -> None:
        for endpoint in self.endpoints:
            endpoint.stop()

    @property
    def listed(self) -> list[str]:
        """As the provider's `endpoints` has them."""
        return [f"{e.url}={e.region}" for e in self.endpoints]

    @property
    def operations(self) -> list[str]:
        return [o for e in self.endpoints for o in e.operations]

    def update(self, update: Mapping[str, str], overridden: Sequence[str]) -> None:
        known = self.endpoints[0].states
        for arn in update:
            if arn not in known:
                raise AwsError(
                    "ResourceNotFoundException", "no such control", resourceId=arn, resourceType="RoutingControl"
                )
        new = {**known, **update}
        if list(new.values()).count("On") < self.least_on and not overridden:
            raise AwsError(
                "ConflictException",
                "Safety rule least-on would be violated by the update",
                resourceId=PANEL,
                resourceType="SafetyRule",
            )
        self.put(update)

    def put(self, update: Mapping[str, str]) -> None:
        """States that somebody set."""
        for endpoint in self.endpoints:
            if not endpoint.lags:
                endpoint.states = {**endpoint.states, **update}

    def states(self) -> dict[str, str]:
        """Control name -> state."""
        return {a.rpartition("/")[2]: s for a, s in self.endpoints[0].states.items()}


class LocalControl(AwsServer):
    """The control plane."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__(Wire("route53-recovery-control-config"))
        self.cluster = cluster

    def DescribeCluster(self, ClusterArn: str) -> dict[str, Any]:
        if ClusterArn != CLUSTER:
            raise AwsError("ResourceNotFoundException", f"no cluster {ClusterArn}")
        listed = [{"Endpoint": e.url, "Region": e.region} for e in self.cluster.endpoints]
        return {"Cluster": {"ClusterArn": CLUSTER, "ClusterEndpoints": listed, "Status": "DEPLOYED"}}
