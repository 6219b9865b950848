"""Errors as RFC 9457 problem documents (`application/problem+json`), for every path and every status.

`type` is a URN, because it names a kind of problem and not a page; `detail` says what happened and what to do instead.
`errors` lists what is wrong with a body or a query, each with the JSON pointer (RFC 6901) or the parameter it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["CLIENT_GONE", "Invalid", "Problem", "problems"]

log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""What nginx calls "client closed request"; nobody ever sees it."""


class Invalid(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with a request: `pointer` into the body, or `parameter` of the query."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(Exception):
    """Raise it anywhere in a handler: the middleware answers with the document.

    `kind` is the last part of the type URN (`urn:steerd:problem:KIND`); `extra` members go into the document.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        errors: Sequence[Invalid] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def document(self, instance: str) -> dict[str, Any]:
        """The problem document; `instance` is the path that was asked for."""
        phrase = HTTPStatus(self.status).phrase
        document: dict[str, Any] = {
            "type": f"urn:steerd:problem:{self.kind}" if self.kind else "about:blank",
            "title": self.kind.replace("-", " ") if self.kind else phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            document["errors"] = self.errors
        return document | self.extra

    def response(self, instance: str) -> web.Response:
        """The answer to send."""
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.document(instance)),
            headers=self.headers,
            content_type="application/problem+json",
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error of a handler, and of the router, into a problem document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response(request.path)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _of_http(request, error).response(request.path)
    except ConnectionError:
        # The client went away and nobody is there to answer: raised further, each would be an error with its traceback
        # in the log, and agents that come back after a pause of ours leave dozens of them.
        return web.Response(status=CLIENT_GONE)
    except Exception:
        log.exception("the API failed on %s %s", request.method, request.path)
        return Problem(500, "steerd failed on this request; its log says why.").response(request.path)


def _of_http(request: web.Request, error: web.HTTPException) -> Problem:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.path} does not take {request.method}; it takes {allowed}."
        return Problem(error.status, detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(error.status, "The body is too large: a command is at most 64 KiB.")
    if isinstance(error, web.HTTPNotFound):
        return Problem(error.status, f"There is nothing at {request.path}; /v1/openapi.json lists what there is.")
    return Problem(error.status, error.text or error.reason)
