# ruff: noqa: N803  parameters have the API's own names
"""A local Security Token Service: roles, and who may assume them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer

__all__ = ["LocalSts"]


class LocalSts(AwsServer):
    """`roles` may be assumed; every assumption gives another key."""

    def __init__(self, *roles: str) -> None:
        super().__init__(Wire("sts", invalid="ValidationError"))
        self.roles = roles

    def AssumeRole(self, RoleArn: str, RoleSessionName: str, DurationSeconds: int = 3600) -> dict[str, Any]:
        if RoleArn not in self.roles:
            text = (
                f"User: arn:aws:iam::123456789012:user/tests is not authorized to perform: sts:AssumeRole on {RoleArn}"
            )
            raise AwsError("AccessDenied", text, status=403)
        key = f"ASIATESTS{len(self.asked):07d}"
        until = datetime.now(UTC) + timedelta(seconds=DurationSeconds)
        credentials = {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": until}
        user = {"AssumedRoleId": f"AROA:{RoleSessionName}", "Arn": f"{RoleArn}/{RoleSessionName}"}
        return {"Credentials": credentials, "AssumedRoleUser": user}
