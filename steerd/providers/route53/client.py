"""The I/O of the route53 provider: listing record sets, one change batch per write, GetChange, the name servers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import Server, parse_server
from steerd.providers.aws import retry_after_s
from steerd.providers.aws_client import Caller
from steerd.providers.aws_rights import Need, Simulation
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Throttled,
    Unreachable,
    Verified,
    check_listed,
)
from steerd.providers.batch import Batch
from steerd.providers.records import fence_name
from steerd.providers.route53 import CAPABILITIES, KIND, RIGHTS
from steerd.providers.route53.names import servers_of
from steerd.providers.route53.records import RecordSet, plain_name
from steerd.providers.route53.translate import Seen, check_route, condition_keys, observed_from, translate
from steerd.providers.sent import Sent
from steerd.providers.served import behind
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["Route53"]

PAGE = "300"
"""Record sets per page: the most the API gives."""

PENDING_GAP_S = 1.0
"""Between two looks at a change that is on its way; most are there within seconds, AWS promises 60 s as a rule."""

BUSY_S = 2.0
"""When to come again while another batch of the zone is pending, where AWS does not say."""

_MOVED_ON = re.compile(
    r"but it was not found|but it already exists|values provided do not match the current values", re.IGNORECASE
)
_NOT_HERE = re.compile(r"is not permitted in zone", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Zone:
    """What the hosted zone says of itself. `servers` is empty for a private one."""

    servers: tuple[str, ...]
    private: bool


class Route53:
    """One hosted zone. Reading is always of what was accepted last, pending batches included (API reference)."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._zone_id = settings.text("hosted_zone").removeprefix("/hostedzone/")
        # `verify: []` is an answer, and not the same as leaving it out.
        self._verify_none = context.spec.settings.get("verify") is not None and not settings.strings("verify")
        self._verify = tuple(_server(settings, text) for text in settings.strings("verify"))
        self._api = Caller(
            context,
            settings,
            "route53",
            action="route53",
            policy="route53",
            rate_per_s=settings.number("calls_per_s", 0.01, 1000),
            meaning=_meaning,
            region="us-east-1",
        )
        self._rights = Simulation(context, settings)
        self._zone: Zone | None = None
        self._sent = Sent("INSYNC", PENDING_GAP_S)

    async def open(self) -> None:
        """Nothing to start: threads and connections come with the first call."""

    async def close(self) -> None:
        """Drops connections and calls that have not begun."""
        self._api.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The name's record sets and the fence. The fence is read first: a batch made between the two readings then
        stands in the record sets and not in the fence, and ours is refused."""
        check_route(route)
        txt = await self._listed(fence_name(route.name), deadline, "TXT")
        if any("SetIdentifier" in r for r in txt):
            raise Misconfigured(
                f"{route.key}: the TXT at {fence_name(route.name)} has a routing policy, and cannot hold the fence",
                "delete it: steerd makes its own",
            )
        records = tuple(r for r in await self._listed(route.name, deadline) if r["Type"] in ("A", "AAAA", "CNAME"))
        return observed_from(route, Seen(records, txt[0] if txt else None))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.route53.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """One ChangeResourceRecordSets call: all of it, or nothing."""
        batch: Batch = change.payload
        check_stale(change, batch.seen)
        params = {"HostedZoneId": self._zone_id, "ChangeBatch": {"Comment": "steerd", "Changes": list(batch.changes)}}
        answer = await self._api.call("ChangeResourceRecordSets", deadline, params)
        return self._sent.note(change, str(answer["ChangeInfo"]["Id"]).removeprefix("/change/"))

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """By IAM's simulation; a write is asked for with its names, types and actions, which a policy may be bound to."""
        zone = (f"arn:aws:route53:::hostedzone/{self._zone_id}",)
        needs = [Need(RIGHTS["zone"], zone), Need(RIGHTS["change"], ("arn:aws:route53:::change/C0",))]
        needs += [Need(RIGHTS["records"], zone, condition_keys(route)) for route in routes]
        return await self._rights.missing(needs, deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """INSYNC where the batch is ours, the record sets as read back, and every name server of the zone."""
        pending = await self._sent.pending(change, deadline, partial(self._status, deadline))
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence)
        wrong = [] if again.nothing else [f"the hosted zone is not as desired: {again.summary}"]
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.insert(0, "the fence in the hosted zone is not ours")
        if pending:
            wrong.append(pending)
        notes: list[str] = []
        if not wrong:
            servers, notes = await self._authoritative(deadline)
            wrong = await behind(servers, route, change, deadline, self._api.timeout_s)
            if not servers and self._zone is not None and not self._zone.private:
                wrong, notes = [*notes, "where DNS is not let out of here, `verify: []` says so"], []
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong + notes))

    async def _status(self, deadline: float, change_id: str) -> str | None:
        try:
            answer = await self._api.call("GetChange", deadline, {"Id": change_id})
        except _Forgotten:
            return None
        return str(answer["ChangeInfo"]["Status"])

    async def _listed(self, name: str, deadline: float, kind: str | None = None) -> list[RecordSet]:
        """All record sets of one name (and type), over as many pages as they fill."""
        place: dict[str, Any] = {"StartRecordName": f"{name}.", "MaxItems": PAGE}
        if kind is not None:
            place.update(StartRecordType=kind)
        found: list[RecordSet] = []
        while True:
            page = await self._api.call("ListResourceRecordSets", deadline, {"HostedZoneId": self._zone_id, **place})
            for record in page["ResourceRecordSets"]:
                if plain_name(record["Name"]) != plain_name(name) or (kind is not None and record["Type"] != kind):
                    return found
                found.append(record)
            if not page["IsTruncated"] or plain_name(page["NextRecordName"]) != plain_name(name):
                return found
            place = _after(page)

    async def listed(self, deadline: float, name: str | None = None) -> Sequence[RecordSet]:
        """Every record set of the zone, or of one name."""
        if name is not None:
            return await self._listed(name, deadline)
        place: dict[str, Any] = {"MaxItems": PAGE}
        found: list[RecordSet] = []
        while True:
            page = await self._api.call("ListResourceRecordSets", deadline, {"HostedZoneId": self._zone_id, **place})
            found += page["ResourceRecordSets"]
            check_listed(found, f"hosted zone {self._zone_id}")
            if not page["IsTruncated"]:
                return found
            place = _after(page)

    async def _authoritative(self, deadline: float) -> tuple[list[Server], list[str]]:
        """The name servers to ask, and remarks on those that cannot be asked."""
        if self._verify or self._verify_none:
            return list(self._verify), []
        if self._zone is None:
            answer = await self._api.call("GetHostedZone", deadline, {"Id": self._zone_id})
            names = answer.get("DelegationSet", {}).get("NameServers", ())
            private = bool(answer["HostedZone"].get("Config", {}).get("PrivateZone", False))
            self._zone = Zone(tuple(str(n) for n in names), private)
        if self._zone.private:
            return [], ["a private zone has no name servers that could be asked from outside its networks"]
        return await servers_of(self._zone.servers, deadline, self._api.timeout_s)


def _after(page: Mapping[str, Any]) -> dict[str, Any]:
    """Where the page after this one begins."""
    names = {"StartRecordName": "NextRecordName", "StartRecordType": "NextRecordType"}
    place = {start: page[then] for start, then in names.items()}
    if page.get("NextRecordIdentifier"):
        place["StartRecordIdentifier"] = page["NextRecordIdentifier"]
    return {**place, "MaxItems": PAGE}


class _Forgotten(Unreachable):
    """Route 53 does not know the change any more."""


def _meaning(code: str, message: str, response: Mapping[str, Any]) -> ProviderError | None:
    said = " ".join([message, *map(str, response.get("messages", ()))]).strip()
    if code == "InvalidChangeBatch":
        if _MOVED_ON.search(said):
            return Conflict(f"somebody else wrote in between: {said}")
        if _NOT_HERE.search(said):
            return Misconfigured(said, "use the provider entry of the hosted zone that holds the name")
        return Refused(f"InvalidChangeBatch: {said}", "compare the record sets of the name with the route")
    if code == "PriorRequestNotComplete":
        # It is the zone that is busy, not the account: other calls need not wait.
        return Throttled(said, "another batch of this hosted zone is on its way", retry_after_s(response) or BUSY_S)
    if code == "NoSuchHostedZone":
        return Misconfigured(said, "compare `hosted_zone` with the zone's id, and the account that is asked")
    if code == "NoSuchChange":
        return _Forgotten(f"GetChange: {said}")
    return None


def _server(settings: Settings, text: str) -> Server:
    try:
        return parse_server(text)
    except ValueError as error:
        raise settings.wrong("verify", str(error)) from None
