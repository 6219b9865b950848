"""A local Azure Resource Manager with Traffic Manager profiles, and the identity service of an App Service.

Every profile sent is held against the models of azure-mgmt-trafficmanager: unknown names and values of other types are refused.
"""

from __future__ import annotations

import copy
import datetime as dt
import re
import time
import typing
from typing import Any

import pytest
from azure.mgmt.trafficmanager import models

from tests.support.cloud.http import Asked, HttpError, JsonServer

__all__ = ["LocalTrafficManager", "azure_error"]

_BASE = next(c for c in models.ProfileProperties.__mro__ if c.__name__ == "Model")

_GROUP = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/trafficmanagerprofiles"

_PATH = re.compile(rf"{_GROUP}/([^/]+)")


_PERMISSIONS = re.compile(rf"({_PATH.pattern})/providers/Microsoft\.Authorization/permissions")
"""Permissions - List For Resource, version 2022-04-01 (azure-mgmt-authorization 4.0.0: PermissionsOperations.list_for_resource)."""


_PROFILES = re.compile(_GROUP)
"""Profiles - List By Resource Group."""


def azure_error(status: int, code: str, message: str) -> HttpError:
    return HttpError(status, {"error": {"code": code, "message": message}})


def _model_in(hint: Any) -> tuple[Any, bool]:
    """The model class in a type hint, and whether it is a list of them."""
    for inner in (hint, *typing.get_args(hint)):
        if typing.get_origin(inner) is list:
            return _model_in(typing.get_args(inner)[0])[0], True
        if isinstance(inner, type) and issubclass(inner, _BASE):
            return inner, False
    return None, False


def check(model: Any, document: Any, where: str = "profile") -> None:
    """Raises `HttpError` where `document` is not what `model` describes."""
    hints = typing.get_type_hints(model, {"_models": models, **vars(typing), "datetime": dt})
    known = {f._rest_name: hints.get(name) for name, f in model()._attr_to_rest_field.items()}
    if not isinstance(document, dict) or (unknown := document.keys() - known.keys()):
        raise azure_error(400, "BadRequest", f"{where}: {unknown if isinstance(document, dict) else document!r}")
    for key, value in document.items():
        hint = known[key]
        inner, many = _model_in(hint)
        if inner is not None:
            for each in value if many else [value]:
                check(inner, each, f"{where}.{key}")
            continue
        kinds = tuple(k for k in map(_plain, typing.get_args(hint) or (hint,)) if k in (int, str, dict, list))
        if kinds and not isinstance(value, kinds):
            raise azure_error(400, "BadRequest", f"{where}.{key}: {value!r}")


def _plain(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


class LocalTrafficManager(JsonServer):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.grants = "azure-token", 0
        self.profiles: dict[str, dict[str, Any]] = {}
        self.permissions: list[dict[str, Any]] | None = None
        """Those of the caller's roles, one to a page; None: they may not even be listed."""

    def give_credentials(self, patch: pytest.MonkeyPatch) -> None:
        """A managed identity as an App Service has it, found by the default chain."""
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        patch.setenv("IDENTITY_ENDPOINT", f"{self.url}/msi/token")
        patch.setenv("IDENTITY_HEADER", "of-the-tests")

    @staticmethod
    def endpoint(name: str, weight: int) -> dict[str, Any]:
        status = (
            {"endpointStatus": "Enabled", "weight": weight} if weight else {"endpointStatus": "Disabled", "weight": 1}
        )
        told = {"target": f"{name}.example.net", "endpointMonitorStatus": "Online", "alwaysServe": "Disabled", **status}
        return {"name": name, "type": "Microsoft.Network/trafficManagerProfiles/externalEndpoints", "properties": told}

    def add(self, name: str, weights: dict[str, int], method: str = "Weighted") -> None:
        properties = {
            "profileStatus": "Enabled",
            "trafficRoutingMethod": method,
            "dnsConfig": {"relativeName": name, "fqdn": f"{name}.trafficmanager.net", "ttl": 30},
            "endpoints": [self.endpoint(n, w) for n, w in weights.items()],
        }
        self.profiles[name] = {"name": name, "location": "global", "tags": {"team": "chat"}, "properties": properties}

    def edit(self, name: str, weights: dict[str, int]) -> None:
        """By hand."""
        with self.lock:
            listed = self.profiles[name]["properties"]["endpoints"]
            for endpoint, weight in weights.items():
                listed[:] = [e for e in listed if e["name"] != endpoint]
                listed.append(self.endpoint(endpoint, weight))

    def weights(self, name: str) -> dict[str, int]:
        with self.lock:
            listed = self.profiles[name]["properties"]["endpoints"]
            told = {e["name"]: e["properties"] for e in listed}
            return {n: p["weight"] if p["endpointStatus"] == "Enabled" else 0 for n, p in told.items()}

    def authorize(self, asked: Asked) -> None:
        if asked.path == "/msi/token":
            if asked.headers.get("x-identity-header") != "of-the-tests":
                raise HttpError(401, {"message": "no"})
        elif asked.headers.get("authorization") != f"Bearer {self.token}":
            raise azure_error(401, "InvalidAuthenticationToken", "The access token is invalid.")

    def answer(self, asked: Asked) -> Any:
        if asked.path == "/msi/token":
            self.grants += 1
            resource = asked.query["resource"]
            return {
                "access_token": self.token,
                "expires_on": str(int(time.time()) + 3600),
                "resource": resource,
                "token_type": "Bearer",
            }
        if _PERMISSIONS.fullmatch(asked.path):
            return self._permitted(asked)
        if _PROFILES.fullmatch(asked.path):
            return self._listed(asked)
        found = _PATH.fullmatch(asked.path)
        if found is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", asked.query.get("api-version", "")):
            raise azure_error(400, "MissingApiVersionParameter", f"{asked.path} {dict(asked.query)}")
        name = found[1]
        if name not in self.profiles:
            raise azure_error(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        standing = self.profiles[name]
        if asked.method == "PATCH":
            self._patch(standing, asked.body)
        elif asked.method != "GET":
            raise azure_error(405, "MethodNotAllowed", asked.method)
        return copy.deepcopy(standing)

    def _permitted(self, asked: Asked) -> Any:
        if asked.query.get("api-version") != "2022-04-01":
            raise azure_error(400, "InvalidApiVersionParameter", str(dict(asked.query)))
        if self.permissions is None:
            text = "does not have authorization to perform action 'Microsoft.Authorization/permissions/read'"
            raise azure_error(403, "AuthorizationFailed", f"The client {text}")
        return self._page(asked, self.permissions)

    def _listed(self, asked: Asked) -> Any:
        if asked.query.get("api-version") != "2022-04-01":
            raise azure_error(400, "InvalidApiVersionParameter", str(dict(asked.query)))
        return self._page(asked, [copy.deepcopy(p) for _, p in sorted(self.profiles.items())])

    def _page(self, asked: Asked, rows: list[dict[str, Any]]) -> Any:
        """One row to a page; the way to the next one as ARM writes it."""
        if asked.method != "GET":
            raise azure_error(405, "MethodNotAllowed", asked.method)
        page = int(asked.query.get("$skipToken", "0"))
        more = f"{self.url}{asked.path}?api-version={asked.query['api-version']}&$skipToken={page + 1}"
        return {"value": rows[page : page + 1], **({"nextLink": more} if page + 1 < len(rows) else {})}

    def _patch(self, standing: dict[str, Any], body: dict[str, Any]) -> None:
        check(models.Profile, body)
        for value in (body.get("tags") or {}).values():
            if len(value) > 256:
                raise azure_error(400, "InvalidTagValueLength", value)
        endpoints = body["properties"]["endpoints"]
        for endpoint in endpoints:
            told = endpoint["properties"]
            if not 1 <= told.get("weight", 1) <= 1000:
                raise azure_error(400, "BadRequest", f"The weight {told['weight']} is not from 1 to 1000")
            if told.get("endpointStatus") not in ("Enabled", "Disabled") or "endpointMonitorStatus" in told:
                raise azure_error(400, "BadRequest", str(told))
        made = copy.deepcopy(body)
        for endpoint in made["properties"]["endpoints"]:
            on = endpoint["properties"]["endpointStatus"] == "Enabled"
            endpoint["properties"]["endpointMonitorStatus"] = "CheckingEndpoint" if on else "Disabled"
        standing["properties"].update(made["properties"])
        standing["tags"] = made.get("tags", standing["tags"])
