"""Reads a hosted zone over the AWS SDK (extra: aws). Imported only when it is asked for."""

from __future__ import annotations

from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

__all__ = ["ERRORS", "record_sets"]

ERRORS = (BotoCoreError, ClientError)
"""What the SDK raises."""


def record_sets(zone: str) -> list[dict[str, Any]]:
    """Every record set of the hosted zone with the id `zone`. Raises one of `ERRORS`."""
    pages = boto3.client("route53").get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
    return [row for page in pages for row in page["ResourceRecordSets"]]
