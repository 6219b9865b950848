"""What the API takes: bodies and query parameters, checked before anything sees them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from steerd.api.problems import Invalid, Problem

__all__ = ["DrainBody", "FreezeBody", "PinBody", "body", "flag_of", "limit_of", "since_of"]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253, description="An endpoint, zone or region.")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, description="Why, for whoever reads it next.")]
Seconds = Annotated[float, msgspec.Meta(gt=0, description="How long, in seconds; steerd's default when left out.")]
Share = Annotated[float, msgspec.Meta(ge=0, le=1, description="Share of the service's traffic, 0 to 1.")]

LIMIT_DEFAULT = 200
LIMIT_MAX = 1000


class DrainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take a domain out of service: in steps, or at once with `now`; `force` passes every guard but never-empty, residency
    and data; `accept_data_loss` passes data."""

    name: Name
    reason: Reason
    for_s: Seconds | None = None
    now: bool = False
    force: bool = False
    accept_data_loss: bool = False


class PinBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a domain's share until the pin expires."""

    name: Name
    share: Share
    reason: Reason
    for_s: Seconds | None = None


class FreezeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stop all automatic moves."""

    reason: Reason
    for_s: Seconds | None = None


Body = TypeVar("Body", DrainBody, PinBody, FreezeBody)

_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_FIELD = re.compile(r"field `(?P<name>[^`]+)`")


async def body(request: web.Request, kind: type[Body]) -> Body:
    """The JSON body as `kind`. Raises `Problem` 400 with a pointer, 413 or 415."""
    if request.content_type != "application/json":
        raise Problem(
            415, "Send the body as JSON with `Content-Type: application/json`.", headers={"Accept": "application/json"}
        )
    data = await request.read()
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid_body(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"The body is not JSON: {error}.", kind="invalid-request") from None


def _invalid_body(text: str) -> Problem:
    at = _AT.search(text)
    pointer = "" if at is None else "".join(f"/{_escape(part)}" for part in re.findall(r"[^.\[\]]+", at["path"]))
    what = text if at is None else text[: at.start()]
    field = _FIELD.search(what)
    if field is not None:
        pointer += f"/{_escape(field['name'])}"
    return Problem(400, what, kind="invalid-request", errors=[Invalid(what, pointer=pointer)])


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def since_of(request: web.Request) -> float | None:
    """`?since=`: seconds of the epoch or an ISO 8601 time with its offset. Raises `Problem` 400."""
    text = request.query.get("since")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(value):
            return value
    try:
        # A `+` that was not escaped arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise _invalid_query("since", "seconds of the epoch, or a time such as 2030-01-31T09:00:00Z") from None
    if moment.tzinfo is None:
        raise _invalid_query("since", "a time with its offset, such as 2030-01-31T09:00:00Z")
    return moment.timestamp()


def limit_of(request: web.Request) -> int:
    """`?limit=`: 1 to 1000, by default 200. Raises `Problem` 400."""
    text = request.query.get("limit", str(LIMIT_DEFAULT))
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= LIMIT_MAX:
        return int(text)
    raise _invalid_query("limit", f"a whole number from 1 to {LIMIT_MAX}")


def flag_of(request: web.Request, name: str) -> bool:
    """`?name` or `?name=true` against `?name=false` or nothing. Raises `Problem` 400."""
    text = request.query.get(name, "false")
    if text not in ("", "true", "false"):
        raise _invalid_query(name, "true or false")
    return text != "false"


def _invalid_query(parameter: str, wanted: str) -> Problem:
    detail = f"`{parameter}` must be {wanted}."
    return Problem(400, detail, kind="invalid-request", errors=[Invalid(detail, parameter=parameter)])
