"""A stand-in for the Kubernetes API with HTTPRoutes: optimistic locking, merge patches, strict fields, a controller's status.

`httproute.json` is the CRD's schema of Gateway API v1 as the npm package @kubernetes-models/gateway-api 0.5.1 (MIT) ships it; names
in `metadata` are those of the Kubernetes client's own ObjectMeta. The CRD's CEL rules are not in that package.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from kubernetes_asyncio.client import (
    V1ObjectMeta,
    V1ResourceAttributes,
    V1SelfSubjectAccessReview,
    V1SelfSubjectAccessReviewSpec,
)

from tests.support.cloud.http import Asked, HttpError, JsonServer
from tests.support.cloud.schemas import Validator, complaint, strict

__all__ = ["LocalKubernetes", "status"]

_PATH = re.compile(r"/apis/gateway\.networking\.k8s\.io/v1/namespaces/([^/]+)/httproutes/([^/]+)")
_CRD = Validator(strict(json.loads(Path(__file__).with_name("httproute.json").read_text())))
_META = set(V1ObjectMeta.attribute_map.values())
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def status(code: int, reason: str, message: str, name: str | None = None) -> HttpError:
    """An error as the API server writes it."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return HttpError(code, {**document, "code": code, **({"details": {"name": name}} if name else {})})


def merged(standing: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    made = dict(standing) if isinstance(standing, dict) else {}
    for key, value in patch.items():
        made[key] = merged(made.get(key), value)
        if value is None:
            del made[key]
    return made


class LocalKubernetes(JsonServer):
    """`accepts` False: no controller looks at the routes."""

    def __init__(self, token: str = "t0ken") -> None:
        super().__init__()
        self.token, self.accepts, self.resolved = token, True, "True"
        self.routes: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = 0
        self.denied: set[str] = set()
        """Verbs that RBAC does not grant on HTTPRoutes; `review`: not even the question."""

    def kubeconfig(self, directory: Path, url: str | None = None, token: str | None = None) -> str:
        """The path of one, in JSON, which is YAML."""
        named = {
            "clusters": [{"name": "c", "cluster": {"server": url or self.url}}],
            "users": [{"name": "u", "user": {"token": token or self.token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        path = directory / f"kubeconfig-{'own' if url is None else 'other'}-{token or ''}.yaml"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", **named}))
        return str(path)

    def add(self, name: str, weights: dict[str, int], *, namespace: str = "default", rules: int = 1) -> None:
        refs = [{"name": n, "port": 8000, "weight": w, "group": "", "kind": "Service"} for n, w in weights.items()]
        matches = [{"path": {"type": "PathPrefix", "value": "/"}}]
        self.put(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": namespace, "generation": 0, "labels": {"team": "chat"}},
                "spec": {
                    "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
                    "rules": [{"matches": matches, "backendRefs": copy.deepcopy(refs)} for _ in range(rules)],
                },
            }
        )

    def get(self, name: str, namespace: str = "default") -> dict[str, Any]:
        with self.lock:
            return copy.deepcopy(self.routes[namespace, name])

    def put(self, new: dict[str, Any]) -> dict[str, Any]:
        """Stored as a new version; the controller looks at it at once."""
        with self.lock:
            meta = new["metadata"]
            old = self.routes.get((meta["namespace"], meta["name"]))
            if old is not None and {**old, "metadata": {**old["metadata"]}} == new:
                return new
            if old is None or old["spec"] != new["spec"]:
                meta["generation"] = meta.get("generation", 0) + 1
            self.routes[meta["namespace"], meta["name"]] = new
            self.touch(new)
            return new

    def touch(self, route: dict[str, Any]) -> None:
        """The controller writes its status: another version, with nothing of ours changed."""
        self._version += 1
        route["metadata"]["resourceVersion"] = str(self._version)
        if self.accepts:
            said = {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": "looked", "reason": "Looked"}
            said["observedGeneration"] = route["metadata"]["generation"]
            parent = {"parentRef": {"name": "edge"}, "controllerName": "example.net/gateway"}
            told = [
                {**said, "type": "Accepted", "status": "True"},
                {**said, "type": "ResolvedRefs", "status": self.resolved},
            ]
            route["status"] = {"parents": [{**parent, "conditions": told}]}

    def edit(self, name: str, weights: dict[str, int], rule: int = 0) -> None:
        """By hand."""
        new = self.get(name)
        refs = new["spec"]["rules"][rule]["backendRefs"]
        for target, weight in weights.items():
            found = next((r for r in refs if r["name"] == target), None)
            if found is None:
                found = {"name": target, "port": 80}
                refs.append(found)
            found["weight"] = weight
        self.put(new)

    def weights(self, name: str, rule: int = 0) -> dict[str, int]:
        return {r["name"]: r.get("weight", 1) for r in self.get(name)["spec"]["rules"][rule]["backendRefs"]}

    def authorize(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            raise status(401, "Unauthorized", "Unauthorized")

    def answer(self, asked: Asked) -> Any:
        if asked.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" and asked.method == "POST":
            return 201, self._review(asked.body)
        found = _PATH.fullmatch(asked.path)
        if found is None:
            raise status(404, "NotFound", "the server could not find the requested resource")
        namespace, name = found.groups()
        if (namespace, name) not in self.routes:
            raise status(404, "NotFound", f'httproutes "{name}" not found', name)
        if asked.method == "GET":
            return self.get(name, namespace)
        if asked.method != "PATCH":
            raise status(405, "MethodNotAllowed", "the server does not allow this method")
        if asked.headers and asked.headers.get("content-type") != "application/merge-patch+json":
            raise status(415, "UnsupportedMediaType", "a merge patch only")
        if asked.query.get("fieldValidation") != "Strict":
            raise status(400, "BadRequest", "this stand-in wants fieldValidation=Strict")
        return self._patched(self.get(name, namespace), asked.body)

    def _review(self, body: dict[str, Any]) -> dict[str, Any]:
        """Fields are those of the Kubernetes client's own models."""
        if "review" in self.denied:
            raise status(403, "Forbidden", 'selfsubjectaccessreviews is forbidden: User "steerd" cannot create it')
        spec = body.get("spec", {})
        attributes = spec.get("resourceAttributes", {})
        models = ((body, V1SelfSubjectAccessReview), (spec, V1SelfSubjectAccessReviewSpec))
        for given, model in (*models, (attributes, V1ResourceAttributes)):
            if unknown := set(given) - set(model.attribute_map.values()):
                raise status(400, "BadRequest", f"strict decoding error: unknown field {unknown}")
        if (body["apiVersion"], body["kind"]) != ("authorization.k8s.io/v1", "SelfSubjectAccessReview"):
            raise status(400, "BadRequest", f"the object provided is unrecognized: {body}")
        group = "gateway.networking.k8s.io"
        ours = (attributes.get("group"), attributes.get("resource")) == (group, "httproutes")
        allowed = ours and attributes["verb"] in {"get", "patch"} - self.denied
        return {**body, "status": {"allowed": allowed, "reason": "RBAC" if allowed else ""}}

    def _patched(self, old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        new = merged(old, patch)
        meta = new["metadata"]
        if meta["resourceVersion"] != old["metadata"]["resourceVersion"]:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise status(409, "Conflict", f"Operation cannot be fulfilled on httproutes: {text}")
        notes = meta.get("annotations") or {}
        unknown = set(meta) - _META
        wrong = complaint(_CRD, {k: v for k, v in new.items() if k != "metadata"})
        if unknown or set(new) - {"apiVersion", "kind", "metadata", "spec", "status"}:
            raise status(400, "BadRequest", f"strict decoding error: unknown field {unknown or set(new)}")
        if wrong or not all(_KEY.fullmatch(k) and isinstance(v, str) for k, v in notes.items()):
            raise status(422, "Invalid", f"HTTPRoute is invalid: {wrong or notes}")
        return copy.deepcopy(self.put(new))
