"""A receiver of webhooks as the provider's README asks for, that takes no message but those."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import jsonschema

from tests.support.cloud.http import Asked, HttpError, JsonServer

__all__ = ["Receiver"]

_TEXT = {"type": "string"}
_FENCE = {
    "type": "object",
    "properties": {"fleet": _TEXT, "epoch": {"type": "integer"}, "seq": {"type": "integer"}, "plan": _TEXT},
    "required": ["fleet", "epoch", "seq", "plan"],
    "additionalProperties": False,
}
_MEMBER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "weight": {"type": "integer", "minimum": 0, "maximum": 10_000},
        "values": {"type": "array", "items": _TEXT},
    },
    "required": ["name", "weight", "values"],
    "additionalProperties": False,
}
_COMMON = {"v": {"const": 1}, "route": _TEXT, "service": _TEXT}
SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "properties": {**_COMMON, "kind": {"const": "read"}},
            "required": ["v", "kind", "route", "service"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                **_COMMON,
                "kind": {"const": "write"},
                "if_version": _TEXT,
                "fence": _FENCE,
                "ttl_s": {"type": "number", "minimum": 0},
                "members": {"type": "array", "items": _MEMBER, "minItems": 1},
            },
            "required": ["v", "kind", "route", "service", "if_version", "fence", "ttl_s", "members"],
            "additionalProperties": False,
        },
    ]
}
"""The messages of steerd/providers/webhook/README.md."""

_VALID = jsonschema.Draft202012Validator(SCHEMA)


class Receiver(JsonServer):
    def __init__(self, secret: str = "hunter2") -> None:
        super().__init__()
        self.secret = secret
        self.states: dict[str, dict[str, Any]] = {}

    def state(self, route: str) -> dict[str, Any]:
        nothing = {"v": 1, "version": "0", "exists": False, "weights": {}, "fence": None}
        return self.states.get(route, nothing)

    def edit(self, route: str, weights: dict[str, int]) -> None:
        """By hand."""
        with self.lock:
            state = self.state(route)
            self.states[route] = {
                **state,
                "exists": True,
                "version": str(int(state["version"]) + 1),
                "weights": {**state["weights"], **weights},
            }

    def authorize(self, asked: Asked) -> None:
        stamp, given = asked.headers.get("steerd-timestamp", ""), asked.headers.get("steerd-signature", "")
        digest = hmac.new(self.secret.encode(), stamp.encode() + b"." + asked.raw, hashlib.sha256).hexdigest()
        if not stamp.isdigit() or abs(int(stamp) - time.time()) > 300 or not hmac.compare_digest(given, f"v1={digest}"):
            raise HttpError(401, {"error": "the signature does not fit"})

    def answer(self, asked: Asked) -> Any:
        message = asked.body
        try:
            _VALID.validate(message)
        except jsonschema.ValidationError as error:
            raise HttpError(422, {"error": error.message}) from None
        if asked.method != "POST":
            raise HttpError(405, {"error": "POST only"})
        state = self.state(message["route"])
        if message["kind"] == "read":
            return state
        standing, new = state["fence"], message["fence"]
        if message["if_version"] != state["version"]:
            raise HttpError(409, {"error": f"the version is {state['version']}"})
        if standing is not None and (standing["epoch"], standing["seq"]) > (new["epoch"], new["seq"]):
            raise HttpError(409, {"error": "a newer fence stands there"})
        weights = {**state["weights"], **{m["name"]: m["weight"] for m in message["members"]}}
        if not any(weights.values()):
            raise HttpError(422, {"error": "nobody would serve"})
        self.edit(message["route"], weights)
        self.states[message["route"]]["fence"] = new
        return self.states[message["route"]]
