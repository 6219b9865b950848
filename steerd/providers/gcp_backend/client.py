"""The I/O of the gcp-backend provider: one backend service read and patched, and the operation that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.base import (
    Change,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Unreachable,
    Untold,
    Verified,
)
from steerd.providers.gcp import reason_of, told
from steerd.providers.gcp_backend import CAPABILITIES, KIND, RIGHTS
from steerd.providers.gcp_backend.translate import (
    Patch,
    Seen,
    differences,
    observed_from,
    path_of,
    places_of,
    plain,
    seen_from,
    translate,
)
from steerd.providers.gcp_client import Identity
from steerd.providers.rest import Answer, Rest
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["GcpBackend"]

SCOPE = "https://www.googleapis.com/auth/compute"

GAP_S = 0.25
"""Between two looks at an operation."""


class GcpBackend:
    """The backend services of one project."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._project = settings.text("project")
        timeout_s = settings.number("timeout", 0.05, 60)
        self._identity = Identity(SCOPE, timeout_s)
        rate = settings.number("calls_per_s", 0.01, 1000)
        self._rest = Rest(
            "the Compute Engine API",
            settings.maybe_text("endpoint_url") or "https://compute.googleapis.com",
            timeout_s,
            authorize=self._authorize,
            meaning=_meaning,
            pace=context.pace(f"gcp/{self._project}/compute", rate),
        )

    async def open(self) -> None:
        """Nothing to start: credentials and connections come with the first call."""

    async def close(self) -> None:
        """Drops the connection; safe to call twice."""
        self._identity.close()
        await self._rest.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The backends as they are now."""
        return observed_from(route, await self._see(path_of(self._project, route), deadline))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.gcp_backend.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """One patch on condition of the fingerprint, followed until its operation is done."""
        patch: Patch = change.payload
        check_stale(change, patch.seen.fence)
        operation = (await self._rest.call("PATCH", patch.seen.path, deadline, patch.body)).data
        place = patch.seen.path.rpartition("/backendServices/")[0]
        name = str(operation["name"])
        while operation.get("status") != "DONE":
            if asyncio.get_running_loop().time() + GAP_S >= deadline:
                raise Unreachable(f"operation {name} is still {operation.get('status')}", "steerd reads back")
            await asyncio.sleep(GAP_S)
            operation = (await self._rest.call("GET", f"{place}/operations/{quote(name, safe='')}", deadline)).data
        _check(operation)
        return Receipt(change.route, f"operation {name}")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """`testIamPermissions` of each backend service and each group, which takes no right. What the Compute Engine API has no
        such method for is said to be untold."""
        found: list[str] = []
        for path, kind in sorted({place for route in routes for place in places_of(self._project, route)}):
            if kind in RIGHTS:
                body = {"permissions": list(RIGHTS[kind])}
                answer = (await self._rest.call("POST", f"{path}/testIamPermissions", deadline, body)).data or {}
                lacking = [r for r in RIGHTS[kind] if r not in answer.get("permissions", ())]
                found += [f"{r} on {plain(path)}" for r in lacking]
            else:
                found.append(Untold(f"the Compute Engine API has no way to ask what may be done with {plain(path)}"))
        regional = {bool(route.settings.get("region")) for route in routes}
        needed = [r for r in RIGHTS["project"] if ("region" in r) in regional]
        text = "is granted on the project, and the Compute Engine API tells of its own resources only"
        return [*found, *(Untold(f"{right} {text}") for right in needed)]

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _see(self, path: str, deadline: float) -> Seen | None:
        try:
            return seen_from(path, (await self._rest.call("GET", path, deadline)).data)
        except _NotFound as error:
            if "/backendServices/" in error.text:
                return None
            raise

    async def _authorize(self, _body: bytes, deadline: float) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await self._identity.token(deadline)}"}


class _NotFound(Misconfigured):
    """The API knows no such resource."""


def _meaning(answer: Answer, where: str) -> ProviderError | None:
    if answer.status == 404:
        return _NotFound(where, "compare the names in the config with what is in the project")
    return told(answer.status, reason_of(answer.data), where, "steerd-gcp-backend.yaml")


def _check(operation: Mapping[str, Any]) -> None:
    """Raises what an operation ended with, if not well."""
    errors = (operation.get("error") or {}).get("errors") or ()
    if not errors:
        return
    text = "; ".join(f"{e.get('code')}: {e.get('message')}" for e in errors)[:500]
    status = int(operation.get("httpErrorStatusCode") or 400)
    if status in (400, 404):
        raise Refused(f"the operation ended with {text}", "compare the backend service with the plan")
    raise told(status, "", f"the operation ended with {status}: {text}", "steerd-gcp-backend.yaml")
