"""The version label of a service's endpoints: which check reads it (`version` of the service).

{header: X}                       the first check that has an answer's headers: liveness, else readiness, else any
{metric: NAME, label: LABEL}      the progress check, from the metrics it reads anyway; without one, a check of its own
{url: PATH, path: JSON_PATH}      a check of its own, which never blames the endpoint
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from steerd.config.kinds import PROBE_KINDS, defaults_of
from steerd.model.fleet import Check
from steerd.model.sample import Layer

__all__ = ["CHECK", "labelled"]

CHECK = "version"
"""The name of the check that reads the label where no other can."""

_EVERY_S = 60.0
_WITHIN_S = 2.0
_FIRST = (Layer.LIVENESS, Layer.READINESS)


def labelled(checks: Iterable[Check], version: Mapping[str, Any] | None) -> tuple[Check, ...]:
    """The checks, so that one of them reads the label. One that says itself where its label is stays as it is."""
    found = list(checks)
    if not version or any(check.name == CHECK for check in found):
        return tuple(found)
    if "header" in version:
        return _on(found, [c for c in found if _takes(c) and c.kind != "progress"], {"header": version["header"]})
    if "metric" in version:
        own = [c for c in found if c.kind == "progress"]
        if own:
            return _on(found, own, {"metric": version["metric"], "label": version["label"]})
        return (*found, _check({"path": "/metrics", "metric": version["metric"], "label": version["label"]}))
    return (*found, _check({"path": version["url"], "json": version["path"]}))


def _takes(check: Check) -> bool:
    return PROBE_KINDS[check.kind].setting("version") is not None


def _on(checks: list[Check], able: list[Check], label: Mapping[str, str]) -> tuple[Check, ...]:
    chosen = min(able, key=lambda c: _FIRST.index(c.layer) if c.layer in _FIRST else len(_FIRST), default=None)
    return tuple(
        replace(c, settings={**c.settings, "version": dict(label)})
        if c is chosen and c.settings.get("version") is None
        else c
        for c in checks
    )


def _check(settings: Mapping[str, Any]) -> Check:
    kind = PROBE_KINDS["version"]
    return Check(CHECK, Layer.PROGRESS, kind.name, _EVERY_S, _WITHIN_S, {**defaults_of(kind), **settings})
