"""What the AWS providers share and needs no SDK: their settings, the account they pace, and what an error code means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from steerd.model.kinds import Setting
from steerd.providers.errors import Denied, Misconfigured, ProviderError, Refused, Throttled, Unreachable

__all__ = [
    "AWS_SETTINGS",
    "MODULES",
    "Meaning",
    "account_of",
    "code_and_message",
    "is_denied",
    "is_identity",
    "retry_after_s",
    "told",
]

MODULES = ("botocore",)
"""What proves that the extra `aws` is installed."""

AWS_SETTINGS = (
    Setting("aws_region", "string", "region of the API endpoint; the SDK's own chain by default"),
    Setting("role", "string", "role to assume, by ARN, with the credentials the SDK's own chain finds"),
    Setting("endpoint_url", "url", "another API endpoint (private link, tests)"),
    Setting("timeout", "duration", "of one call", default=5.0),
)

Meaning = Callable[[str, str, Mapping[str, Any]], ProviderError | None]
"""(error code, message, whole response) -> what it means to one provider, or None for the meaning common to all."""

_THROTTLED = re.compile(
    r"Throttling(Exception)?|ThrottledException|TooManyRequests(Exception)?|RequestLimitExceeded|RequestThrottled(Exception)?"
    r"|SlowDown|TransactionInProgressException"
)
_DENIED = re.compile(r"AccessDenied(Exception)?|UnauthorizedOperation|NotAuthorizedException|AuthFailure")
_CLOCK = re.compile(r"RequestExpired|RequestTimeTooSkewed")
_IDENTITY = re.compile(
    r"InvalidClientTokenId|UnrecognizedClient(Exception)?|SignatureDoesNotMatch|InvalidSignatureException|IncompleteSignature"
    r"|MissingAuthenticationToken(Exception)?|ExpiredToken(Exception)?|InvalidAccessKeyId|OptInRequired"
)
_THEIRS = re.compile(
    r"ServiceUnavailable(Exception)?|InternalFailure|InternalError|InternalServer(Error|Exception)|InternalServiceErrorException"
    r"|EndpointTemporarilyUnavailableException"
)


def account_of(role: str | None, service: str, place: str | None = None) -> str:
    """The name of an account's calls to one service: entries that assume roles of one account share its limit.

    `place` is the region (or the endpoint) that has a limit of its own; None where the service has one for all of them.
    """
    parts = (role or "").split(":")
    owner = parts[4] if len(parts) > 5 and parts[4] else "own"
    return f"aws/{owner}/{service}" + (f"/{place}" if place else "")


def told(operation: str, action: str, policy: str, response: Mapping[str, Any]) -> ProviderError:
    """What an error answer of AWS means. `action` is the IAM action of `operation`, `policy` the file that grants it."""
    code, message = code_and_message(response)
    text = f"{operation}: {code}: {message}"
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    if _THROTTLED.fullmatch(code) or status == 429:
        return Throttled(
            text,
            "if this lasts, ask AWS for a higher limit or let fewer tools share the account",
            retry_after_s(response),
        )
    if _DENIED.fullmatch(code):
        return Denied(text, f"let this identity do {action}: packaging/aws/policies/{policy}.json holds all it needs")
    if _CLOCK.fullmatch(code) or "ignature expired" in message or "ignature not yet current" in message:
        return Misconfigured(text, "this host's clock differs from AWS's by minutes: run NTP")
    if _IDENTITY.fullmatch(code):
        return Misconfigured(
            text, "renew the credentials: `aws sts get-caller-identity` on this host shows what the SDK's chain finds"
        )
    if _THEIRS.fullmatch(code) or status >= 500:
        return Unreachable(
            text, "AWS has a problem: see its health dashboard; steerd goes on trying", retry_after_s(response)
        )
    return Refused(text)


def is_denied(code: str) -> bool:
    """Whether an error code means that this identity may not."""
    return _DENIED.fullmatch(code) is not None


def is_identity(code: str) -> bool:
    """Whether an error code means that the credentials are not, or no longer, good."""
    return _IDENTITY.fullmatch(code) is not None


def code_and_message(response: Mapping[str, Any]) -> tuple[str, str]:
    """The error code and its text, bounded."""
    error = response.get("Error", {})
    return str(error.get("Code", "")), str(error.get("Message", ""))[:500]


def retry_after_s(response: Mapping[str, Any]) -> float | None:
    """Seconds AWS asks to wait: the `Retry-After` header, or ARC's `retryAfterSeconds`."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    given = headers.get("retry-after", response.get("retryAfterSeconds"))
    try:
        return min(max(0.0, float(given)), 300.0)
    except (TypeError, ValueError):
        return None
