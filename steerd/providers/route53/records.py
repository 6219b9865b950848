"""Record sets in the shape Route 53's API gives and takes them: names and values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steerd.model.route import Route
from steerd.providers.records import canonical

__all__ = [
    "RecordSet",
    "identifier",
    "kinds_of",
    "plain_name",
    "same",
    "values_in",
]

RecordSet = Mapping[str, Any]
"""One `ResourceRecordSet` as the API gives it. A DELETE must repeat it exactly, so it is kept whole."""

_OCTAL = re.compile(r"\\(\d{3})")


def plain_name(name: str) -> str:
    """Lower case, without the last dot. Characters other than a-z, 0-9, - and _ come as octal codes (a star as 052)."""
    return _OCTAL.sub(lambda m: chr(int(m[1], 8)), name).rstrip(".").lower()


def kinds_of(route: Route) -> tuple[str, ...]:
    """The record types a route writes. An alias is an A record that names another record."""
    return ("A",) if route.types == ("ALIAS",) else route.types


def identifier(record: RecordSet) -> str:
    """The set identifier, empty for a simple record."""
    return str(record.get("SetIdentifier", ""))


def values_in(record: RecordSet) -> frozenset[str]:
    """What a record set answers with: addresses, the CNAME's target or the alias's."""
    if alias := record.get("AliasTarget"):
        return frozenset({plain_name(str(alias["DNSName"]))})
    return frozenset(canonical(str(r["Value"])) for r in record.get("ResourceRecords", ()))


def same(one: RecordSet, other: RecordSet) -> bool:
    """True when two record sets say the same, the order of values and the spelling of names aside."""
    return (
        one["Type"] == other["Type"]
        and identifier(one) == identifier(other)
        and one.get("Weight") == other.get("Weight")
        and one.get("TTL") == other.get("TTL")
        and values_in(one) == values_in(other)
        and one.get("HealthCheckId") == other.get("HealthCheckId")
        and _alias(one) == _alias(other)
    )


def _alias(record: RecordSet) -> tuple[str, bool] | None:
    alias = record.get("AliasTarget")
    return None if alias is None else (str(alias["HostedZoneId"]), bool(alias["EvaluateTargetHealth"]))
