"""The I/O of the azure-trafficmanager provider: one profile read, compared and patched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import remaining_s
from steerd.providers.azure_trafficmanager import CAPABILITIES, KIND, RIGHTS
from steerd.providers.azure_trafficmanager.translate import (
    Patch,
    Seen,
    allows,
    differences,
    observed_from,
    path_of,
    profiles_path,
    seen_from,
    translate,
)
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Denied,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Unreachable,
    Untold,
    Verified,
    check_listed,
)
from steerd.providers.rest import Answer, Rest
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["TrafficManager"]

API_VERSION = "api-version=2022-04-01"

PERMISSIONS_VERSION = "api-version=2022-04-01"

CHECK_RIGHT = "Microsoft.Authorization/permissions/read"
"""What asking for rights takes, and nothing else here does."""

SCOPE = "https://management.azure.com/.default"


class TrafficManager:
    """The profiles of one resource group."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._subscription, self._group = settings.text("subscription"), settings.text("resource_group")
        self._timeout_s = settings.number("timeout", 0.05, 60)
        rate = settings.number("calls_per_s", 0.01, 1000)
        self._rest = Rest(
            "Azure Resource Manager",
            settings.maybe_text("endpoint_url") or "https://management.azure.com",
            self._timeout_s,
            authorize=self._authorize,
            meaning=_meaning,
            pace=context.pace(f"azure/{self._subscription}", rate),
        )
        self._credential: Any = None

    async def open(self) -> None:
        """Nothing to start: credentials and connections come with the first call."""

    async def close(self) -> None:
        """Drops the connections; safe to call twice."""
        credential, self._credential = self._credential, None
        if credential is not None:
            await credential.close()
        await self._rest.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The profile's endpoints as they are now."""
        return observed_from(route, await self._see(path_of(self._subscription, self._group, route), deadline))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.azure_trafficmanager.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then patch all endpoints and the fence in one call."""
        patch: Patch = change.payload
        now = await self._see(patch.seen.path, deadline)
        check_stale(change, now.fence if now is not None else None)
        if now != patch.seen:
            raise Conflict(f"{change.route}: the profile has changed since it was read")
        await self._rest.call("PATCH", f"{patch.seen.path}?{API_VERSION}", deadline, patch.body)
        return Receipt(change.route, "the profile was patched")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """What Azure lists as the caller's permissions on each profile. Reading that list takes a right of its own."""
        found: list[str] = []
        for route in routes:
            path = path_of(self._subscription, self._group, route)
            try:
                granted = await self._granted(path, deadline)
            except Denied:
                return [Untold(f"this takes {CHECK_RIGHT}: packaging/azure/steerd-check-rights.json grants it")]
            found += [f"{right} on {route.name}" for right in RIGHTS["profile"] if not allows(granted, right)]
        return found

    async def listed(self, deadline: float, name: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Every profile of the resource group, or one: a role on one profile lets nobody list them."""
        path = profiles_path(self._subscription, self._group)
        if name is not None:
            return [(await self._rest.call("GET", f"{path}/{quote(name, safe='')}?{API_VERSION}", deadline)).data]
        return await self._pages(f"{path}?{API_VERSION}", deadline)

    async def _granted(self, path: str, deadline: float) -> list[Mapping[str, Any]]:
        """Permissions - List For Resource."""
        place = f"{path}/providers/Microsoft.Authorization/permissions?{PERMISSIONS_VERSION}"
        return await self._pages(place, deadline)

    async def _pages(self, place: str, deadline: float) -> list[Mapping[str, Any]]:
        """The rows of a list, over as many pages as they fill."""
        found: list[Mapping[str, Any]] = []
        following: str | None = place
        while following is not None:
            page = (await self._rest.call("GET", following, deadline)).data
            if not isinstance(page, dict) or not isinstance(page.get("value"), list):
                raise Refused("what answers is no list of Azure Resource Manager", "compare `endpoint_url`")
            found += page["value"]
            check_listed(found, place.partition("?")[0])
            following = self._rest.path_in(str(page["nextLink"])) if page.get("nextLink") else None
        return found

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _see(self, path: str, deadline: float) -> Seen | None:
        try:
            return seen_from(path, (await self._rest.call("GET", f"{path}?{API_VERSION}", deadline)).data)
        except _NoProfile:
            return None

    async def _authorize(self, _body: bytes, deadline: float) -> Mapping[str, str]:
        left = remaining_s(deadline, self._timeout_s)
        if self._credential is None:
            self._credential = DefaultAzureCredential()
        try:
            async with asyncio.timeout(left):
                token = await self._credential.get_token(SCOPE)
        except TimeoutError:
            raise Unreachable(
                f"no Azure credentials within {left:.1f} s", "is the identity service reachable?"
            ) from None
        except AzureError as error:
            raise Misconfigured(
                f"no Azure credentials: {str(error.message)[:300]}",
                "give this process a managed identity, workload identity or the AZURE_* variables:"
                " `az account get-access-token` shows what is found",
            ) from None
        return {"Authorization": f"Bearer {token.token}"}


class _NoProfile(Misconfigured):
    """There is no such profile."""


def _meaning(answer: Answer, where: str) -> ProviderError | None:
    told = answer.data.get("error") if isinstance(answer.data, dict) else None
    code = str(told.get("code", "")) if isinstance(told, dict) else ""
    if answer.status == 404 and code == "ResourceNotFound":
        return _NoProfile(where, "compare the route's `backend` with the profile's name")
    if answer.status == 403:
        return Denied(where, "give this identity the role of packaging/azure/steerd-trafficmanager.json")
    return None
