"""A local Compute Engine with backend services: fingerprints, operations that take a while, scalers as documented."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
from typing import Any

from tests.support.cloud.google import GoogleServer, google_error

__all__ = ["LocalCompute", "group_url"]


def group_url(name: str) -> str:
    return f"projects/acme/zones/europe-west1-b/networkEndpointGroups/{name}"


class LocalCompute(GoogleServer):
    """`looks` is how often an operation is still running when asked for; `fails` is what the next one ends with."""

    api = "compute.v1"

    def __init__(self) -> None:
        super().__init__()
        self.looks = 1
        self.fails: dict[str, Any] | None = None
        self.services: dict[str, dict[str, Any]] = {}
        self._operations: dict[str, list[Any]] = {}
        self._ids = itertools.count(1)

    def add(self, name: str, percents: dict[str, int], description: str = "of the chat team") -> None:
        backends = [{**self.backend(g), "capacityScaler": p / 100} for g, p in percents.items()]
        self.services[name] = {"name": name, "description": description, "protocol": "HTTP", "backends": backends}

    @staticmethod
    def backend(group: str) -> dict[str, Any]:
        url = f"https://www.googleapis.com/compute/v1/{group_url(group)}"
        return {"group": url, "balancingMode": "RATE", "maxRatePerEndpoint": 5.0}

    def edit(self, name: str, percents: dict[str, int]) -> None:
        """By hand."""
        with self.lock:
            backends = self.services[name]["backends"]
            for group, percent in percents.items():
                found = next((b for b in backends if b["group"].endswith(f"/{group}")), None)
                if found is None:
                    found = self.backend(group)
                    backends.append(found)
                found["capacityScaler"] = percent / 100

    def percents(self, name: str) -> dict[str, int]:
        with self.lock:
            listed = self.services.get(name, {}).get("backends", [])
            return {b["group"].rpartition("/")[2]: round(b.get("capacityScaler", 1) * 100) for b in listed}

    def _service(self, name: str) -> dict[str, Any]:
        if name not in self.services:
            text = f"The resource 'projects/acme/global/backendServices/{name}' was not found"
            raise google_error(404, "notFound", text)
        made = copy.deepcopy(self.services[name])
        mark = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).digest()[:8]
        return {**made, "kind": "compute#backendService", "fingerprint": base64.b64encode(mark).decode()}

    # -- the API's methods -----------------------------------------------------------------------------------------

    def compute_backendServices_get(self, project: str, backendService: str) -> Any:  # noqa: N803  the API's words
        return self._service(backendService)

    def compute_backendServices_testIamPermissions(self, project: str, resource: str, body: dict[str, Any]) -> Any:
        self._service(resource)
        return self.granted(body, "compute.backendServices.")

    def compute_networkEndpointGroups_testIamPermissions(
        self, project: str, zone: str, resource: str, body: dict[str, Any]
    ) -> Any:
        return self.granted(body, "compute.networkEndpointGroups.")

    def compute_instanceGroups_testIamPermissions(
        self, project: str, zone: str, resource: str, body: dict[str, Any]
    ) -> Any:
        return self.granted(body, "compute.instanceGroups.")

    def compute_backendServices_patch(self, project: str, backendService: str, body: dict[str, Any]) -> Any:  # noqa: N803
        standing = self._service(backendService)
        if body.get("fingerprint") != standing["fingerprint"]:
            raise google_error(412, "conditionNotMet", "Invalid fingerprint.")
        scalers = [b.get("capacityScaler", 1.0) for b in body.get("backends", ())]
        if not all(s == 0 or 0.1 <= s <= 1 for s in scalers):
            raise google_error(
                400, "invalid", f"Invalid value for field 'resource.backends[].capacityScaler': {scalers}"
            )
        if scalers == [0.0]:
            raise google_error(400, "invalid", "capacityScaler 0 with only one backend")
        name = f"operation-{next(self._ids)}"
        if self.fails is None:
            self.services[backendService].update({k: copy.deepcopy(v) for k, v in body.items() if k != "fingerprint"})
        self._operations[name] = [self.looks, self.fails]
        self.fails = None
        return self._operation(name)

    def _operation(self, name: str) -> Any:
        left, failed = self._operations[name]
        self._operations[name][0] -= 1
        status = "RUNNING" if left > 0 else "DONE"
        return {"name": name, "status": status, "kind": "compute#operation", **((failed or {}) if left <= 0 else {})}

    def compute_globalOperations_get(self, project: str, operation: str) -> Any:
        if operation not in self._operations:
            raise google_error(404, "notFound", f"operation {operation}")
        return self._operation(operation)
