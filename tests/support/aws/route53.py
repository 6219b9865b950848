# ruff: noqa: N803  parameters have the API's own names
"""A local Route 53 that refuses what AWS documents it refuses, and name servers that learn of a batch when it is INSYNC.

Rules (API reference of ChangeResourceRecordSets, and the quotas): a batch is carried out whole or not at all; a DELETE repeats
the record set exactly; a CREATE needs its absence; a simple record and weighted ones exclude each other, a CNAME excludes all
else; one TTL in a weighted group; at most 100 in it, 1000 values a batch, UPSERTs counted twice; one pending batch per zone.
"""

from __future__ import annotations

import random
import socketserver
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

from tests.support.aws.model import AwsError, Wire
from tests.support.aws.server import AwsServer
from tests.support.servers import free_port

__all__ = ["LocalRoute53", "NameServer"]

ZONE_ID = "Z0LOCAL"
_ROUTING = (
    "Weight",
    "Region",
    "GeoLocation",
    "Failover",
    "MultiValueAnswer",
    "CidrRoutingConfig",
    "GeoProximityLocation",
)

Key = tuple[str, str, str]


def _name(name: str) -> str:
    name = name.lower().replace("\\052", "*")
    return name if name.endswith(".") else f"{name}."


def _shown(name: str) -> str:
    return name.replace("*", "\\052")


def _key(record: Mapping[str, Any]) -> Key:
    return _name(record["Name"]), record["Type"], record.get("SetIdentifier", "")


def _order(key: Key) -> tuple[Any, ...]:
    return tuple(reversed(key[0].rstrip(".").split("."))), key[1], key[2]


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """For comparison: values in any order, names in one spelling."""
    made = {**record, "Name": _name(record["Name"])}
    if "ResourceRecords" in made:
        made["ResourceRecords"] = sorted(r["Value"] for r in made["ResourceRecords"])
    if "AliasTarget" in made:
        made["AliasTarget"] = {**made["AliasTarget"], "DNSName": _name(made["AliasTarget"]["DNSName"])}
    return made


@cache
def _valid(kind: str, value: str) -> bool:
    try:
        dns.rdata.from_text("IN", kind, value)
    except dns.exception.DNSException:
        return False
    return True


class LocalRoute53(AwsServer):
    """One hosted zone, `zone`. `hold_pending` keeps batches PENDING until `settle`."""

    def __init__(self, zone: str = "acme.example", zone_id: str = ZONE_ID) -> None:
        super().__init__(Wire("route53", invalid="InvalidInput"))
        self.zone, self.zone_id = f"{zone}.", zone_id
        self.records: dict[Key, dict[str, Any]] = {}
        self.served: dict[Key, dict[str, Any]] = {}
        """What the name servers know."""
        self.changes: dict[str, str] = {}
        self.hold_pending = False
        self.private = False
        self.page = 300
        self.name_servers = ["localhost"]

    # -- operations ------------------------------------------------------------------------------------------------

    def GetHostedZone(self, Id: str) -> dict[str, Any]:
        self._known(Id)
        zone = {
            "Id": f"/hostedzone/{Id}",
            "Name": self.zone,
            "CallerReference": "made-for-tests",
            "Config": {"PrivateZone": self.private},
        }
        return {"HostedZone": zone} | ({} if self.private else {"DelegationSet": {"NameServers": self.name_servers}})

    def GetChange(self, Id: str) -> dict[str, Any]:
        change_id = Id.removeprefix("/change/")
        if change_id not in self.changes:
            raise AwsError("NoSuchChange", f"Could not find resource with ID: {Id}")
        return {"ChangeInfo": self._info(change_id)}

    def ListResourceRecordSets(
        self,
        HostedZoneId: str,
        StartRecordName: str | None = None,
        StartRecordType: str | None = None,
        StartRecordIdentifier: str | None = None,
        MaxItems: str = "300",
    ) -> dict[str, Any]:
        self._known(HostedZoneId)
        if StartRecordName and "" in StartRecordName.removesuffix(".").split("."):
            raise AwsError("InvalidInput", f"FATAL problem: DomainLabelEmpty encountered with '{StartRecordName}'")
        if StartRecordType and not StartRecordName:
            raise AwsError("InvalidInput", "a type needs a name")
        if StartRecordIdentifier and not (StartRecordName and StartRecordType):
            raise AwsError("InvalidInput", "an identifier needs a name and a type")
        start = _order((_name(StartRecordName or "."), StartRecordType or "", StartRecordIdentifier or ""))
        keys = sorted((k for k in self.records if not StartRecordName or _order(k) >= start), key=_order)
        most = min(int(MaxItems), self.page)
        page, rest = keys[:most], keys[most:]
        shown = [{**self.records[k], "Name": _shown(k[0])} for k in page]
        answer: dict[str, Any] = {"ResourceRecordSets": shown, "IsTruncated": bool(rest), "MaxItems": str(most)}
        if rest:
            answer |= {"NextRecordName": _shown(rest[0][0]), "NextRecordType": rest[0][1]}
            answer |= {"NextRecordIdentifier": rest[0][2]} if rest[0][2] else {}
        return answer

    def ChangeResourceRecordSets(self, HostedZoneId: str, ChangeBatch: Mapping[str, Any]) -> dict[str, Any]:
        self._known(HostedZoneId)
        if "PENDING" in self.changes.values():
            raise AwsError(
                "PriorRequestNotComplete",
                "The request was rejected because Route 53 was still processing a prior request.",
                headers={"Retry-After": "3"},
            )
        changes = ChangeBatch["Changes"]
        values = [r["Value"] for c in changes for r in c["ResourceRecordSet"].get("ResourceRecords", ())]
        counted = len(values) + sum(
            len(c["ResourceRecordSet"].get("ResourceRecords", ())) for c in changes if c["Action"] == "UPSERT"
        )
        if counted > 1000 or sum(map(len, values)) > 32_000:
            raise AwsError("InvalidChangeBatch", "Number of records limit of 1000 exceeded.")
        new = dict(self.records)
        for change in changes:
            self._carry_out(new, change["Action"], dict(change["ResourceRecordSet"]))
        for name in {k[0] for k in new if k[0] in {_name(c["ResourceRecordSet"]["Name"]) for c in changes}}:
            self._whole(new, name)
        self.records = new
        change_id = f"C{next(self._ids):08d}"
        self.changes[change_id] = "PENDING"
        if not self.hold_pending:
            self.settle()
        return {"ChangeInfo": self._info(change_id)}

    # -- the rules -------------------------------------------------------------------------------------------------

    def _carry_out(self, records: dict[Key, dict[str, Any]], action: str, record: dict[str, Any]) -> None:
        key = _key(record)
        if not f".{key[0]}".endswith(f".{self.zone}"):
            raise AwsError("InvalidChangeBatch", f"[RRSet with DNS name {key[0]} is not permitted in zone {self.zone}]")
        where = f"[name='{key[0]}', type='{key[1]}'" + (f", set identifier='{key[2]}']" if key[2] else "]")
        if action == "DELETE":
            if key not in records:
                raise AwsError(
                    "InvalidChangeBatch", f"[Tried to delete resource record set {where} but it was not found]"
                )
            if _plain(records[key]) != _plain(record):
                raise AwsError(
                    "InvalidChangeBatch",
                    f"[Tried to delete resource record set {where} but the values provided do not match the current values]",
                )
            del records[key]
            return
        if action == "CREATE" and key in records:
            raise AwsError("InvalidChangeBatch", f"[Tried to create resource record set {where} but it already exists]")
        self._one(key, record)
        records[key] = {**record, "Name": key[0]}

    def _one(self, key: Key, record: Mapping[str, Any]) -> None:
        alias = "AliasTarget" in record
        if alias == ("ResourceRecords" in record) or alias == ("TTL" in record):
            raise AwsError(
                "InvalidInput", f"Invalid request: {key[0]} needs either an alias target or values with a TTL"
            )
        routing = [k for k in _ROUTING if k in record]
        if bool(routing) != bool(key[2]) or len(routing) > 1:
            raise AwsError("InvalidInput", f"Invalid request: {key[0]}: a set identifier goes with one routing policy")
        for value in (r["Value"] for r in record.get("ResourceRecords", ())):
            if not _valid(key[1], value):
                raise AwsError("InvalidChangeBatch", f"[Invalid Resource Record: {value!r} is not a valid {key[1]}]")
        if key[1] == "CNAME" and len(record.get("ResourceRecords", ())) > 1:
            raise AwsError("InvalidChangeBatch", f"[{key[0]}: a CNAME has one value]")

    def _whole(self, records: Mapping[Key, dict[str, Any]], name: str) -> None:
        here = {k: r for k, r in records.items() if k[0] == name}
        kinds = {k[1] for k in here}
        if "CNAME" in kinds and len(kinds) > 1:
            raise AwsError(
                "InvalidChangeBatch",
                f"[RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with other records with the same"
                f" DNS name in zone {self.zone}]",
            )
        for kind in kinds:
            group = [r for k, r in here.items() if k[1] == kind]
            if len(group) > 1 and any(not r.get("SetIdentifier") for r in group):
                raise AwsError(
                    "InvalidChangeBatch",
                    f"[RRSet with DNS name {name}, type {kind} cannot be created as other RRSets exist with the same name and"
                    " type but a different routing policy]",
                )
            if len({next((p for p in _ROUTING if p in r), "") for r in group}) > 1:
                raise AwsError("InvalidChangeBatch", f"[{name} {kind}: routing policies cannot be mixed]")
            if len({r["TTL"] for r in group if "TTL" in r}) > 1:
                raise AwsError("InvalidChangeBatch", f"[{name} {kind}: the TTLs of a weighted group must be the same]")
            if len(group) > 100:
                raise AwsError("InvalidChangeBatch", f"[{name} {kind}: more than 100 records with one name and type]")

    def _known(self, zone_id: str) -> None:
        if zone_id != self.zone_id:
            raise AwsError("NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}")

    def _info(self, change_id: str) -> dict[str, Any]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return {"Id": f"/change/{change_id}", "Status": self.changes[change_id], "SubmittedAt": at}

    # -- the tests' side -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Every batch reaches the name servers."""
        with self.lock:
            self.served = dict(self.records)
            self.changes = dict.fromkeys(self.changes, "INSYNC")

    def put(self, record: Mapping[str, Any]) -> None:
        """Somebody else's write."""
        with self.lock:
            key = _key(record)
            self._one(key, record)
            self.records[key] = {**record, "Name": key[0]}
            self._whole(self.records, key[0])
            self.settle()

    def drop(self, name: str, kind: str, identifier: str = "") -> None:
        """Somebody else's deletion."""
        with self.lock:
            del self.records[_name(name), kind, identifier]
            self.settle()

    def weights(self, name: str, kind: str = "A") -> dict[str, int]:
        """Set identifier -> weight."""
        with self.lock:
            return {k[2]: r["Weight"] for k, r in self.records.items() if k[:2] == (_name(name), kind)}


class NameServer:
    """An authoritative server over UDP and TCP that answers from `served`, weighted ones at random. All weights 0 means all
    are equal, as Route 53 documents."""

    def __init__(self, source: LocalRoute53) -> None:
        self.source = source
        self._random = random.Random(7)
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                sock.sendto(outer.answer(data), self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while len(head := self.rfile.read(2)) == 2:
                    answer = outer.answer(self.rfile.read(int.from_bytes(head)))
                    self.wfile.write(len(answer).to_bytes(2) + answer)

        self.port = free_port()
        self._tcp = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), Tcp)
        self._tcp.daemon_threads = True
        self._udp = socketserver.ThreadingUDPServer(("127.0.0.1", self.port), Udp)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> NameServer:
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()

    def answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        with self.source.lock:
            here = {k: r for k, r in self.source.served.items() if k[0] == name}
        if not f".{name}".endswith(f".{self.source.zone}"):
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()
        response.flags |= dns.flags.AA
        group = [r for k, r in here.items() if k[1] == kind]
        if group:
            weights = [r.get("Weight", 1) for r in group]
            record = self._random.choices(group, weights if any(weights) else None)[0]
            values = [r["Value"] for r in record.get("ResourceRecords", ())] or ["192.0.2.200"]  # an alias resolved
            response.answer.append(dns.rrset.from_text_list(question.name, record.get("TTL", 60), "IN", kind, values))
        elif not here:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()
