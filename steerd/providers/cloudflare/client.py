"""The I/O of the cloudflare provider: one load balancer and the account's pools read, compared and patched."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.base import (
    LISTED_MOST,
    Change,
    Conflict,
    Context,
    Denied,
    Incomplete,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Throttled,
    Unreachable,
    Untold,
    Verified,
)
from steerd.providers.cloudflare import CAPABILITIES, KIND, RIGHTS
from steerd.providers.cloudflare.rights import lacking
from steerd.providers.cloudflare.translate import (
    Call,
    Plan,
    Seen,
    differences,
    last_page,
    observed_from,
    pools_path,
    seen_from,
    translate,
    users_of,
    zone_path,
)
from steerd.providers.rest import Answer, Rest, read_secret
from steerd.providers.settings import Settings
from steerd.providers.written import Written, check_stale

__all__ = ["Cloudflare"]

_PRINTED = re.compile(r"[\x21-\x7e]+")


class Cloudflare:
    """The load balancers of one zone, and the pools of its account."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._context = context
        account, zone = settings.text("account_id"), settings.text("zone_id")
        self._places = {"zone": zone, "account": account}
        self._balancers, self._pools = zone_path(zone), pools_path(account)
        self._written = Written()  # the fence is in a text that people edit
        self._token = settings.secret("token")
        if self._token is None:
            raise settings.wrong("token", "is required", "write `token: {file: PATH}` or `{env: NAME}`")
        self._rest = Rest(
            "the Cloudflare API",
            settings.maybe_text("endpoint_url") or "https://api.cloudflare.com/client/v4",
            settings.number("timeout", 0.05, 60),
            authorize=self._authorize,
            meaning=_meaning,
            pace=context.pace(f"cloudflare/{account}", settings.number("calls_per_s", 0.01, 1000)),
        )

    async def open(self) -> None:
        """Checks that the token can be read; the connection is made by the first call."""
        self._bearer()

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        await self._rest.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The load balancer, by its hostname or id, and which of its pools are disabled."""
        listed = await self._all(self._balancers, deadline)
        found = next((b for b in listed if route.name in (b.get("name"), b.get("id"))), None)
        if found is None:
            return observed_from(route, None)
        return observed_from(route, await self._with_pools(f"{self._balancers}/{found['id']}", found, deadline))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.cloudflare.translate`."""
        return translate(route, self._pools, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare, then patch weights and fence, and pools in one call each where they are enabled or disabled. What was
        written is compared again before each call after the first. Raises `Incomplete` where one of those fails."""
        plan: Plan = change.payload
        self._written.check(change)
        now = await self._see(plan.seen.path, deadline)
        check_stale(change, now.fence if now is not None else None)
        if now != plan.seen:
            raise Conflict(f"{change.route}: the load balancer or a pool of it has changed since it was read")
        stands = plan.seen
        for n, call in enumerate(plan.calls):
            try:
                if n:
                    found = await self._still_ours(stands, change, deadline)
                    if call.pool is not None and call.body["enabled"] is False:
                        await self._only_ours(call, call.pool, found, deadline)
                _result(await self._rest.call("PATCH", call.path, deadline, call.body))
            except ProviderError as error:
                if not n:
                    raise
                done, left = (", ".join(c.what for c in calls) for calls in (plan.calls[:n], plan.calls[n:]))
                raise Incomplete(f"{change.route}: {done}", left, error) from error
            stands = call.after(stands)
            self._written.note(change)
        return Receipt(change.route, f"the load balancer was patched ({len(plan.calls)} calls)")

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:  # noqa: ARG002
        """What reading shows to lack, and what the token's own policies say, where it may read them. It is one token for all
        routes. Raises `Misconfigured` where it is not active."""
        found: list[str] = []
        for kind, path in (("zone", self._balancers), ("account", self._pools)):
            try:
                await self._all(path, deadline)
            except Denied:
                found += [f"{right} on {kind} {self._places[kind]}" for right in RIGHTS[kind]]
        place, token = await self._verified(deadline)
        if token.get("status") != "active":
            raise Misconfigured(f"the token is {token.get('status')}", "activate it, or make another one")
        try:
            own = _result(await self._rest.call("GET", f"{place}/{quote(str(token.get('id')), safe='')}", deadline))
        except Denied:
            said = "reading takes less, and what a token may do is told only to one with API Tokens Read; a write tries it out"
            return [*found, Untold(f"whether the token may write: {said}")]
        return list(dict.fromkeys([*found, *lacking(own.get("policies") or (), RIGHTS, self._places)]))

    async def _verified(self, deadline: float) -> tuple[str, Mapping[str, Any]]:
        """Where the token's kind (a user's, an account's) lives in the API, and what is told of it there."""
        account = f"/accounts/{quote(self._places['account'], safe='')}/tokens"
        try:
            return "/user/tokens", _result(await self._rest.call("GET", "/user/tokens/verify", deadline))
        except Misconfigured:
            return account, _result(await self._rest.call("GET", f"{account}/verify", deadline))

    async def _see(self, path: str, deadline: float) -> Seen | None:
        try:
            found = _result(await self._rest.call("GET", path, deadline))
        except _NotFound:
            return None
        return await self._with_pools(path, found, deadline)

    async def _still_ours(self, stands: Seen, change: Change, deadline: float) -> Mapping[str, Any]:
        """The load balancer as it stands. Raises `Conflict` where somebody wrote since our first call: what adds for us may
        take for them."""
        read: Mapping[str, Any] = _result(await self._rest.call("GET", stands.path, deadline))
        found = seen_from(stands.path, read, ())
        if found.fence != change.fence:
            raise Conflict(
                f"{change.route}: {found.fence.text if found.fence else 'no fence'!r} stands there, not ours"
            )
        if found.split != stands.split:
            raise Conflict(f"{change.route}: the load balancer has changed since our first call")
        return read

    async def _only_ours(self, call: Call, pool: str, found: Mapping[str, Any], deadline: float) -> None:
        """Raises `Misconfigured` where disabling `pool` takes it from more than the load balancer `found` and its weights: the
        weights have taken the target out, and no pool is worth what nobody asked for."""
        references = _result(await self._rest.call("GET", f"{call.path}/references", deadline)) or []
        wrong = users_of(pool, found, references)
        if wrong:
            raise Misconfigured(
                f"{call.what} would take it from {', '.join(wrong)}: the target is out by its weight",
                "take `disable_pools` out of the route, or give the load balancer pools, and a fallback pool, of its own",
            )

    async def _with_pools(self, path: str, found: Mapping[str, Any], deadline: float) -> Seen:
        return seen_from(path, found, await self._all(self._pools, deadline))

    async def _all(self, path: str, deadline: float) -> Sequence[Mapping[str, Any]]:
        """Every page of a list. Raises `Refused` where they do not come to an end."""
        found: dict[str, Mapping[str, Any]] = {}
        for page in itertools.count(1):
            answer = await self._rest.call("GET", path if page == 1 else f"{path}?page={page}", deadline)
            rows = {str(row.get("id")): row for row in _result(answer) or ()}
            new = rows.keys() - found.keys()
            found.update(rows)
            if len(found) > LISTED_MOST:
                raise Refused(f"the Cloudflare API lists more than {LISTED_MOST} entries", "is it the right URL?")
            if not new or last_page(answer.data.get("result_info") or {}, page, len(rows), len(found)):
                break
        return list(found.values())

    async def _authorize(self, _body: bytes, _deadline: float) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._bearer()}"}

    def _bearer(self) -> str:
        assert self._token is not None, "the constructor checked it"
        what = f"the API token of providers.{self._context.spec.name}"
        token = read_secret(self._context, self._token, what)
        if not _PRINTED.fullmatch(token):
            raise Misconfigured(
                f"{what} has blanks or control characters in it", "put the token there, and nothing else"
            )
        return token


class _NotFound(Misconfigured):
    """The API knows no such resource."""


def _result(answer: Answer) -> Any:
    """What the envelope holds. Raises where it tells of no success, whatever the status."""
    if not isinstance(answer.data, dict):
        raise Unreachable(f"the Cloudflare API answers {answer.status} without JSON", "is there a proxy between?")
    if answer.data.get("success") is not True:
        where = f"the Cloudflare API answers {answer.status} without success: {answer.text}"
        raise _meaning(answer, where) or Refused(where, "look for these codes in Cloudflare's API reference")
    return answer.data.get("result")


def _meaning(answer: Answer, where: str) -> ProviderError | None:
    codes = {e.get("code") for e in _errors(answer)}
    if 9109 in codes:  # one code for three things, told apart by its sentence
        said = " ".join(str(e.get("message")) for e in _errors(answer) if e.get("code") == 9109).lower()
        if "location" in said:
            return Misconfigured(
                where, "the token is for other addresses: add this coordinator's, as it is named here, to its list"
            )
        if "invalid access token" in said:
            return Misconfigured(where, "the token is not taken: make another one, and put it in the old one's place")
    if answer.status == 401 or codes & {6003, 6111}:
        return Misconfigured(where, "the token is not taken: look whether it is whole, active and not expired")
    if answer.status == 403 or codes & {9109, 10000}:
        return Denied(
            where, "give the token the permission groups of packaging/cloudflare, for this zone and this account"
        )
    if answer.status == 404 or 7003 in codes:
        kind = Misconfigured if 7003 in codes else _NotFound
        return kind(where, "compare `zone_id`, `account_id` and the route's `pools` with what is there")
    if answer.status == 429:
        return Throttled(
            where,
            "1200 calls in 5 minutes are used up, by people and tools too: give steerd a token of a user of its own",
        )
    return None


def _errors(answer: Answer) -> list[Mapping[str, Any]]:
    """Cloudflare's `errors`, those of their chains among them."""
    told = answer.data.get("errors") if isinstance(answer.data, dict) else None
    listed = [e for e in told if isinstance(e, dict)] if isinstance(told, list) else []
    return [*listed, *(c for e in listed for c in e.get("error_chain") or () if isinstance(c, dict))]
