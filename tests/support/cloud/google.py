"""A local Google API: every request is held against the published discovery document, as google-api-python-client packages it."""

from __future__ import annotations

import importlib.resources
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import CredentialsWithRegionalAccessBoundary

from tests.support.cloud.http import Asked, HttpError, JsonServer
from tests.support.cloud.schemas import Validator, complaint, strict

__all__ = ["Discovery", "GoogleServer", "give_credentials", "google_error"]


def google_error(status: int, reason: str, message: str) -> HttpError:
    """An error as Google's JSON APIs write it."""
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return HttpError(status, {"error": {"code": status, "message": message, "errors": errors}})


class Discovery:
    """One API's document."""

    def __init__(self, name: str) -> None:
        folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
        self.document = json.loads((folder / f"{name}.json").read_text())
        self.methods = [(m, self._pattern(m)) for m in self._methods(self.document)]
        self._validators: dict[str, Any] = {}

    def _methods(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        found = list(node.get("methods", {}).values())
        for inner in node.get("resources", {}).values():
            found += self._methods(inner)
        return found

    def _pattern(self, method: dict[str, Any]) -> re.Pattern[str]:
        path = self.document["servicePath"] + method["path"]
        parts = re.split(r"\{(\+?\w+)\}", path)
        places = [self._place(p, method) for p in parts[1::2]]
        texts = [re.escape(p) for p in parts[::2]]
        return re.compile("/" + "".join(t + p for t, p in zip(texts, [*places, ""], strict=True)))

    def _place(self, name: str, method: dict[str, Any]) -> str:
        """`{+name}` stands for several segments of a path, by the parameter's own pattern (RFC 6570, 3.2.3)."""
        if not name.startswith("+"):
            return f"(?P<{name}>[^/]+)"
        return f"(?P<{name[1:]}>{method['parameters'][name[1:]].get('pattern', '.+').strip('^$')})"

    def _schema(self, node: Any, needed: set[str]) -> Any:
        """A discovery schema as JSON Schema; `needed` gathers the names it refers to."""
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            needed.add(node["$ref"])
            return {"$ref": f"#/$defs/{node['$ref']}"}
        made: dict[str, Any] = {"type": node["type"]} if node.get("type") not in (None, "any") else {}
        if "enum" in node:
            made["enum"] = node["enum"]
        if "properties" in node:
            made["properties"] = {k: self._schema(v, needed) for k, v in node["properties"].items()}
        if "items" in node:
            made["items"] = self._schema(node["items"], needed)
        if "additionalProperties" in node:
            made["additionalProperties"] = self._schema(node["additionalProperties"], needed)
        if node.get("format") in ("int64", "uint64"):
            made["pattern"] = r"^-?\d+$"
        return strict(made)

    def validator(self, name: str) -> Any:
        if name not in self._validators:
            done: dict[str, Any] = {}
            needed = {name}
            while todo := needed - done.keys():
                for each in todo:
                    done[each] = self._schema(self.document["schemas"][each], needed)
            self._validators[name] = Validator({"$defs": done, "$ref": f"#/$defs/{name}"})
        return self._validators[name]

    def read(self, asked: Asked) -> tuple[dict[str, Any], dict[str, str]]:
        """The method and the parameters of its path. Raises `HttpError` where the document knows no such request."""
        for method, pattern in self.methods:
            found = pattern.fullmatch(asked.path)
            if found is None or method["httpMethod"] != asked.method:
                continue
            parameters = method.get("parameters", {})
            common = self.document["parameters"]
            for name, value in asked.query.items():
                known = parameters.get(name) or common.get(name)
                if known is None:
                    raise google_error(400, "invalidParameter", f"Unknown name {name!r}")
                if known.get("pattern") and not re.fullmatch(known["pattern"], value):
                    raise google_error(400, "invalidParameter", f"{name}: {value!r}")
            for name, value in found.groupdict().items():
                if (rule := parameters[name].get("pattern")) and not re.fullmatch(rule, value):
                    raise google_error(400, "invalidParameter", f"{name}: {value!r}")
            body = method.get("request", {}).get("$ref")
            wrong = complaint(self.validator(body), asked.body) if body else asked.body and "a body"
            if wrong:
                raise google_error(400, "invalid", f"Invalid JSON payload: {wrong}")
            return method, found.groupdict()
        raise google_error(404, "notFound", f"no method {asked.method} {asked.path}")


@cache
def discovery(name: str) -> Discovery:
    return Discovery(name)


class GoogleServer(JsonServer):
    """Subclasses have one method per API method, named by its id with underscores (dns_changes_create)."""

    api: str

    def __init__(self) -> None:
        super().__init__()
        self.token = "ya29.tests"
        self.called: list[str] = []
        self.lacks: set[str] = set()
        """Permissions that the caller has not."""
        self.grants = 0

    def authorize(self, asked: Asked) -> None:
        if asked.path != "/token" and asked.headers.get("authorization") != f"Bearer {self.token}":
            raise google_error(401, "authError", "Invalid Credentials")

    def answer(self, asked: Asked) -> Any:
        if asked.path == "/token":
            self.grants += 1
            return {"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"}
        document = discovery(self.api)
        method, parameters = document.read(asked)
        self.called.append(method["id"])
        given = {**parameters, **{k: v for k, v in asked.query.items() if k in method.get("parameters", {})}}
        if "request" in method:
            given["body"] = asked.body
        made = getattr(self, method["id"].replace(".", "_"))(**given)
        wrong = complaint(document.validator(method["response"]["$ref"]), made)
        assert wrong is None, f"this server itself answers {method['id']} wrongly: {wrong}"
        return made

    def granted(self, body: dict[str, Any], about: str) -> Any:
        """The answer of a `testIamPermissions`: what was asked for, less what lacks. Only permissions on `about` may be asked."""
        asked = body["permissions"]
        if wrong := [p for p in asked if not p.startswith(about) or "*" in p]:
            raise google_error(400, "invalid", f"Permission {wrong[0]} is not valid for this resource.")
        return {"permissions": [p for p in asked if p not in self.lacks]}

    def serve(self, method: str, url: str, headers: Any, body: bytes) -> Any:
        if url == "/token":  # a form, not JSON
            return super().serve("POST", url, headers, b"")
        return super().serve(method, url, headers, body)


@cache
def _key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def give_credentials(patch: pytest.MonkeyPatch, directory: Path, server: GoogleServer) -> None:
    """A service account found by the Application Default Credentials, whose token service is `server`."""
    path = directory / "service-account.json"
    account = {
        "type": "service_account",
        "client_email": "steerd@acme.iam.gserviceaccount.com",
        "private_key": _key(),
        "private_key_id": "k1",
        "project_id": "acme",
        "token_uri": f"{server.url}/token",
    }
    path.write_text(json.dumps(account))
    patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    # google-auth would ask Google in the background where the account may be used: tests ask this machine only.
    patch.setattr(
        CredentialsWithRegionalAccessBoundary, "_is_regional_access_boundary_lookup_required", lambda _: False
    )
