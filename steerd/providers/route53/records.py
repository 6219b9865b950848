"""Record sets in the shape Route 53's API gives and takes them: names, values, the fence's TXT. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from steerd.model.route import Fence, Route
from steerd.providers.records import canonical

__all__ = [
    "RecordSet",
    "fence_in",
    "identifier",
    "kinds_of",
    "plain_name",
    "same",
    "txt_text",
    "txt_value",
    "values_in",
]

RecordSet = Mapping[str, Any]
"""One `ResourceRecordSet` as the API gives it. A DELETE must repeat it exactly, so it is kept whole."""

_OCTAL = re.compile(r"\\(\d{3})")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


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


def txt_value(text: str) -> str:
    """One TXT value: quoted strings of at most 255 bytes each."""
    safe = text.encode("ascii", "backslashreplace").decode()
    parts = (safe[i : i + 255] for i in range(0, len(safe), 255))
    return " ".join('"' + p.replace("\\", "\\\\").replace('"', '\\"') + '"' for p in parts)


def txt_text(value: str) -> str:
    """The text of one TXT value."""
    return "".join(re.sub(r"\\(.)", r"\1", part) for part in _QUOTED.findall(value))


def fence_in(values: Iterable[str]) -> Fence | None:
    """The newest fence of ours among TXT values."""
    fences = [f for f in (Fence.parse(txt_text(v)) for v in values) if f is not None]
    return max(fences, key=lambda f: (f.epoch, f.seq), default=None)
