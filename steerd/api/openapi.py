"""`/v1/openapi.json`: the API for tools.

A test holds it to the routes that exist; bodies come from the very types that check them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from steerd import __version__
from steerd.api.bodies import LIMIT_DEFAULT, LIMIT_MAX, DrainBody, FreezeBody, PinBody
from steerd.api.keys import AUTH

__all__ = ["document", "openapi"]

_REF = "#/components/schemas/"
_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "An RFC 9457 problem document.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "description": "`about:blank`, or urn:steerd:problem:KIND"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, and what to do instead."},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "JSON pointer into the body"},
                    "parameter": {"type": "string", "description": "query parameter"},
                },
            },
        },
    },
}
_STATUS: dict[str, Any] = {
    "type": "object",
    "required": ["fleet", "time", "config_hash", "leader", "frozen", "services", "drains", "pins", "agents", "alerts"],
    "properties": {
        "fleet": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "config_hash": {"type": "string"},
        "leader": {"type": ["object", "null"], "description": "name and epoch; null when nobody leads"},
        "frozen": {"type": ["object", "null"]},
        "services": {"type": "object", "additionalProperties": _OBJECT},
        "drains": {"type": "array", "items": _OBJECT},
        "pins": {"type": "array", "items": _OBJECT},
        "agents": {"type": "object", "additionalProperties": _OBJECT},
        "alerts": {"type": "array", "items": _OBJECT},
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["result", "text", "data"],
    "properties": {"result": {"const": "ok"}, "text": {"type": "string"}, "data": _OBJECT},
}


async def openapi(request: web.Request) -> web.Response:
    """The document; open to those who may read."""
    request.app[AUTH].reader(request)
    return web.Response(body=_encoded(), content_type="application/json")


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of this version."""
    _, bodies = msgspec.json.schema_components([DrainBody, PinBody, FreezeBody], ref_template=_REF + "{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "steerd",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Reads are open on loopback, changes on the Unix socket only; agents bring their token. "
                "/livez, /readyz, /metrics and /beacon are open to whoever reaches the listener."
            ),
        },
        "paths": _about_steerd() | _reads() | _changes() | _page(),
        "components": {
            "schemas": dict(bodies) | {"Problem": _PROBLEM, "Status": _STATUS, "Answer": _ANSWER},
            "securitySchemes": {"agent": {"type": "http", "scheme": "bearer"}},
        },
    }


def _about_steerd() -> dict[str, Any]:
    return {
        "/livez": {"get": _op("The process is alive", text="text/plain")},
        "/readyz": {"get": _op("The process can do its work", 503, text="text/plain")},
        "/metrics": {"get": _op("The meters, as Prometheus text", 404, text="text/plain")},
        "/beacon/{name}": {
            "get": _op("200 while steerd wants `name` in service, else 503", 404, 503, text="text/plain")
            | {"parameters": [_NAME, _query("inverted", "200 while it wants it drained", {"type": "string"})]}
        },
    }


def _reads() -> dict[str, Any]:
    since = _query("since", "seconds of the epoch, or an ISO 8601 time with its offset", {"type": "string"})
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    return {
        "/v1/status": {"get": _op("The fleet at a glance", 403, 421, schema="Status")},
        "/v1/explain/{name}": {
            "get": _op("Why a name stands as it does", 403, 404, 421) | {"parameters": [_NAME]},
        },
        "/v1/plan": {"get": _op("What would be written now", 403, 421)},
        "/v1/history": {
            "get": _op("What happened, oldest first", 400, 403, 421)
            | {"parameters": [since, _query("limit", "how many at most", limit)]},
        },
        "/v1/events": {"get": _op("What happens, as server-sent events", 403, 421, 503, text="text/event-stream")},
        "/v1/openapi.json": {"get": _op("This document", 403, 421)},
        "/v1/agents/{name}/stream": {
            "get": {
                "summary": "An agent's WebSocket: msgpack frames, ballots up, confirm-now down",
                "parameters": [_NAME],
                "security": [{"agent": []}],
                "responses": {"101": {"description": "switching to WebSocket"}} | _problems(401, 403, 404, 426, 503),
            }
        },
    }


def _changes() -> dict[str, Any]:
    common = (400, 403, 409, 413, 415, 422, 503)
    bare = (403, 409, 422, 503)
    flag = {"type": "boolean", "default": False}
    now = _query("now", "at once instead of in steps", flag)
    force = _query("force", "also what is still down", flag)
    loss = _query("accept_data_loss", "also a region whose data is behind", flag)
    return {
        "/v1/drains": {"post": _op("Drain a domain", *common, schema="Answer", takes="DrainBody")},
        "/v1/drains/{name}": {
            "delete": _op("End a drain", 400, *bare, schema="Answer") | {"parameters": [_NAME, now, force, loss]}
        },
        "/v1/pins": {"post": _op("Pin a share", *common, schema="Answer", takes="PinBody")},
        "/v1/pins/{name}": {"delete": _op("End a pin", *bare, schema="Answer") | {"parameters": [_NAME]}},
        "/v1/freeze": {
            "post": _op("Stop all automatic moves", *common, schema="Answer", takes="FreezeBody"),
            "delete": _op("Let automation move again", *bare, schema="Answer"),
        },
        "/v1/config/accept": {
            "post": _op("Put in force a config that removes more than half of a service", 403, 409, schema="Answer")
        },
    }


def _page() -> dict[str, Any]:
    return {
        "/": {"get": _op("The web page", 403, 421, text="text/html")},
        "/app.css": {"get": _op("Its style", 403, 421, text="text/css")},
        "/app.js": {"get": _op("Its script", 403, 421, text="text/javascript")},
        "/icon.svg": {"get": _op("Its icon", 403, 421, text="image/svg+xml")},
    }


_NAME: dict[str, Any] = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _op(
    summary: str, *errors: int, schema: str | None = None, text: str | None = None, takes: str | None = None
) -> dict[str, Any]:
    """One operation: what a 200 carries, which problems it may answer with, and the body it takes."""
    if text is not None:
        content: dict[str, Any] = {text: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": {"$ref": _REF + schema} if schema else _OBJECT}}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}} | _problems(*errors),
    }
    if takes is not None:
        body = {"application/json": {"schema": {"$ref": _REF + takes}}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REF + "Problem"}}}
    return {str(status): {"description": "a problem document", "content": content} for status in statuses}
