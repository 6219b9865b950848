"""AWS's wire protocols, the server's side, driven by botocore's service models.

`read` turns a request into the operation's parameters and refuses what the model does not know: unknown members, wrong types,
missing members, lengths, ranges, patterns and enumerations. `answer` and `error` render what a client of that model reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import OperationModel, ServiceModel

__all__ = ["AwsError", "Reply", "Wire"]


class AwsError(Exception):
    """An error answer: a code of the service, what it says, and further members and headers."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
        self.headers, self.members = dict(headers or {}), members


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@cache
def _service(name: str) -> ServiceModel:
    return botocore.session.Session().get_service_model(name)


class Wire:
    """One service's protocol."""

    invalid = "ValidationException"

    def __init__(self, service: str, invalid: str = "ValidationException") -> None:
        self.model = _service(service)
        self.protocol = self.model.metadata["protocol"]
        self.invalid = invalid

    # -- requests --------------------------------------------------------------------------------------------------

    def read(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
        """(operation, parameters). Raises `AwsError`."""
        if "AWS4-HMAC-SHA256" not in headers.get("authorization", ""):
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
        if self.protocol == "json":
            prefix, _, name = headers.get("x-amz-target", "").rpartition(".")
            if prefix != self.model.metadata["targetPrefix"] or name not in self.model.operation_names:
                raise AwsError("UnknownOperationException", f"no operation {name!r}", status=404)
            operation = self.model.operation_model(name)
            params = self._json(json.loads(body or b"{}"), operation.input_shape, "")
        elif self.protocol == "query":
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
            name = fields.pop("Action", "")
            if name not in self.model.operation_names or fields.pop("Version", "") != self.model.api_version:
                raise AwsError("InvalidAction", f"no operation {name!r}", status=400)
            operation = self.model.operation_model(name)
            params = self._query(_tree(fields), operation.input_shape, name)
        else:
            operation, params = self._rest(method, url, body)
        self.check(operation.name, params)
        return operation.name, params

    def check(self, name: str, params: Mapping[str, Any]) -> None:
        """Raises `AwsError` where the operation takes no such parameters."""
        shape = self.model.operation_model(name).input_shape
        for problem in _problems(params, shape, name) if shape is not None else ():
            raise AwsError(self.invalid, problem)

    def _rest(self, method: str, url: str, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in self.model.operation_names:
            operation = self.model.operation_model(name)
            places = re.split(r"\{(\w+)\+?\}", operation.http["requestUri"].split("?")[0].rstrip("/"))
            pattern = "".join(re.escape(p) if i % 2 == 0 else f"(?P<{p}>[^/]+)" for i, p in enumerate(places))
            found = re.fullmatch(f"{pattern}/?", parts.path)
            if found and operation.http["method"] == method:
                break
        else:
            raise AwsError("UnknownOperationException", f"no operation at {method} {parts.path}", status=404)
        shape, params = operation.input_shape, {}
        for key, member in shape.members.items():
            at = member.serialization.get("location")
            given = member.serialization.get("name", key)
            if at == "uri":
                params[key] = unquote(found[given])
            elif at == "querystring" and given in query:
                params[key] = self._scalar(query.pop(given), member, key)
        if query:
            raise AwsError(self.invalid, f"unknown parameters {sorted(query)}")
        inside = {k: m for k, m in shape.members.items() if "location" not in m.serialization}
        if body and self.protocol == "rest-json":
            params |= self._json(json.loads(body), shape, "", inside)
        elif body:
            root = ET.fromstring(body)
            if _local(root.tag) != shape.serialization.get("name", operation.name):
                raise AwsError("InvalidInput", f"unexpected root {root.tag}")
            params |= self._xml_structure(root, inside)
        return operation, params

    def _json(self, given: Any, shape: Any, path: str, members: Mapping[str, Any] | None = None) -> Any:
        kind = shape.type_name if shape is not None else "structure"
        if kind == "structure":
            known = members if members is not None else (shape.members if shape is not None else {})
            names = {m.serialization.get("name", k): k for k, m in known.items()}
            if not isinstance(given, dict) or given.keys() - names.keys():
                raise AwsError(self.invalid, f"unknown members at {path or 'the top'}: {given!r}"[:300])
            return {names[n]: self._json(v, known[names[n]], f"{path}.{n}") for n, v in given.items()}
        if kind == "list":
            return [self._json(v, shape.member, f"{path}[]") for v in given]
        return given

    def _query(self, given: Any, shape: Any, path: str) -> Any:
        if shape is None:
            return {}
        if shape.type_name == "structure":
            names = {m.serialization.get("name", k): k for k, m in shape.members.items()}
            if not isinstance(given, dict) or given.keys() - names.keys():
                raise AwsError(self.invalid, f"unknown members at {path}: {given!r}"[:300])
            return {names[n]: self._query(v, shape.members[names[n]], f"{path}.{n}") for n, v in given.items()}
        if shape.type_name == "list":
            items = given["member"]
            return [self._query(items[n], shape.member, f"{path}[]") for n in sorted(items, key=int)]
        if shape.type_name == "map":
            entries = given["entry"].values()
            return {e["key"]: self._query(e["value"], shape.value, path) for e in entries}
        return self._scalar(given, shape, path)

    def _xml_structure(self, node: ET.Element, members: Mapping[str, Any]) -> dict[str, Any]:
        names = {m.serialization.get("name", k): k for k, m in members.items()}
        found: dict[str, Any] = {}
        for child in node:
            tag = _local(child.tag)
            if tag not in names or names[tag] in found:
                raise AwsError("InvalidInput", f"unexpected element {tag} in {_local(node.tag)}")
            found[names[tag]] = self._xml(child, members[names[tag]])
        return found

    def _xml(self, node: ET.Element, shape: Any) -> Any:
        if shape.type_name == "structure":
            return self._xml_structure(node, shape.members)
        if shape.type_name == "list":
            wanted = shape.member.serialization.get("name", "member")
            if strange := [c.tag for c in node if _local(c.tag) != wanted]:
                raise AwsError("InvalidInput", f"unexpected element {strange[0]}")
            return [self._xml(child, shape.member) for child in node]
        return self._scalar(node.text or "", shape, _local(node.tag))

    def _scalar(self, text: str, shape: Any, path: str) -> Any:
        try:
            if shape.type_name in ("integer", "long"):
                return int(text)
            if shape.type_name == "boolean":
                return {"true": True, "false": False}[text]
            return float(text) if shape.type_name in ("float", "double") else text
        except (ValueError, KeyError):
            raise AwsError(self.invalid, f"{path}: {text!r} is no {shape.type_name}") from None

    # -- answers ---------------------------------------------------------------------------------------------------

    def answer(self, name: str, result: Mapping[str, Any], request_id: str) -> Reply:
        """A result; raises AssertionError where it is not one the model knows (a bug of the local server)."""
        operation = self.model.operation_model(name)
        shape = operation.output_shape
        if shape is not None:
            assert list(_problems(result, shape, name)) == []
        status = int(operation.http.get("responseCode", 200))
        if self.protocol.endswith("json"):
            return Reply(status, json.dumps(result, default=lambda d: d.timestamp()).encode(), _JSON)
        inner = _xml_text(result, shape) if shape is not None else ""
        if self.protocol == "query":
            inner = f"<{name}Result>{inner}</{name}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        return Reply(status, f'<?xml version="1.0"?>\n<{name}Response>{inner}</{name}Response>'.encode(), _XML)

    def error(self, error: AwsError, request_id: str) -> Reply:
        """An error answer of the protocol."""
        shape = next((s for s in self.model.error_shapes if s.error_code == error.code), None)
        status = error.status or (
            shape.metadata.get("error", {}).get("httpStatusCode", 400) if shape is not None else 400
        )
        if self.protocol.endswith("json"):
            body = {"__type": error.code, "message": error.message, **error.members}
            if shape is not None:
                known = {m.lower() for m in shape.members} | {"__type"}
                assert {k.lower() for k in body} <= known, f"{error.code} has no such members: {body}"
            return Reply(status, json.dumps(body).encode(), {**_JSON, "x-amzn-ErrorType": error.code, **error.headers})
        inner = f"<Type>Sender</Type><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        text = f"<ErrorResponse><Error>{inner}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        return Reply(status, f'<?xml version="1.0"?>\n{text}'.encode(), {**_XML, **error.headers})


_JSON = {"Content-Type": "application/json"}
_XML = {"Content-Type": "text/xml"}


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _tree(fields: Mapping[str, str]) -> dict[str, Any]:
    """`A.member.1.B=x` -> {"A": {"member": {"1": {"B": "x"}}}}."""
    root: dict[str, Any] = {}
    for key, value in fields.items():
        *path, last = key.split(".")
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return root


_PYTHON = {"string": str, "integer": int, "long": int, "boolean": bool, "list": list, "structure": dict, "map": dict}


def _problems(value: Any, shape: Any, path: str) -> Iterator[str]:
    kind, limits = shape.type_name, shape.metadata
    wanted: Any = (
        (int, float) if kind in ("float", "double") else datetime if kind == "timestamp" else _PYTHON.get(kind, object)
    )
    if not isinstance(value, wanted) or (kind in ("integer", "long") and isinstance(value, bool)):
        yield f"{path}: {value!r} is no {kind}"
        return
    size = (
        value if kind in ("integer", "long", "float", "double") else len(value) if hasattr(value, "__len__") else None
    )
    if size is not None and not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"{path}: {str(value)[:80]!r} is not within {limits.get('min')}..{limits.get('max')}"
    if kind == "string":
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is none of {', '.join(shape.enum)}"
        if (pattern := limits.get("pattern")) and not re.fullmatch(_anchored(pattern), value):
            yield f"{path}: {value!r} does not match {pattern}"
    if kind == "structure":
        for name in shape.required_members:
            if name not in value:
                yield f"{path}.{name} is required"
        for name, inner in value.items():
            if name not in shape.members:
                yield f"{path}.{name} is unknown"
            else:
                yield from _problems(inner, shape.members[name], f"{path}.{name}")
    if kind == "list":
        for item in value:
            yield from _problems(item, shape.member, f"{path}[]")


def _anchored(pattern: str) -> str:
    return pattern.removeprefix("^").removesuffix("$")


def _xml_text(value: Any, shape: Any) -> str:
    if shape.type_name == "structure":
        parts = []
        for name, inner in value.items():
            member = shape.members[name]
            tag = member.serialization.get("name", name)
            parts.append(f"<{tag}>{_xml_text(inner, member)}</{tag}>")
        return "".join(parts)
    if shape.type_name == "list":
        tag = shape.member.serialization.get("name", "member")
        return "".join(f"<{tag}>{_xml_text(item, shape.member)}</{tag}>" for item in value)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    if shape.type_name == "timestamp":
        return str(value.isoformat().replace("+00:00", "Z"))
    return escape(str(value))
