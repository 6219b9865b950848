"""What the Google providers share and needs no SDK: their settings, and what an error answer means."""

from __future__ import annotations

from typing import Any

from steerd.model.kinds import Setting
from steerd.providers.errors import Conflict, Denied, Misconfigured, ProviderError, Refused, Throttled, Unreachable

__all__ = ["GCP_SETTINGS", "reason_of", "told"]

GCP_SETTINGS = (
    Setting("project", "string", "project that holds the resource", required=True),
    Setting("endpoint_url", "url", "another API endpoint (private connect, tests)"),
    Setting("timeout", "duration", "of one call", default=5.0),
)

_THROTTLED = (
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "dailyLimitExceeded",
    "RATE_LIMIT_EXCEEDED",
)


def told(status: int, reason: str, where: str, role: str) -> ProviderError:
    """What an error answer of Google's REST APIs means. `reason` is that of `error.errors[0]`, `role` the file that grants
    what is needed."""
    if status == 429 or (status == 403 and reason in _THROTTLED):
        return Throttled(where, "if this lasts, ask Google for a higher quota or let fewer tools share the project")
    if status == 401:
        return Misconfigured(
            where, "renew the credentials that `gcloud auth application-default` or the metadata server gives"
        )
    if status == 403:
        return Denied(where, f"give this identity the role of packaging/gcp/{role}, and see that the API is enabled")
    if status in (409, 412):
        return Conflict(f"somebody else wrote in between: {where}")
    if status == 404:
        return Misconfigured(where, "compare the names in the config with what is in the project")
    if status >= 500:
        return Unreachable(where, "Google has a problem: see its status page; steerd goes on trying")
    return Refused(where)


def reason_of(document: Any) -> str:
    """The first reason in an error document."""
    try:
        return str(document["error"]["errors"][0]["reason"])
    except (KeyError, IndexError, TypeError):
        return ""
