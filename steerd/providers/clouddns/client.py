"""The I/O of the clouddns provider: google-cloud-dns's REST connection in threads, and the zone's name servers.

The library itself knows no routing policies, so its connection is used and its record sets are not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud import dns  # type: ignore[import-untyped]  # comes without types

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers import authority
from steerd.providers.asking import Server, parse_server, remaining_s
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    ProviderError,
    Receipt,
    Throttled,
    Unreachable,
    Verified,
    check_listed,
)
from steerd.providers.batch import Batch
from steerd.providers.clouddns import CAPABILITIES, KIND, RIGHTS
from steerd.providers.clouddns.translate import TYPES, Seen, check_route, observed_from, translate
from steerd.providers.gcp import reason_of, told
from steerd.providers.gcp_client import Identity, no_identity
from steerd.providers.records import fence_name
from steerd.providers.rest import retry_after_s
from steerd.providers.sent import Sent
from steerd.providers.served import behind
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["CloudDNS"]

THREADS = 4
"""Calls of one provider under way at once."""

PENDING_GAP_S = 0.25
"""Between two looks at a pending change."""

SCOPE = "https://www.googleapis.com/auth/ndev.clouddns.readwrite"


class CloudDNS:
    """One managed zone."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._project, zone = settings.text("project"), settings.text("managed_zone")
        self._path = f"/projects/{quote(self._project, safe='')}/managedZones/{quote(zone, safe='')}"
        self._endpoint = settings.maybe_text("endpoint_url")
        self._timeout_s = settings.number("timeout", 0.05, 60)
        # `verify: []` is an answer, and not the same as leaving it out.
        self._verify_none = context.spec.settings.get("verify") is not None and not settings.strings("verify")
        try:
            self._verify = tuple(parse_server(text) for text in settings.strings("verify"))
        except ValueError as error:
            raise settings.wrong("verify", str(error)) from None
        rate = settings.number("calls_per_s", 0.01, 1000)
        self._pace = context.pace(f"gcp/{self._project}/dns", rate)
        self._identity = Identity(SCOPE, self._timeout_s)
        self._pool: ThreadPoolExecutor | None = None
        self._connection: Any = None
        self._zone: Mapping[str, Any] | None = None
        self._sent = Sent("done", PENDING_GAP_S)

    async def open(self) -> None:
        """Nothing to start: threads and connections come with the first call."""

    async def close(self) -> None:
        """Drops connections and calls that have not begun; safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._identity.close()
        self._connection = None

    async def read(self, route: Route, deadline: float) -> Observed:
        """The name's record sets and the fence. The fence is read first: a change made between the two readings then stands
        in the record sets and not in the fence, and ours is refused."""
        check_route(route)
        txt = await self._listed(fence_name(route.name), deadline)
        records = await self._listed(route.name, deadline)
        return observed_from(route, Seen({t: r for t, r in records.items() if t in TYPES}, txt.get("TXT")))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.clouddns.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """One change: all of it, or nothing."""
        batch: Batch = change.payload
        check_stale(change, batch.seen)
        answer = await self._call("POST", "/changes", deadline, body=dict(batch.changes[0]))
        return self._sent.note(change, str(answer["id"]))

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """`testIamPermissions` of the managed zone, which takes no right; Cloud DNS knows none by record."""
        del routes
        asked = RIGHTS["managedZone"]
        answer = await self._call("POST", ":testIamPermissions", deadline, body={"permissions": list(asked)})
        return [right for right in asked if right not in answer.get("permissions", ())]

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """`done` where the change is ours (which says sent, not served), the record sets, and every name server."""
        pending = await self._sent.pending(change, deadline, partial(self._status, deadline))
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence)
        wrong = [] if again.nothing else [f"the managed zone is not as desired: {again.summary}"]
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.insert(0, "the fence in the managed zone is not ours")
        wrong += [pending] if pending else []
        notes: list[str] = []
        if not wrong:
            servers, notes = await self._authoritative(deadline)
            wrong = await behind(servers, route, change, deadline, self._timeout_s)
            if not servers and not self._verify_none and not self._private:
                wrong, notes = [*notes, "where DNS is not let out of here, `verify: []` says so"], []
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong + notes))

    async def _status(self, deadline: float, change_id: str) -> str | None:
        return str((await self._call("GET", f"/changes/{quote(change_id, safe='')}", deadline))["status"])

    async def _listed(self, name: str, deadline: float) -> dict[str, Mapping[str, Any]]:
        """Type -> record set of one name."""
        return {str(r["type"]): r for r in await self.listed(deadline, name)}

    async def listed(self, deadline: float, name: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Every record set of the managed zone, or of one name, over as many pages as they fill."""
        query = {"name": f"{name}."} if name is not None else {}
        found: list[Mapping[str, Any]] = []
        while True:
            page = await self._call("GET", "/rrsets", deadline, query)
            found += page.get("rrsets", ())
            check_listed(found, f"managed zone {self._path.rpartition('/')[2]}")
            if not page.get("nextPageToken"):
                return found
            query = {**query, "pageToken": str(page["nextPageToken"])}

    @property
    def _private(self) -> bool:
        return (self._zone or {}).get("visibility") == "private"

    async def _authoritative(self, deadline: float) -> tuple[list[Server], list[str]]:
        if self._verify or self._verify_none:
            return list(self._verify), []
        if self._zone is None:
            self._zone = await self._call("GET", "", deadline)
        if self._private:
            return [], ["a private zone has no name servers that could be asked from outside its networks"]

        async def elsewhere(_name: str) -> list[str] | None:
            return None

        return await authority.servers_of(self._zone.get("nameServers", ()), elsewhere, deadline, self._timeout_s)

    # -- the API ---------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        deadline: float,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """One call. Raises a `ProviderError`."""
        await self._pace.take(deadline)
        left = remaining_s(deadline, self._timeout_s)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="steerd-clouddns")
        send = partial(self._send, method, path, query, body, time.monotonic() + left)
        try:
            async with asyncio.timeout(left):
                return await asyncio.get_running_loop().run_in_executor(self._pool, send)
        except (TimeoutError, requests.Timeout):
            raise Unreachable(f"Cloud DNS did not answer within {left:.1f} s") from None
        except GoogleAPICallError as error:
            raise self._told(method, error) from None
        except GoogleAuthError as error:
            raise no_identity(error) from None
        except (requests.RequestException, ValueError) as error:
            raise Unreachable(f"Cloud DNS: {error}", "is the API endpoint reachable from here (proxy)?") from None

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None, until: float
    ) -> Any:
        """In a thread: what waited for one too long is not sent."""
        if self._connection is None:
            options = {"api_endpoint": self._endpoint} if self._endpoint else None
            client = dns.Client(project=self._project, credentials=self._identity.credentials(), client_options=options)
            self._connection = client._connection  # noqa: SLF001  the library's own way to what it has no method for
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return self._connection.api_request(
            method=method, path=f"{self._path}{path}", query_params=query, data=body, timeout=left
        )

    def _told(self, method: str, error: GoogleAPICallError) -> ProviderError:
        status = int(error.code or 0)
        reason = reason_of({"error": {"errors": error.errors}})
        where = f"Cloud DNS answers {status} ({reason}) to {method}: {str(error.message)[:300]}"
        if status == 404 and method == "POST" and "deletions" in str(error.message):
            return Conflict(f"somebody else wrote in between: {where}")
        found = told(status, reason, where, "steerd-clouddns.yaml")
        headers = error.response.headers if error.response is not None else {}
        found.retry_after_s = retry_after_s(headers, time.time())
        if isinstance(found, Throttled):
            found.retry_after_s = found.retry_after_s or 1.0
            self._pace.pause(found.retry_after_s)
        return found
