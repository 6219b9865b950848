"""A local Cloud DNS: changes are atomic, deletions must match exactly, and `done` comes after a while."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from tests.support.cloud.google import GoogleServer, google_error

__all__ = ["LocalCloudDns"]

PAGE = 2


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Without what the server adds."""
    if isinstance(record, dict):
        return {k: plain(v) for k, v in record.items() if k not in ("kind", "signatureRrdatas") and v != []}
    return [plain(v) for v in record] if isinstance(record, list) else record


class LocalCloudDns(GoogleServer):
    """`looks` is how often a change is pending when asked for."""

    api = "dns.v1"

    def __init__(self, zone: str = "acme.example") -> None:
        super().__init__()
        self.zone, self.visibility, self.looks = f"{zone}.", "public", 1
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.sent: dict[tuple[str, str], dict[str, Any]] = {}
        self._changes: dict[str, list[Any]] = {}
        self._ids = itertools.count(1)

    @property
    def served(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """What name servers answer with, in the shape of tests.support.aws.route53."""
        made: dict[tuple[str, str, str], dict[str, Any]] = {}
        for (name, kind), record in self.sent.items():
            items = record.get("routingPolicy", {}).get("wrr", {}).get("items") or [
                {"rrdatas": record.get("rrdatas", [])}
            ]
            for n, item in enumerate(items):
                values = [{"Value": v} for v in item["rrdatas"]]
                made[name, kind, str(n)] = {
                    "Weight": item.get("weight", 1),
                    "TTL": record["ttl"],
                    "ResourceRecords": values,
                }
        return made

    def put(self, record: dict[str, Any]) -> None:
        """By hand, served at once."""
        with self.lock:
            key = record["name"], record["type"]
            self.records[key] = self.sent[key] = copy.deepcopy(record)

    def items(self, name: str, kind: str = "A") -> list[dict[str, Any]]:
        with self.lock:
            record = self.records.get((f"{name}.", kind), {})
            return copy.deepcopy(record.get("routingPolicy", {}).get("wrr", {}).get("items", []))

    def set_items(self, name: str, items: list[dict[str, Any]], kind: str = "A") -> None:
        with self.lock:
            self.put({**self.records[f"{name}.", kind], "routingPolicy": {"wrr": {"items": items}}})

    # -- the API's methods -----------------------------------------------------------------------------------------

    def _of(self, project: str, zone: str) -> None:
        if (project, zone) != ("acme", "main"):
            raise google_error(404, "notFound", f"The 'parameters.managedZone' resource named '{zone}' does not exist.")

    def dns_managedZones_get(self, project: str, managedZone: str) -> Any:  # noqa: N803  the API's words
        self._of(project, managedZone)
        return {"name": managedZone, "dnsName": self.zone, "visibility": self.visibility, "nameServers": ["127.0.0.1."]}

    def dns_managedZones_testIamPermissions(self, resource: str, body: dict[str, Any]) -> Any:
        # Of a zone that is not there the API tells an empty set, no error (discovery document).
        return self.granted(body, "dns.") if resource == "projects/acme/managedZones/main" else {}

    def dns_resourceRecordSets_list(
        self,
        project: str,
        managedZone: str,  # noqa: N803  the API's words
        name: str | None = None,
        pageToken: str = "0",  # noqa: N803
    ) -> Any:
        self._of(project, managedZone)
        found = sorted((k, r) for k, r in self.records.items() if name in (None, k[0]))
        rows = [{**copy.deepcopy(r), "kind": "dns#resourceRecordSet"} for _, r in found]
        start = int(pageToken)
        more = {"nextPageToken": str(start + PAGE)} if len(rows) > start + PAGE else {}
        return {"kind": "dns#resourceRecordSetsListResponse", "rrsets": rows[start : start + PAGE], **more}

    def dns_changes_get(self, project: str, managedZone: str, changeId: str) -> Any:  # noqa: N803
        self._of(project, managedZone)
        left, additions, deletions = self._changes[changeId]
        if left > 0:
            self._changes[changeId][0] -= 1
            return {"id": changeId, "status": "pending"}
        self._publish(additions, deletions)
        return {"id": changeId, "status": "done"}

    def _publish(self, additions: list[Any], deletions: list[Any]) -> None:
        for record in [*deletions, *additions]:
            key = record["name"], record["type"]
            self.sent.pop(key, None)
            if key in self.records:
                self.sent[key] = self.records[key]

    def dns_changes_create(self, project: str, managedZone: str, body: dict[str, Any]) -> Any:  # noqa: N803
        self._of(project, managedZone)
        additions, deletions = body.get("additions", []), body.get("deletions", [])
        if not additions and not deletions:
            raise google_error(400, "required", "The 'entity.change' parameter is required but was missing.")
        made = dict(self.records)
        for n, record in enumerate(deletions):
            key, where = (record["name"], record["type"]), f"entity.change.deletions[{n}]"
            if key not in made:
                raise google_error(404, "notFound", f"The '{where}' resource named '{key}' does not exist.")
            if plain(made[key]) != plain(record):
                raise google_error(412, "conditionNotMet", f"Precondition not met for '{where}'")
            del made[key]
        for n, record in enumerate(additions):
            key, where = (record["name"], record["type"]), f"entity.change.additions[{n}]"
            if key in made:
                raise google_error(409, "alreadyExists", f"The resource '{where}' named '{key}' already exists")
            self._check(record, where)
            made[key] = copy.deepcopy(record)
        if any(k == "CNAME" and any(o != "CNAME" and m == n for m, o in made) for n, k in made):
            raise google_error(400, "cnameResourceRecordSetConflict", "a CNAME stands beside other records")
        self.records = made
        change_id = str(next(self._ids))
        self._changes[change_id] = [self.looks, additions, deletions]
        if self.looks == 0:
            self._publish(additions, deletions)
        return {"id": change_id, "status": "done" if self.looks == 0 else "pending", **body}

    def _check(self, record: dict[str, Any], where: str) -> None:
        if not record["name"].endswith(f".{self.zone}"):
            raise google_error(400, "invalid", f"Invalid value for '{where}.name': '{record['name']}'")
        policy = record.get("routingPolicy")
        if bool(policy) == bool(record.get("rrdatas")):
            raise google_error(400, "invalid", f"Invalid value for '{where}': either rrdatas or a routing policy")
        if policy:
            items = policy["wrr"]["items"]
            weights = [i["weight"] for i in items]
            if not all(0 <= w <= 1000 for w in weights) or not any(weights) or len(items) > 100:
                raise google_error(400, "invalid", f"Invalid value for '{where}.routingPolicy.wrr.items': {weights}")
            if not all(i.get("rrdatas") or i.get("healthCheckedTargets") for i in items):
                raise google_error(400, "invalid", f"Invalid value for '{where}.routingPolicy.wrr.items': no rrdatas")
            if record["type"] == "CNAME" and any(len(i["rrdatas"]) != 1 for i in items):
                raise google_error(400, "invalid", f"Invalid value for '{where}': a CNAME has one value")
