"""Conditions on a JSON answer, as a config writes them.

    json: {path: data.*.id, contains: $model}
    json: [{path: status, equals: healthy}, {path: version, matches: "^1"}]

A path is keys and list positions joined by dots; `*` stands for every item of a list or map. A condition without a
comparison asks that the path leads to something.

With `each`, the condition must hold for every item of that list (of those whose keys equal `of`), and holds for none:

    json: {each: models, of: {name: $model}, path: size_vram, at_least: size, slow: true, says: runs on the CPU}

`at_least` is a number, or the path of one in the same item. `slow` makes the look SLOW rather than FAIL, `says` is its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probes.errors import SettingError
from probes.settings import JSON_LIMIT, MODEL, pattern, substitute
from probes.target import Target

__all__ = ["BadJsonError", "Condition", "conditions_of", "parse", "values_at"]

_SHOWN = 5
_KEYS = {"path", "equals", "contains", "matches", "at_least", "each", "of", "slow", "says"}
_FOUND_LIMIT = 10_000
_NESTS_LIMIT = 100_000


class BadJsonError(ValueError):
    """Not JSON; the text says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold: some value at `path` equals `equals`, contains `contains` or matches `matches`."""

    path: str
    equals: Any = None
    contains: str | None = None
    matches: re.Pattern[str] | None = None
    at_least: float | str | None = None
    each: str | None = None
    of: Mapping[str, Any] | None = None
    slow: bool = False
    says: str | None = None

    def unmet(self, document: Any, target: Target) -> str | None:
        """Why the condition does not hold, or None when it does."""
        if self.each is None:
            return self._unmet(document, target)
        items = [
            item for value in values_at(document, self.each) for item in (value if isinstance(value, list) else [value])
        ]
        return next((why for item in items if self._meant(item, target) and (why := self._unmet(item, target))), None)

    def _meant(self, item: Any, target: Target) -> bool:
        """True for an item whose keys are as `of` says. A service that names no model means every item."""
        for key, wanted in (self.of or {}).items():
            if isinstance(wanted, str) and MODEL in wanted and target.model is None:
                continue
            if not isinstance(item, dict) or item.get(key) != (
                substitute(wanted, target) if isinstance(wanted, str) else wanted
            ):
                return False
        return True

    def _unmet(self, document: Any, target: Target) -> str | None:
        found = list(values_at(document, self.path))
        if not found:
            return f"the answer has no {self.path}"
        if self.contains is not None:
            if self.contains == MODEL and target.model is None:
                return None  # the service names no model: that the path leads somewhere is all there is to check
            wanted = substitute(self.contains, target)
            if any(wanted == value or (isinstance(value, list) and wanted in value) for value in found):
                return None
            return f"{self.path} lacks {wanted!r}: {_shown(found)}"
        if self.matches is not None:
            if any(isinstance(value, str) and self.matches.search(value) for value in found):
                return None
            return f"{self.path} does not match {self.matches.pattern!r}: {_shown(found)}"
        if self.equals is not None:
            wanted_value = substitute(self.equals, target) if isinstance(self.equals, str) else self.equals
            if any(
                value == wanted_value and isinstance(value, bool) == isinstance(wanted_value, bool) for value in found
            ):
                return None
            return f"{self.path} is not {wanted_value!r}: {_shown(found)}"
        if self.at_least is not None:
            return self._too_little(document, found)
        return None

    def _too_little(self, document: Any, found: list[Any]) -> str | None:
        least = next(values_at(document, self.at_least), None) if isinstance(self.at_least, str) else self.at_least
        if not _is_number(least) or not all(_is_number(value) for value in found):
            return f"{self.path} cannot be compared with {self.at_least}: {_shown([*found, least])}"
        low = min(found)
        return None if low >= least else f"{self.path} is {low!r}, below {self.at_least} ({least!r})"


def conditions_of(value: Any) -> tuple[Condition, ...]:
    """The conditions that a config's `json` means. Raises `SettingError`."""
    if value is None:
        return ()
    items = value if isinstance(value, (list, tuple)) else [value]
    found = []
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("path"), str):
            raise SettingError("json: write {path: data.*.id, contains: NAME}, or a list of those")
        unknown = set(item) - _KEYS
        if unknown:
            raise SettingError(f"json: unknown key {min(unknown)!r}; known are {', '.join(sorted(_KEYS))}")
        contains, matches, at_least, of = (item.get(key) for key in ("contains", "matches", "at_least", "of"))
        if at_least is not None and not (isinstance(at_least, str) or _is_number(at_least)):
            raise SettingError("json: at_least is a number, or the path of one")
        if of is not None and not isinstance(of, Mapping):
            raise SettingError("json: of is a map of key: value")
        found.append(
            Condition(
                item["path"],
                item.get("equals"),
                None if contains is None else str(contains),
                None if matches is None else pattern("json.matches", str(matches)),
                at_least,
                None if item.get("each") is None else str(item["each"]),
                of,
                bool(item.get("slow", False)),
                None if item.get("says") is None else str(item["says"]),
            )
        )
    # What fails is said before what is only slow.
    return tuple(sorted(found, key=lambda condition: condition.slow))


def parse(body: bytes) -> Any:
    """The document in `body`. Raises `BadJsonError`, also for nesting too deep to read, bytes that are not UTF-8, and what would
    hold up the event loop and every other look with it: a mebibyte of lists takes most of a tenth of a second.
    """
    if len(body) > JSON_LIMIT:
        raise BadJsonError(f"over {JSON_LIMIT} bytes")
    if body.count(b"[") + body.count(b"{") > _NESTS_LIMIT:
        raise BadJsonError(f"over {_NESTS_LIMIT} lists and objects")
    try:
        return json.loads(body)
    except RecursionError:
        raise BadJsonError("nested too deeply") from None
    except ValueError as error:
        raise BadJsonError(str(error)[:120]) from None


def values_at(document: Any, path: str) -> Iterator[Any]:
    """Every value that `path` leads to, at most 10 000."""
    values = [document]
    for key in path.split("."):
        following: list[Any] = []
        for value in values:
            if key == "*":
                following += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
            elif isinstance(value, dict):
                following += [value[key]] if key in value else []
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                following.append(value[int(key)])
        values = following[:_FOUND_LIMIT]
    yield from values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(found: list[Any]) -> str:
    words = ", ".join(repr(value)[:60] for value in found[:_SHOWN])
    return words if len(found) <= _SHOWN else f"{words}, ... ({len(found)} in all)"
